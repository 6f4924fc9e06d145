import FaultKit
import Glibc
import Locking
import Testing

@testable import Journal

/// SQLite's own method: the first request fails, then the second, and so on, until a run comes through without meeting the fault.
@Suite("The journal on a disk that fails and loses its power")
struct FaultTests {
  struct Way: Sendable, CustomTestStringConvertible {
    let fault: FaultyDisk.Fault
    let isLasting: Bool
    var testDescription: String { "\(fault), \(isLasting ? "until it is healed" : "once")" }

    static let all = FaultyDisk.Fault.allCases.flatMap { fault in [false, true].map { Way(fault: fault, isLasting: $0) } }
  }

  @Test(
    "Whichever request fails, after a power cut at any acknowledgement the journal is whole and holds just what was acknowledged",
    arguments: Way.all)
  func eachRequest(way: Way) throws {
    try withWorkbench { bench in
      var victim = 1
      while try run(victim, way, in: bench.memory) { victim += 1 }
      // A fault that nothing meets proves nothing.
      #expect(victim > 100)
    }
  }

  /// Two daemons, one after the other, that accept jobs, take down how far they are, and remove some.
  ///
  /// - Returns: whether the fault struck.
  private func run(_ victim: Int, _ way: Way, in memoryPath: String) throws -> Bool {
    let place = "\(memoryPath)/\(way.fault)-\(way.isLasting)-\(victim)"
    let state = place + "/state"
    let disk = FaultyDisk(state, victim: victim, way.fault, isLasting: way.isLasting)
    defer { disk.release() }
    let memory = Memory()
    for life in UInt64(0)..<2 {
      do {
        _ = try opened(state)
      } catch let error as JournalError {
        // Nothing can begin on it before it works.
        #expect(error.text.hasPrefix(state + "/"), "\(error)")
        try expectAcknowledged(disk, memory, place, "request \(victim), at the start")
        disk.heal()
      }
      try withJournal(state, memory, patience: 1_000_000) { journal in
        for step in UInt64(0)..<2 {
          let first = life * 10 + step * 3 + 1
          try settle(disk, journal) { ended in
            journal.write(.accept((first..<first + 3).map { job($0, destinations: 2) })) { error in
              if error == nil { memory.insert((first..<first + 3).map { job($0, destinations: 2) }) }
              ended()
            }
          }
          try settle(disk, journal) { ended in memory.set(first, standing(first + 100, 2, "done"), by: journal, done: ended) }
          try expectAcknowledged(disk, memory, place, "request \(victim)")
          try settle(disk, journal) { ended in memory.remove(first + 1, by: journal, done: ended) }
          try expectAcknowledged(disk, memory, place, "request \(victim)")
        }
      }
      try expectAcknowledged(disk, memory, place, "request \(victim), at the end")
    }
    return disk.hasStruck
  }

  /// Waits until something has ended and the journal is out of trouble, healing the disk when it fails for good.
  private func settle(_ disk: FaultyDisk, _ journal: Journal, _ begin: (@escaping @Sendable () -> Void) -> Void) throws {
    let hasEnded = Locked(false)
    begin { hasEnded.withLock { $0 = true } }
    try eventually("it is settled: \(String(describing: journal.trouble))") {
      if journal.trouble != nil { disk.heal() }
      return hasEnded.withLock { $0 } && journal.trouble == nil
    }
  }

  private func expectAcknowledged(_ disk: FaultyDisk, _ memory: Memory, _ place: String, _ what: String) throws {
    // Before the fault it is as in the runs with a later one.
    guard disk.hasStruck else { return }
    let after = place + "/after"
    for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-journal", "journal.sqlite-shm"] {
      if Files.exists("\(after)/\(name)") { try Files.unlink("\(after)/\(name)") }
    }
    if !Files.exists(after) { try Files.makeDirectory(after) }
    for (path, bytes) in disk.afterPowerCut { try Files.write(after + path.dropFirst((place + "/state").count), bytes) }
    let database = try Database(after + "/journal.sqlite")
    #expect(try Tables(database).contents() == memory.contents, "\(what)")
    var complaint = ""
    try Statement("PRAGMA integrity_check", of: database).rows { complaint += $0.text(0) }
    #expect(complaint == "ok", "\(what)")
  }
}
