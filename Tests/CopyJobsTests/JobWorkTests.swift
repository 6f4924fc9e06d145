import Glibc
import KCopy
import Locking
import Testing

@testable import CopyJobs

/// Work that does what the test says, and notes what it is asked to.
final class FakeWork: Work {
  private struct State {
    var progress = CopyProgress(destinations: [DestinationProgress()])
    var asked: [String] = []
    var taken: [@Sendable () -> Void] = []
  }

  private let state = Locked(State())

  var asked: [String] { state.withLock { $0.asked } }
  var progress: CopyProgress { state.withLock { $0.progress } }

  func set(_ change: (inout CopyProgress) -> Void) { state.withLock { change(&$0.progress) } }

  /// The oldest resume is taken, as by the client's thread.
  func takeResume() {
    let taken = state.withLock { $0.taken.removeFirst() }
    taken()
  }

  private func note(_ word: String) { state.withLock { $0.asked.append(word) } }

  func map(of destination: Int) -> RangeMap { RangeMap(count: 100, status: .written) }
  func cancel() { note("cancel") }
  func suspend() { note("suspend") }
  func pause() { note("pause") }
  func setRate(_ rate: UInt64?) { note("rate=\(rate.map { "\($0)" } ?? "max")") }
  func setPriority(_ priority: Int) { note("priority=\(priority)") }

  func resume(_ taken: @escaping @Sendable () -> Void) {
    note("resume")
    state.withLock { $0.taken.append(taken) }
  }
}

@Suite("A job and its work")
struct JobWorkTests {
  private static let error = TransferError(errno: EIO, step: .write, destination: 0, offset: 512, length: 512)

  private static func job(bytes: UInt64 = 100) -> Job {
    let facts = Job.Facts(
      id: 1, name: "a", uid: 0, gid: 0, operation: "copy", client: "default", context: "", queuedAt: 0)
    let plan = Job.Plan(
      spec: "", count: bytes, destinations: [Job.Destination(path: "/a", device: Job.Identified(identity: "", birth: 0))])
    return Job(facts, plan, permissions: 0o755, JobChanges())
  }

  @Test("What ctl asks before there is work is passed on when there is, in its order")
  func early() throws {
    let (job, work) = (Self.job(), FakeWork())
    for command in [.rate(5), .pause, .priority(1), .rate(nil), .resume, .pause] as [JobCommand] { try job.obey(command) }
    #expect(job.snapshot.state == .paused && job.snapshot.pause == .user)
    job.began(work)
    #expect(work.asked == ["rate=5", "pause", "priority=1", "rate=max", "resume", "pause"])
    try job.obey(.cancel)
    #expect(work.asked.last == "cancel" && work.asked.count == 7)
  }

  @Test("A paused job is paused at once, before it started and while it runs, until resume; then it is what it was")
  func pause() throws {
    let (job, work) = (Self.job(), FakeWork())
    job.began(work)
    for expected in [JobState.queued, .running] {
      if expected == .running { work.set { $0.startedAt = 1 } }
      #expect(job.snapshot.state == expected && job.snapshot.pause == nil)
      try job.obey(.pause)
      #expect(job.snapshot.state == .paused && job.snapshot.pause == .user && job.snapshot.phase == .none && job.snapshot.eta == nil)
      // The client takes it later, and shows it by itself.
      work.set { $0.pause = .user }
      try job.obey(.pause)
      try job.obey(.resume)
      // It is still shown by the work when `resume` has returned.
      #expect(job.snapshot.state == expected && job.snapshot.pause == nil)
      work.set { $0.pause = nil }
      work.takeResume()
      try job.obey(.resume)
      #expect(job.snapshot.state == expected)
      work.takeResume()
    }
  }

  @Test("An error pauses with its reason; resume ends that, and the same error once more is a new pause")
  func errorPause() throws {
    let (job, work) = (Self.job(), FakeWork())
    job.began(work)
    work.set {
      $0.startedAt = 1
      $0.pause = .error(Self.error)
    }
    #expect(job.snapshot.state == .paused && job.snapshot.pause == .error(Self.error) && job.snapshot.error == JobError(Self.error))
    // The reason stays the error's: that is what has to be mended.
    try job.obey(.pause)
    #expect(job.snapshot.pause == .error(Self.error))
    try job.obey(.resume)
    #expect(job.snapshot.state == .running && job.snapshot.error == nil)
    work.takeResume()
    #expect(job.snapshot.state == .paused && job.snapshot.pause == .error(Self.error))
    // Two resumes in a row: only after the last is taken can a pause be new.
    try job.obey(.resume)
    try job.obey(.resume)
    work.takeResume()
    #expect(job.snapshot.state == .running)
    work.set { $0.pause = nil }
    work.takeResume()
    #expect(job.snapshot.state == .running)
  }

