internal import Glibc
internal import Journal
internal import Locking

/// How jobs ended that were removed, for as long as a job that comes after them may ask: their names can be others' by then.
final class Succession: Sendable {
  private struct Entry {
    /// Jobs that come after it.
    var holders = 0
    /// How it ended, once it is removed.
    var end: JobState?
  }

  private let journal: Journal
  private let entries = Locked<[UInt64: Entry]>([:])

  init(_ journal: Journal) { self.journal = journal }

  /// Has the ends of jobs kept from now on.
  ///
  /// - Returns: what is let go when nobody asks any more.
  func hold(_ ids: [UInt64]) -> Predecessors {
    entries.withLock { entries in
      for id in ids { entries[id, default: Entry()].holders += 1 }
    }
    return Predecessors(ids, self)
  }

  fileprivate func release(_ ids: [UInt64]) {
    let forgotten = entries.withLock { entries in
      ids.filter { id in
        guard var entry = entries.removeValue(forKey: id) else { return false }
        entry.holders -= 1
        if entry.holders > 0 { entries[id] = entry }
        return entry.holders == 0 && entry.end != nil
      }
    }
    for id in forgotten { journal.write(.removeEnd(id)) }
  }

  /// A job is about to leave the table and the journal.
  func removed(_ id: UInt64, _ end: JobState) {
    if keep(id, end) { journal.write(.putEnd(EndRow(id: id, state: end.rawValue))) }
  }

  /// - Returns: whether anybody comes after it.
  private func keep(_ id: UInt64, _ end: JobState) -> Bool {
    entries.withLock { entries in
      entries[id]?.end = end
      return entries[id] != nil
    }
  }

  /// How a job ended that was removed; `nil` of one that wasn't, or that nobody comes after.
  func end(of id: UInt64) -> JobState? { entries.withLock { $0[id]?.end } }

  /// All that is kept.
  var rows: [EndRow] {
    entries.withLock { entries in entries.compactMap { id, entry in entry.end.map { EndRow(id: id, state: $0.rawValue) } } }
  }

  /// Takes over what an earlier daemon has left, once the jobs that ask are there.
  ///
  /// - Throws: EINVAL for what only a damaged journal holds.
  func restore(_ rows: [EndRow]) throws(Refusal) {
    for row in rows {
      guard let end = JobState(rawValue: row.state), end.isFinal else {
        throw Refusal(errno: EINVAL, column: 0, text: "job \(row.id), which was removed, has ended as \"\(row.state)\"")
      }
      if !keep(row.id, end) { journal.write(.removeEnd(row.id)) }
    }
  }
}

/// The jobs that one comes after; as long as this is there it can be said how they ended.
///
/// Numbers and no references: ten thousand jobs, each holding the one before, would be let go of in as many calls inside each other.
final class Predecessors: Sendable {
  /// Lower than the number of the job that comes after them.
  let ids: [UInt64]
  private let succession: Succession

  fileprivate init(_ ids: [UInt64], _ succession: Succession) {
    self.ids = ids
    self.succession = succession
  }

  deinit { succession.release(ids) }

  /// As the journal keeps them.
  var kept: String { ids.map(String.init).joined(separator: ",") }

  /// - Throws: EINVAL for what only a damaged journal holds.
  static func ids(kept: String, of job: UInt64) throws(Refusal) -> [UInt64] {
    let ids = kept.split(separator: ",", omittingEmptySubsequences: false).map { UInt64($0) }
    if kept.isEmpty { return [] }
    guard ids.allSatisfy({ $0.map { $0 < job } == true }) else {
      throw Refusal(errno: EINVAL, column: 0, text: "it comes after the jobs \"\(kept)\"")
    }
    return ids.compactMap(\.self)
  }
}
