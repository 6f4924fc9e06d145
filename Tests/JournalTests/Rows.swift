import FaultKit
import Journal
import Locking
import Testing

/// A job's row, with something else in each column for each number.
func job(_ id: UInt64, _ name: String? = nil, destinations: Int = 1, state: String = "unfinished", spec: String = "copy") -> JobRow {
  JobRow(
    id: id, name: name ?? "job\(id)", uid: UInt32(truncatingIfNeeded: id + 1), gid: UInt32(truncatingIfNeeded: id + 2), mode: 0o640,
    caller: "groups=\(id)", spec: "\(spec) \(id)",
    source: "id=\(id)", bytesTotal: id % 2 == 0 ? nil : id << 40, ctl: "", queuedAt: id + 3, standing: standing(id, destinations, state),
    devices: (0..<destinations).map { "id=\(id):\($0)" }, predecessors: id % 3 == 0 ? "" : "\(id - 1)")
}

/// How far a job is; `seed` is in every column.
func standing(_ seed: UInt64, _ destinations: Int = 1, _ state: String = "unfinished") -> Standing {
  Standing(
    state: state, attempt: seed + 4, progress: "done=\(seed)", startedAt: seed + 5, finishedAt: state == "unfinished" ? 0 : seed + 6,
    destinations: (0..<destinations).map {
      Standing.Destination(progress: "durable=\(seed + UInt64($0))", map: [UInt8](repeating: UInt8($0), count: Int(seed % 5)))
    })
}

func client(_ name: String, _ seed: UInt64) -> ClientRow {
  ClientRow(
    name: name, uid: UInt32(seed), gid: UInt32(seed) + 1, mode: 0o755, madeAt: seed + 2, pages: seed + 3, throttle: seed + 4,
    rate: seed % 2 == 0 ? nil : seed, subjob: seed + 5, slots: seed + 6, maxJobs: seed + 7)
}

/// Jobs as a daemon has them in memory: what was accepted and has not been removed, as it stands.
final class Memory: Sendable {
  private let jobs = Locked<[UInt64: JobRow]>([:])

  var contents: Contents { Contents(jobs: jobs.withLock { $0.values.sorted { $0.id < $1.id } }, clients: []) }

  /// Has jobs accepted, and waits for the answer; they are in memory before the answer is known to anybody else.
  func accept(_ rows: [JobRow], by journal: Journal) throws -> JournalError? {
    try answer { told in
      journal.write(.accept(rows)) { error in
        if error == nil { self.insert(rows) }
        told(error)
      }
    }
  }

  func insert(_ rows: [JobRow]) { jobs.withLock { jobs in for row in rows { jobs[row.id] = row } } }

  /// Has jobs accepted for certain.
  func keep(_ rows: [JobRow], by journal: Journal) throws {
    let error = try accept(rows, by: journal)
    try #require(error == nil)
  }

  /// How far a job is, in memory first.
  func set(_ id: UInt64, _ standing: Standing, by journal: Journal, done: (@Sendable () -> Void)? = nil) {
    jobs.withLock { $0[id]?.standing = standing }
    journal.write(.standing(id, standing)) { _ in done?() }
  }

  func remove(_ id: UInt64, by journal: Journal, done: (@Sendable () -> Void)? = nil) {
    jobs.withLock { $0[id] = nil }
    journal.write(.remove(id)) { _ in done?() }
  }
}

/// Has a change written, and waits until it is durable.
func write(_ change: Change, to journal: Journal) throws {
  let error = try written(change, by: journal)
  try #require(error == nil)
}

/// Has a change written and waits for the answer.
func written(_ change: Change, by journal: Journal) throws -> JournalError? {
  try answer { told in journal.write(change, done: told) }
}

private func answer(_ ask: (@escaping @Sendable (JournalError?) -> Void) -> Void) throws -> JournalError? {
  let answers = Locked<[JournalError?]>([])
  ask { error in answers.withLock { $0.append(error) } }
  try eventually(within: .seconds(30), "the journal answers") { answers.withLock { !$0.isEmpty } }
  return answers.withLock { $0[0] }
}

/// What the next daemon finds.
func left(in directory: String) throws -> Contents { try opened(directory).contents() }
