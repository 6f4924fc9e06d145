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
    let destinations = ["/dev/it's", "/dev/\"b\\", "/plain"].map { Job.Destination(path: $0, identity: "8:1") }
    let facts = Job.Facts(
      id: 12, name: "nightly", uid: 1000, gid: 100, spec: "from=/a@0+1B to=/b@0+1B", operation: "copy", client: "default",
      context: "for \u{fc}ber 'all' \"of\" it\\", bytesTotal: 1 << 40, destinations: destinations, queuedAt: 1_700_000_000_000_000_000)
    return Job(facts, permissions: 0o755)
  }

  private static let error = TransferError(errno: ENOTRECOVERABLE, step: .flush, destination: 2, offset: .max, length: .max)

  /// The job as it begins, and at each of its ends.
  private static let jobs: [(state: String, job: Job)] = {
    var progress = CopyProgress(destinations: [DestinationProgress](repeating: DestinationProgress(), count: 3))
    let (queued, done, failed, cancelled) = (job(), job(), job(), job())
    progress.startedAt = 1_700_000_001_000_000_000
    cancelled.end(KCopy.Notification(wasCancelled: true, progress: progress))
    progress.bytesDone = 1 << 40
    progress.bytesDurable = 1 << 40
    done.end(KCopy.Notification(wasCancelled: false, progress: progress))
    progress.readError = true
    progress.writeErrors = .max
    progress.firstError = error
    for index in 0..<3 {
      progress.destinations[index].state = .failed
      progress.destinations[index].error = error
    }
    failed.end(KCopy.Notification(wasCancelled: false, progress: progress))
    return [("queued", queued), ("done", done), ("failed", failed), ("cancelled", cancelled)]
  }()

  @Test("status, status.json and dest/I/status are as long in every state")
  func length() {
    #expect(Set(Self.jobs.map { JobText.status($0.job).count }).count == 1)
    #expect(Set(Self.jobs.map { JobText.json($0.job).count }).count == 1)
    for index in 0..<3 { #expect(Set(Self.jobs.map { JobText.destinationStatus($0.job, index).count }).count == 1) }
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
