import FaultKit
import Glibc
import Journal
import Testing

@Suite("A damaged journal")
struct DamageTests {
  /// A database at rest with some pages of each kind.
  private func database(in state: String) throws -> [UInt8] {
    try withJournal(state) { journal in
      try write(.accept((1..<40).map { job($0, destinations: 2, spec: String(repeating: "x", count: $0 == 7 ? 9000 : 300)) }), to: journal)
      try write(.putClient(client("c", 1)), to: journal)
    }
    // It is at rest when the next one could open it.
    #expect(try left(in: state).jobs.count == 39)
    return try Files.read(state + "/journal.sqlite")
  }

  /// Expects that nothing is opened, that the text names the file and what it has, and that no byte changes.
  private func expectRefusal(_ bytes: [UInt8], in state: String, _ what: String) throws {
    let path = state + "/journal.sqlite"
    try Files.write(path, bytes)
    let error = try #require(refusal(of: state), "\(what)")
    #expect(
      error.errno == EIO && error.text.hasPrefix("\(path) is damaged (") && error.text.hasSuffix("); it is left as it is"), "\(error)")
    #expect(try Files.read(path) == bytes, "\(what)")
  }

  @Test("A page of garbage, whichever it is, refuses the start with a clear text, and stays as it is")
  func pages() throws {
    try withWorkbench { bench in
      let good = try database(in: bench.disk)
      #expect(good.count >= 12 * 4096)
      for page in 0..<good.count / 4096 {
        let bad = Pattern.patched(good, at: page * 4096, with: Pattern.bytes(4096, seed: UInt64(page)))
        try expectRefusal(bad, in: bench.disk, "page \(page)")
      }
    }
  }

  @Test("A file that was cut refuses the start, wherever the cut is")
  func cut() throws {
    try withWorkbench { bench in
      let good = try database(in: bench.disk)
      for length in [2, 99, 512, 4095, 4096, good.count / 2, good.count - 4096] {
        try expectRefusal(Array(good[..<length]), in: bench.disk, "\(length) bytes")
      }
      // An empty file is what a first start leaves that ends at once; with a log it is not.
      try Files.write(bench.disk + "/journal.sqlite-wal", [1, 2, 3])
      try expectRefusal([], in: bench.disk, "no bytes, and a log")
      try Files.unlink(bench.disk + "/journal.sqlite")
      #expect(refusal(of: bench.disk)?.errno == EIO)
      #expect(try !Files.exists(bench.disk + "/journal.sqlite") && Files.read(bench.disk + "/journal.sqlite-wal") == [1, 2, 3])
    }
  }

  @Test("Numbers of jobs that were lost refuse the start; numbers behind those of jobs are not given again")
  func numbers() throws {
    try withWorkbench { bench in
      _ = try database(in: bench.disk)
      let path = bench.disk + "/journal.sqlite"
      try sql("UPDATE numbers SET next = 5", on: path)
      #expect(try withJournal(bench.disk) { try $0.nextNumber() } == 40)
      try sql("DELETE FROM numbers", on: path)
      #expect(refusal(of: bench.disk)?.text == "\(path) is damaged (it has lost the numbers of jobs); it is left as it is")
    }
  }

  @Test("Single bytes that are wrong end in a refusal or in rows, and never in a trap", arguments: 1...4)
  func bytes(seed: UInt64) throws {
    try withWorkbench { bench in
      let good = try database(in: bench.disk)
      var chance = SeededGenerator(seed: seed)
      for _ in 0..<60 {
        var bad = good
        for _ in 0..<Int.random(in: 1...8, using: &chance) {
          bad[Int.random(in: bad.indices, using: &chance)] = UInt8.random(in: 0...255, using: &chance)
        }
        try Files.write(bench.disk + "/journal.sqlite", bad)
        do throws(JournalError) {
          let journal = try Journal(directory: bench.disk)
          _ = try journal.contents()
        } catch  where error.text.contains("another kcopyfs") {
          continue
        } catch {
          #expect(error.text.hasPrefix(bench.disk + "/journal.sqlite"), "\(error)")
        }
      }
    }
  }

  @Test("A database that is damaged while it is in use refuses acceptances and is left alone; put aside, it is written anew from memory")
  func inUse() throws {
    try withWorkbench { bench in
      let state = bench.disk + "/state"
      let path = state + "/journal.sqlite"
      let memory = Memory()
      try withJournal(state, memory) { journal in
        // More than SQLite keeps of it in its own memory.
        let spec = String(repeating: "x", count: 10_000)
        for first in stride(from: UInt64(1), to: 600, by: 100) {
          try memory.keep((first..<first + 100).map { job($0, spec: spec) }, by: journal)
        }
        try sql("PRAGMA wal_checkpoint(TRUNCATE)", on: path)
        let script = """
          import os, sys
          file = os.open(sys.argv[1], os.O_WRONLY)
          for page in range(1, os.fstat(file).st_size // 4096):
              os.pwrite(file, os.urandom(4096), page * 4096)
          """
        try pythonCommand(script, [path]).run().orThrow()
        for id in UInt64(1)...600 { memory.set(id, standing(id + 1000, 1, "done"), by: journal) }
        try eventually("the damage is met") { journal.trouble != nil }
        let error = try #require(try memory.accept([job(700)], by: journal))
        try eventually("it is looked at") { journal.failureCount > 1 }
        #expect(error.errno == EIO && journal.trouble?.text.hasPrefix("\(path) is damaged (") == true, "\(error)")
        let (before, failures) = (try Self.sum(path), journal.failureCount)
        try eventually("it is tried again") { journal.failureCount > failures + 1 }
        #expect(try Self.sum(path) == before)

        for name in try Files.names(in: state) where name.hasPrefix("journal") {
          try Files.rename(state + "/" + name, to: bench.disk + "/" + name)
        }
        try eventually("it is written anew") { journal.trouble == nil }
        try memory.keep([job(701)], by: journal)
      }
      #expect(memory.contents.jobs.count == 601)
      #expect(try left(in: state) == memory.contents)
    }
  }

  /// By another process: a close by this one would give up its locks on the file.
  private static func sum(_ path: String) throws -> String { try run("sha256sum", path).orThrow().line }
}
