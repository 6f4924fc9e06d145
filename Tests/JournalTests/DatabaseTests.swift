import FaultKit
import Glibc
import Testing

@testable import Journal

@Suite("The database of the journal")
struct DatabaseTests {
  /// Each schema that was ever written, and a text that fills it; the first number that its jobs have not had is 5001.
  static let schemas: [Int: [String]] = [
    1: ["CREATE TABLE numbers (next INTEGER NOT NULL) STRICT", "INSERT INTO numbers VALUES (5001)", "PRAGMA user_version=1"]
  ]

  @Test("The database of every version so far is taken over with its numbers", arguments: schemas.keys)
  func migration(version: Int) throws {
    #expect(Self.schemas.keys.sorted() == Array(1...Database.version), "a new schema needs its fixture here")
    try withWorkbench { bench in
      let path = bench.disk + "/journal.sqlite"
      for statement in try #require(Self.schemas[version]) { try sql(statement, on: path) }
      #expect(try numbers(3, of: Journal(directory: bench.disk)) == [5001, 5002, 5003])
      #expect(try sql("PRAGMA user_version", on: path) == "\(Database.version)")
      #expect(try reopened(bench.disk).nextNumber() > 5003)
    }
  }

  @Test("What is written today is the schema of today's fixture")
  func today() throws {
    try withWorkbench { bench in
      let fixture = bench.disk + "/fixture.sqlite"
      for statement in try #require(Self.schemas[Database.version]) { try sql(statement, on: fixture) }
      _ = try Journal(directory: bench.disk + "/state")
      let query = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
      #expect(try sql(query, on: bench.disk + "/state/journal.sqlite") == sql(query, on: fixture))
    }
  }

  @Test("Another program can look into the database while it is in use")
  func reading() throws {
    try withWorkbench { bench in
      let path = bench.disk + "/journal.sqlite"
      let journal = try Journal(directory: bench.disk)
      let given = try numbers(10, of: journal)
      let next = try #require(UInt64(try sql("SELECT next FROM numbers", on: path)))
      #expect(given.allSatisfy { $0 < next })
      #expect(try sql("PRAGMA user_version", "PRAGMA journal_mode", "PRAGMA integrity_check", on: path) == "1\nwal\nok")
      #expect(try journal.nextNumber() == 11)
    }
  }

  /// What a later version may have left: its database at rest, with another kind of journal, or in the middle of its work.
  enum Newer: String, CaseIterable { case wal, delete, killed }

  @Test("A newer version's database is refused by its number and left as it is, byte by byte", arguments: Newer.allCases)
  func newer(kind: Newer) throws {
    try withWorkbench { bench in
      let state = bench.disk + "/state"
      let path = state + "/journal.sqlite"
      try Files.makeDirectory(state)
      switch kind {
      case .wal, .delete:
        try sql("PRAGMA journal_mode=\(kind.rawValue)", "CREATE TABLE later (it)", "PRAGMA user_version=2", on: path)
      case .killed:
        // A log that nobody wrote back, as a daemon that was killed leaves it.
        let script = """
          import os, signal, sqlite3, sys
          connection = sqlite3.connect(sys.argv[1], isolation_level=None)
          for statement in ["PRAGMA journal_mode=wal", "CREATE TABLE later (it)", "PRAGMA user_version=2"]:
              connection.execute(statement)
          os.kill(os.getpid(), signal.SIGKILL)
          """
        #expect(try pythonCommand(script, [path]).run().ending == .signal(SIGKILL))
        #expect(try !Files.read(path + "-wal").isEmpty)
      }
      let before = try Self.contents(state)
      let error = try #require(refusal(of: state))
      #expect(error.text == "\(path) was written by a newer kcopyfs (schema 2, this one knows 1); it is left as it is")
      #expect(try Self.contents(state) == before)
    }
  }

  /// The database and its log; the index of the log and our lock say nothing of the contents.
  private static func contents(_ directory: String) throws -> [String: [UInt8]] {
    let names = try Files.names(in: directory).filter { $0 != "lock" && !$0.hasSuffix("-shm") }
    let files = try names.map { ($0, try Files.read("\(directory)/\($0)")) }
    return Dictionary(uniqueKeysWithValues: files.filter { $0.0 == "journal.sqlite" || !$0.1.isEmpty })
  }

  @Test("A file that is no database is refused and left as it is")
  func garbage() throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(8192, seed: 1)
      let path = try bench.file("journal.sqlite", bytes)
      #expect(refusal(of: bench.disk)?.text == "\(path): file is not a database")
      #expect(try Files.read(path) == bytes)
    }
  }
}
