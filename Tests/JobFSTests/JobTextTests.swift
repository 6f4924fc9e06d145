import FaultKit
import Foundation
import Glibc
import KCopy
import Testing

@testable import CopyJobs
@testable import JobFS

@Suite("The files of a job in each of its states")
struct JobTextTests {
  /// A job to three destinations with a name and a context that need quotes.
  private static func job() -> Job {
    let destinations = ["/dev/it's", "/dev/\"b\\", "/plain"].map {
      Job.Destination(path: $0, device: Job.Identified(identity: "8:1", birth: 0))
    }
    let facts = Job.Facts(
      id: 12, name: "nightly", uid: 1000, gid: 100, operation: "copy", client: "default",
      context: "for \u{fc}ber 'all' \"of\" it\\", queuedAt: 1_700_000_000_000_000_000)
    let plan = Job.Plan(spec: "from=/a@0+1B to=/b@0+1B", count: 1 << 40, destinations: destinations)
    return Job(facts, plan, permissions: 0o755, JobChanges())
  }

  private static let error = TransferError(errno: ENOTRECOVERABLE, step: .flush, destination: 2, offset: .max, length: .max)

  /// The job as it begins, and at each of its ends.
  private static let jobs: [(state: String, job: Job)] = {
    var progress = CopyProgress(destinations: [DestinationProgress](repeating: DestinationProgress(), count: 3))
    let (queued, done, failed, cancelled) = (job(), job(), job(), job())
    progress.startedAt = 1_700_000_001_000_000_000
    cancelled.conclude(KCopy.Notification(wasCancelled: true, progress: progress))
    cancelled.end()
    progress.bytesDone = 1 << 40
    progress.bytesDurable = 1 << 40
    done.conclude(KCopy.Notification(wasCancelled: false, progress: progress))
    done.end()
    progress.readError = true
    progress.writeErrors = .max
    progress.firstError = error
    for index in 0..<3 {
      progress.destinations[index].state = .failed
      progress.destinations[index].error = error
    }
    failed.conclude(KCopy.Notification(wasCancelled: false, progress: progress))
    failed.end()
    return [("queued", queued), ("done", done), ("failed", failed), ("cancelled", cancelled)]
  }()

  @Test("status, status.json and dest/I/status are as long in every state")
  func length() {
    #expect(Set(Self.jobs.map { JobText.status($0.job).count }).count == 1)
    #expect(Set(Self.jobs.map { JobText.json($0.job).count }).count == 1)
    for index in 0..<3 { #expect(Set(Self.jobs.map { JobText.destinationStatus($0.job, index).count }).count == 1) }
  }

  @Test("Whatever a disk calls itself is shown as ASCII without quotes, and not wider than it can be")
  func identities() {
    let names = [
      String(repeating: "'", count: 99), String(repeating: "\"\\", count: 40), String(repeating: "\u{1b}\u{9b}\u{1f600}", count: 30), "a b",
    ]
    let destinations = names.map { Job.Destination(path: "/dev/x", device: Job.Identified(identity: $0, birth: 0)) }
    let facts = Job.Facts(id: 1, name: "x", uid: 0, gid: 0, operation: "copy", client: "default", context: "", queuedAt: 1)
    let job = Job(facts, Job.Plan(spec: "", count: 1, destinations: destinations), permissions: 0o755, JobChanges())
    let text = String(decoding: JobText.status(job), as: UTF8.self)
    #expect(text.contains("dest0_id='\(String(repeating: "?", count: 64))'\n") && text.contains("dest3_id='a b'\n"), "\(text)")
    #expect(
      text.utf8.allSatisfy { $0 == 0x0a || (0x20...0x7e).contains($0) }
        && JobText.json(job).allSatisfy { $0 == 0x0a || (0x20...0x7e).contains($0) })
  }

  @Test("status and status.json say the same, in the contract's order of keys")
  func same() throws {
    let keys = Self.words(
      "state name id attempt op client read_err write_err error error_op error_dest error_at error_length pause_reason phase bytes_total "
        + "bytes_done bytes_durable rate eta warning digest dests uid context queued_at started_at finished_at")
    let destinationKeys = Self.words("path id state bytes_done error")
    let prefixed = (0..<3).flatMap { index in destinationKeys.map { "dest\(index)_\($0)" } }
    for (state, job) in Self.jobs {
      let lines = String(decoding: JobText.status(job), as: UTF8.self).split(separator: "\n")
      let pairs = lines.map { $0.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init) }
      #expect(pairs.map { $0[0] } == keys + prefixed)
      let object = try #require(try JSONSerialization.jsonObject(with: Data(JobText.json(job))) as? [String: Any])
      #expect(Set(object.keys) == Set(keys))
      #expect(pairs[0][1] == state && object["state"] as? String == state)
      let destinations = try #require(object["dests"] as? [[String: Any]])
      #expect(destinations.map { $0["path"] as? String } == ["/dev/it's", "/dev/\"b\\", "/plain"])
      for destination in destinations { #expect(Set(destination.keys) == Set(destinationKeys)) }
      #expect(object["context"] as? String == job.facts.context && object["bytes_total"] as? UInt64 == 1 << 40)
    }
  }