  @Test("A paused job that is cancelled runs until nothing is in flight, and then is cancelled")
  func cancelPaused() throws {
    let (job, work) = (Self.job(), FakeWork())
    job.began(work)
    work.set {
      $0.startedAt = 1
      $0.pause = .error(Self.error)
    }
    try job.obey(.pause)
    try job.obey(.cancel)
    #expect(job.snapshot.state == .running && job.snapshot.phase == .cancelling && job.snapshot.pause == nil)
    try job.obey(.cancel)
    try job.obey(.pause)
    #expect(job.snapshot.state == .running)
    job.conclude(KCopy.Notification(wasCancelled: true, progress: work.progress))
    job.end()
    #expect(job.snapshot.state == .cancelled && job.snapshot.pause == nil && job.snapshot.phase == .none)
  }

  @Test("In each final state ctl is refused with the table's errno, and a text")
  func final() throws {
    for state in [JobState.done, .failed, .cancelled] {
      let job = Self.job()
      var progress = CopyProgress(destinations: [DestinationProgress()])
      if state == .failed { progress.writeErrors = 1 }
      job.conclude(KCopy.Notification(wasCancelled: state == .cancelled, progress: progress))
      job.end()
      #expect(job.snapshot.state == state)
      let place = JobState.allCases.firstIndex(of: state) ?? 0
      for (command, errnos) in JobStateTests.commands where errnos[place] != nil {
        let refusal = #expect(throws: Refusal.self) { try job.obey(command) }
        #expect(refusal?.errno == errnos[place] && refusal?.text.isEmpty == false)
      }
    }
    let refusal = #expect(throws: Refusal.self) { try Self.job().obey(.retry) }
    #expect(refusal == Refusal(errno: EINVAL, column: 0, text: "retry is not for a job that is queued"))
  }

  @Test("The end is visible before those are told who wait")
  func order() {
    let job = Self.job()
    let events = Locked<[String]>([])
    _ = job.observe { _ in events.withLock { $0.append("told") } }
    job.conclude(KCopy.Notification(wasCancelled: false, progress: CopyProgress(destinations: [])))
    job.end {
      events.withLock { $0.append("\(job.snapshot.state)") }
    }
    #expect(events.withLock { $0 } == ["done", "told"])
  }

  @Test("The maps of a job: of its work while it runs, kept after the end, made anew for one that is done")
  func maps() {
    let (running, work) = (Self.job(), FakeWork())
    #expect(running.map(of: 0) == RangeMap(count: 100))
    running.began(work)
    #expect(running.map(of: 0) == RangeMap(count: 100, status: .written))

    var progress = CopyProgress(destinations: [DestinationProgress()])
    progress.writeErrors = 1
    var map = RangeMap(count: 100, status: .durable)
    map.set(10..<20, .failed)
    running.conclude(KCopy.Notification(wasCancelled: false, progress: progress, maps: [map]))
    running.end()
    #expect(running.snapshot.state == .failed && running.map(of: 0) == map)

    for bytesDurable: UInt64 in [100, 0] {
      let done = Self.job()
      progress.writeErrors = 0
      progress.destinations[0].bytesDurable = bytesDurable
      // What the notification brings is the same, and is not kept: a million jobs that are done take no room for it.
      done.conclude(KCopy.Notification(wasCancelled: false, progress: progress, maps: [map]))
      done.end()
      #expect(done.map(of: 0) == RangeMap(count: 100, status: bytesDurable == 100 ? .durable : .written))
    }

    let never = Self.job()
    never.conclude(KCopy.Notification(wasCancelled: true, progress: CopyProgress(destinations: [DestinationProgress()])))
    never.end()
    #expect(never.map(of: 0) == RangeMap(count: 100))
  }
}
