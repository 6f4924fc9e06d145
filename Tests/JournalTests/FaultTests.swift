import FaultKit
import Foundation
import Glibc
import Locking
import Testing

@testable import Journal

/// SQLite's own method: the first request fails, then the second, and so on, until a run comes through without meeting the fault.
@Suite("The journal on a disk that fails and loses its power")
struct FaultTests {
  struct Way: Sendable, Equatable, CustomTestStringConvertible {
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
      while try run(victim, way, in: bench.memory) >= victim { victim += 1 }
      // A fault that nothing meets proves nothing.
      #expect(victim > 100)
    }
  }

  @Test("So it is where batches are long, and the log is written back to the database in between", arguments: Way.all)
  func longBatches(way: Way) throws {
    try withWorkbench { bench in
      // More than the thousand pages after which SQLite writes its log back.
      let length = 1_500_000
      let all = try run(.max, way, length: length, in: bench.memory)
      #expect(all > 5000)
      var chance = SeededGenerator(seed: UInt64(Way.all.firstIndex(of: way) ?? 0))
      for _ in 0..<3 {
        let victim = Int.random(in: 1...all, using: &chance)
        #expect(try run(victim, way, length: length, in: bench.memory) >= victim)
      }
    }
  }

  /// Two daemons, one after the other, that accept jobs, take down how far they are, and remove some.
  ///
  /// - Parameter length: of the records.
  /// - Returns: how many requests there were.
  private func run(_ victim: Int, _ way: Way, length: Int = 1, in memoryPath: String) throws -> Int {
    let place = "\(memoryPath)/\(victim)"
    let disk = FaultyDisk(place + "/state", victim: victim, way.fault, isLasting: way.isLasting)
    defer {
      disk.release()
      try? FileManager.default.removeItem(atPath: place)
    }
    let memory = Memory()
    let spec = String(repeating: "x", count: length)
    for life in UInt64(0)..<2 {
      do {
        _ = try opened(place + "/state")
      } catch let error as JournalError {
        // Nothing can begin on it before it works.
        #expect(error.text.hasPrefix(place + "/state/"), "\(error)")
        try expectAcknowledged(disk, memory, place, "request \(victim), at the start", isTorn: true)
        disk.heal()
      }
      try withJournal(place + "/state", memory, patience: 1_000_000) { journal in
        for step in UInt64(0)..<2 {
          let first = life * 10 + step * 3 + 1
          let rows = (first..<first + 3).map { job($0, destinations: 2, spec: spec) }
          try settle(disk, journal) { ended in
            journal.write(.accept(rows)) { error in
              if error == nil { memory.insert(rows) }
              ended()
            }
          }
          try settle(disk, journal) { ended in memory.set(first, standing(first + 100, 2, "done"), by: journal, done: ended) }
          try expectAcknowledged(disk, memory, place, "request \(victim)")
          try settle(disk, journal) { ended in memory.remove(first + 1, by: journal, done: ended) }
          try expectAcknowledged(disk, memory, place, "request \(victim)", isTorn: step == 1)
        }
      }
      try expectAcknowledged(disk, memory, place, "request \(victim), at the end")
    }
    return disk.count
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

  /// - Parameter isTorn: whether also a cut is tried that leaves some of what wasn't flushed.
  private func expectAcknowledged(_ disk: FaultyDisk, _ memory: Memory, _ place: String, _ what: String, isTorn: Bool = false) throws {
    // Before the fault it is as in the runs with a later one.
    guard disk.hasStruck else { return }
    try expect(memory.contents, after: disk.afterPowerCut, place, what)
    var chance = SeededGenerator(seed: UInt64(disk.count))
    if isTorn { try expect(memory.contents, after: disk.afterPowerCut(tearing: &chance), place, what + ", torn") }
  }

  private func expect(_ contents: Contents, after files: [String: [UInt8]], _ place: String, _ what: String) throws {
    let after = place + "/after"
    if !Files.exists(after) { try Files.makeDirectory(after) }
    for name in try Files.names(in: after) { try Files.unlink("\(after)/\(name)") }
    for (path, bytes) in files { try Files.write(after + path.dropFirst((place + "/state").count), bytes) }
    let database = try Database(after + "/journal.sqlite")
    let isSame = try Tables(database).contents() == contents
    #expect(isSame, "\(what)")
    var complaint = ""
    try Statement("PRAGMA integrity_check", of: database).rows { complaint += $0.text(0) }
    #expect(complaint == "ok", "\(what)")
  }
}
