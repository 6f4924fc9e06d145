import Glibc
import KCopy
import Locking
import Testing

@testable import CopyJobs

@Suite("A job, seen from those who wait for it")
struct JobTests {
  private static func end(_ job: Job, cancelled: Bool = false, _ change: (inout CopyProgress) -> Void = { _ in }) {
    var progress = CopyProgress(destinations: [])
    change(&progress)
    job.conclude(KCopy.Notification(wasCancelled: cancelled, progress: progress))
    job.end()
  }

  @Test("Its end says what the notification did: done, failed with the first error, cancelled")
  func ends() {
    let done = JobTableTests.job(1, "done")
    #expect(done.snapshot.state == .queued && !done.isFinal)
    Self.end(done)
    #expect(done.snapshot.state == .done && done.isFinal && done.resultErrno == 0 && done.snapshot.finishedAt > 0)

    let failed = JobTableTests.job(2, "failed")
    let error = TransferError(errno: ENOSPC, step: .write, destination: 0, offset: 512, length: 512)
    Self.end(failed) {
      $0.writeErrors = 1
      $0.firstError = error
    }
    #expect(failed.snapshot.state == .failed && failed.resultErrno == ENOSPC)

    let cancelled = JobTableTests.job(3, "cancelled")
    Self.end(cancelled, cancelled: true)
    #expect(cancelled.snapshot.state == .cancelled && cancelled.resultErrno == ECANCELED)
  }

  @Test("Who asked for the cancellation of a job that then ends sees it cancelled, and a final job can't be cancelled")
  func cancel() throws {
    let job = JobTableTests.job(1, "a")
    try job.cancel()
    #expect(job.snapshot.state == .queued)
    Self.end(job)
    #expect(job.snapshot.state == .cancelled)
    #expect(throws: Refusal(errno: EALREADY, column: 0, text: "the job is final")) { try job.cancel() }
  }

  @Test("Who waits is told once: of the end, of the removal or of the stop; who left is not told")
  func observers() {
    let job = JobTableTests.job(1, "a")
    let told = Locked<[String]>([])
    func observe(_ name: String) -> UInt64? {
      job.observe { event in told.withLock { $0.append("\(name) \(event)") } }
    }
    let (first, second) = (observe("first"), observe("second"))
    #expect(first != nil && second != nil && first != second)
    job.stopObserving(second ?? 0)
    job.tell(.shutdown)
    #expect(told.withLock { $0 } == ["first shutdown"])
    #expect(observe("third") != nil)
    Self.end(job)
    #expect(told.withLock { $0 } == ["first shutdown", "third final"])
    // A final job calls nobody: who comes now sees it by itself.
    #expect(observe("fourth") == nil)
    #expect(throws: Never.self) { try job.remove() }
    #expect(told.withLock { $0.count } == 2 && job.isRemoved)
  }

  @Test("Search bits follow read bits, for a directory that can be listed but not entered is no use")
  func permissions() {
    let job = JobTableTests.job(1, "a")
    for (given, kept) in [(0o644, 0o755), (0o600, 0o700), (0o040, 0o050), (0o6777, 0o777), (0, 0), (0o311, 0o200)] as [(UInt32, UInt32)] {
      job.setPermissions(given)
      #expect(job.permissions == kept)
    }
  }

  @Test("An error of close(2) after a flush that succeeded is a write error of that destination")
  func closing() {
    let ended = Locked<[KCopy.Notification]>([])
    var progress = CopyProgress(destinations: [DestinationProgress(), DestinationProgress()])
    for index in 0..<2 {
      progress.destinations[index].state = .done
      progress.destinations[index].bytesDurable = 100
    }
    let maps = [RangeMap(count: 100, status: .durable), RangeMap(count: 100, status: .durable)]
    let closing = Closing(KCopy.Notification(wasCancelled: false, progress: progress, maps: maps), waiting: 3) { notification in
      ended.withLock { $0.append(notification) }
    }
    do {
      let device = try Device(path: "/proc/self/exe", access: .reading)
      defer { device.closeNow() }
      let region = Region(device, start: 10, count: 100)
      closing.closed(1, region: region, EIO)
      closing.closed()
      #expect(ended.withLock { $0.isEmpty })
      closing.closed(0, region: region, 0)
    } catch {
      Issue.record(error)
    }
    let end = ended.withLock { $0 }
    #expect(end.count == 1 && end[0].progress.writeErrors == 0b10 && !end[0].isComplete)
    #expect(end[0].progress.destinations.map(\.state) == [.done, .failed])
    #expect(end[0].progress.destinations.map(\.bytesDurable) == [100, 0])
    #expect(end[0].progress.destinations.map(\.bytesFailed) == [0, 0])
    #expect(end[0].maps == [RangeMap(count: 100, status: .durable), RangeMap(count: 100, status: .written)])
    #expect(end[0].progress.firstError == TransferError(errno: EIO, step: .flush, destination: 1, offset: 10, length: 100))
  }
}