  private static func words(_ text: String) -> [String] { text.split(separator: " ").map(String.init) }

  @Test("A shell reads every value of status as it is")
  func shell() throws {
    for (_, job) in Self.jobs {
      let text = String(decoding: JobText.status(job), as: UTF8.self)
      let script = "eval \"$(cat)\"; printf '%s|' \"$name\" \"$context\" \"$dest0_path\" \"$dest1_path\" \"$state\""
      let outcome = try Command("sh", ["-c", script], input: Array(text.utf8)).run().orThrow()
      #expect(outcome.text == "nightly|\(job.facts.context)|/dev/it's|/dev/\"b\\|\(job.snapshot.state.rawValue)|")
    }
  }

  @Test("A paused job shows why: by a user, or with the error that has to be mended")
  func paused() throws {
    let job = Self.job()
    let length = JobText.status(job).count
    try job.obey(.pause)
    func value(_ key: String) -> String? {
      String(decoding: JobText.status(job), as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("\(key)=") }
        .map { String($0.dropFirst(key.count + 1)) }
    }
    #expect(value("state") == "paused" && value("pause_reason") == "user" && value("error") == "" && JobText.status(job).count == length)
    #expect(String(decoding: JobText.state(job), as: UTF8.self) == "paused\n")

    var progress = CopyProgress(destinations: [DestinationProgress](repeating: DestinationProgress(), count: 3))
    progress.startedAt = 1
    progress.pause = .error(Self.error)
    progress.firstError = TransferError(errno: EIO, step: .read, destination: nil, offset: 0, length: 1)
    job.began(Shown(progress))
    let expected = [
      "state": "paused", "pause_reason": "ENOTRECOVERABLE", "error": "ENOTRECOVERABLE", "error_op": "flush", "error_dest": "2",
      "error_at": "18446744073709551615B", "error_length": "18446744073709551615", "read_err": "0", "eta": "", "phase": "",
    ]
    for (key, text) in expected { #expect(value(key) == text, "\(key)") }
    #expect(JobText.status(job).count == length)
    try job.obey(.resume)
    #expect(value("state") == "running" && value("pause_reason") == "" && value("error") == "EIO" && value("error_op") == "read")
  }

  @Test("dest/I/status has the contract's keys, and what failed is what its map says")
  func destination() {
    let job = Self.job()
    var progress = CopyProgress(destinations: [DestinationProgress](repeating: DestinationProgress(), count: 3))
    progress.readError = true
    progress.destinations[1].state = .failed
    progress.destinations[1].bytesDone = 1 << 39
    progress.destinations[1].bytesDurable = 1 << 38
    progress.destinations[1].bytesFailed = 512
    progress.destinations[1].error = TransferError(errno: EIO, step: .write, destination: 1, offset: 4096, length: 512)
    job.conclude(KCopy.Notification(wasCancelled: false, progress: progress))
    job.end()
    let text = String(decoding: JobText.destinationStatus(job, 1), as: UTF8.self)
    #expect(
      text.split(separator: "\n").joined(separator: "|").hasPrefix(
        "dest_path='/dev/\"b\\'|dest_state=failed|bytes_done=549755813888|bytes_durable=274877906944|bytes_failed=512|error=EIO|"
          + "error_at=4096B|error_length=512"))
  }

  @Test("The one-value files say what status says")
  func views() {
    let expected = [
      "queued": ["queued\n", "0 1099511627776\n", "0\n", "0x0\n"], "done": ["done\n", "1099511627776 1099511627776\n", "0\n", "0x0\n"],
      "failed": ["failed\n", "1099511627776 1099511627776\n", "1\n", "0xffffffffffffffff\n"],
      "cancelled": ["cancelled\n", "0 1099511627776\n", "0\n", "0x0\n"],
    ]
    for (state, job) in Self.jobs {
      let files = [JobText.state(job), JobText.progress(job), JobText.readError(job), JobText.writeErrors(job)]
      #expect(files.map { String(decoding: $0, as: UTF8.self) } == expected[state])
      #expect(String(decoding: JobText.spec(job), as: UTF8.self) == "from=/a@0+1B to=/b@0+1B\n")
    }
  }
}

/// Work that shows one progress and does nothing.
private final class Shown: Work {
  let progress: CopyProgress
  init(_ progress: CopyProgress) { self.progress = progress }
  func map(of destination: Int) -> RangeMap { RangeMap(count: 0) }
  func cancel() {}
  func suspend() {}
  func pause() {}
  func resume(_ taken: @escaping @Sendable () -> Void) {}
  func setRate(_ rate: UInt64?) {}
  func setPriority(_ priority: Int) {}
}
