import FaultKit
import Glibc
import Testing

@testable import Journal

@Suite("The database of the journal")
struct DatabaseTests {
  /// Each schema that was ever written, and a text that fills it; the first number that its jobs have not had is 5001.
  static let schemas: [Int: [String]] = [
    1: ["CREATE TABLE numbers (next INTEGER NOT NULL) STRICT", "INSERT INTO numbers VALUES (5001)", "PRAGMA user_version=1"],
    2: second,
    3: second + third,
  ]

  private static let second = [
    "CREATE TABLE numbers (next INTEGER NOT NULL) STRICT",
    "INSERT INTO numbers VALUES (5001)",
    """
    CREATE TABLE jobs (
      id INTEGER PRIMARY KEY,
      name TEXT NOT NULL UNIQUE,
      state TEXT NOT NULL,
      uid INTEGER NOT NULL,
      gid INTEGER NOT NULL,
      mode INTEGER NOT NULL,
      caller TEXT NOT NULL,
      spec TEXT NOT NULL,
      source TEXT NOT NULL,
      bytes_total INTEGER,
      attempt INTEGER NOT NULL,
      ctl TEXT NOT NULL,
      progress TEXT NOT NULL,
      queued_at INTEGER NOT NULL,
      started_at INTEGER NOT NULL,
      finished_at INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE destinations (
      job INTEGER NOT NULL,
      number INTEGER NOT NULL,
      device TEXT NOT NULL,
      progress TEXT NOT NULL,
      map BLOB NOT NULL,
      PRIMARY KEY (job, number)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE clients (
      name TEXT PRIMARY KEY,
      uid INTEGER NOT NULL,
      gid INTEGER NOT NULL,
      mode INTEGER NOT NULL,
      made_at INTEGER NOT NULL,
      pages INTEGER NOT NULL,
      throttle INTEGER NOT NULL,
      rate INTEGER,
      subjob INTEGER NOT NULL,
      slots INTEGER NOT NULL,
      max_jobs INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    INSERT INTO jobs VALUES
      (7, 'nightly', 'unfinished', 1000, 100, 488, 'groups=4,24', 'copy src=/a dst=/b dst=/c', 'id=1:2 birth=3', 4096, 1, 'pause=yes',
       'done=512', 10, 20, 0),
      (4999, '4999', 'done', 0, 0, 420, '', 'copy src=/d dst=/e', '', NULL, 3, '', '', 11, 21, 31)
    """,
    """
    INSERT INTO destinations VALUES
      (7, 0, 'id=1:3 birth=4', 'durable=512', x'01818001'), (7, 1, '', 'failed=512', x''), (4999, 0, 'id=9:9', '', x'01')
    """,
    "INSERT INTO clients VALUES ('backup', 1000, 100, 493, 5, 128, 50, NULL, 65536, 8, 100), ('early', 0, 0, 448, 4, 1, 100, 9, 4, 1, 2)",
    "PRAGMA user_version=2",
  ]

  /// What it adds to the one before.
  private static let third = [
    "ALTER TABLE jobs ADD COLUMN predecessors TEXT NOT NULL DEFAULT ''",
    "CREATE TABLE ends (job INTEGER PRIMARY KEY, state TEXT NOT NULL) STRICT",
    "UPDATE jobs SET predecessors = '5,6' WHERE id = 7",
    "INSERT INTO ends VALUES (6, 'done')",
    "PRAGMA user_version=3",
  ]

  /// What each of them holds besides the number.
  private static let kept: [Int: Contents] = {
    var later = keptBySecond
    later.jobs[0].predecessors = "5,6"
    later.ends = [EndRow(id: 6, state: "done")]
    return [1: Contents(jobs: [], clients: []), 2: keptBySecond, 3: later]
  }()

  private static let keptBySecond = Contents(
    jobs: [
      JobRow(
        id: 7, name: "nightly", uid: 1000, gid: 100, mode: 0o750, caller: "groups=4,24", spec: "copy src=/a dst=/b dst=/c",
        source: "id=1:2 birth=3", bytesTotal: 4096, ctl: "pause=yes", queuedAt: 10,
        standing: Standing(
          state: "unfinished", attempt: 1, progress: "done=512", startedAt: 20, finishedAt: 0,
          destinations: [
            Standing.Destination(progress: "durable=512", map: [1, 0x81, 0x80, 1]), Standing.Destination(progress: "failed=512", map: []),
          ]),
        devices: ["id=1:3 birth=4", ""]),
      JobRow(
        id: 4999, name: "4999", uid: 0, gid: 0, mode: 0o644, caller: "", spec: "copy src=/d dst=/e", source: "", bytesTotal: nil, ctl: "",
        queuedAt: 11,
        standing: Standing(
          state: "done", attempt: 3, progress: "", startedAt: 21, finishedAt: 31,
          destinations: [Standing.Destination(progress: "", map: [1])]),
        devices: ["id=9:9"]),
    ],
    clients: [
      ClientRow(
        name: "early", uid: 0, gid: 0, mode: 0o700, madeAt: 4, pages: 1, throttle: 100, rate: 9, subjob: 4, slots: 1, maxJobs: 2),
      ClientRow(
        name: "backup", uid: 1000, gid: 100, mode: 0o755, madeAt: 5, pages: 128, throttle: 50, rate: nil, subjob: 65536, slots: 8,
        maxJobs: 100),
    ])

  @Test("The database of every version so far is taken over with all that it holds", arguments: schemas.keys.sorted())
  func migration(version: Int) throws {
    #expect(Self.schemas.keys.sorted() == Array(1...Schema.version), "a new schema needs its fixture here")
    try withWorkbench { bench in
      let path = bench.disk + "/journal.sqlite"
      for statement in try #require(Self.schemas[version]) { try sql(statement, on: path) }
      let given = try withJournal(bench.disk) { try numbers(3, of: $0) }
      #expect(given == [5001, 5002, 5003])
      #expect(try sql("PRAGMA user_version", on: path) == "\(Schema.version)")
      let journal = try opened(bench.disk)
      #expect(try journal.contents() == Self.kept[version])
    }
  }

  @Test("What is written today is the schema of today's fixture")
  func today() throws {
    try withWorkbench { bench in
      let fixture = bench.disk + "/fixture.sqlite"
      for statement in try #require(Self.schemas[Schema.version]) { try sql(statement, on: fixture) }
      _ = try opened(bench.disk + "/state")
      let query = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
      #expect(try sql(query, on: bench.disk + "/state/journal.sqlite") == sql(query, on: fixture))
    }
  }

  @Test("Another program can look into the database while it is in use")
  func reading() throws {
    try withWorkbench { bench in
      let path = bench.disk + "/journal.sqlite"
      try withJournal(bench.disk) { journal in
        let given = try numbers(10, of: journal)
        let next = try #require(UInt64(try sql("SELECT next FROM numbers", on: path)))
        #expect(given.allSatisfy { $0 < next })
        #expect(try sql("PRAGMA user_version", "PRAGMA journal_mode", "PRAGMA integrity_check", on: path) == "\(Schema.version)\nwal\nok")
        #expect(try journal.nextNumber() == 11)
      }
    }
  }

  @Test("What a crash left in the middle of the database's making is taken back, and it is made again")
  func crashWhenMade() throws {
    try withWorkbench { bench in
      let state = bench.disk + "/state"
      try Files.makeDirectory(state)
      // Its first page is there, and so is the journal that says that there was none: "The Rollback Journal" in SQLite's file format.
      try Files.write(state + "/journal.sqlite", Array("SQLite format 3\0".utf8) + [UInt8](repeating: 0, count: 4080))
      let header: [UInt8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 16, 0]
      try Files.write(state + "/journal.sqlite-journal", header + [UInt8](repeating: 0, count: 512 - header.count))
      let given = try withJournal(state) { try numbers(2, of: $0) }
      #expect(given == [1, 2])
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
        try sql("PRAGMA journal_mode=\(kind.rawValue)", "CREATE TABLE later (it)", "PRAGMA user_version=\(Schema.version + 1)", on: path)
      case .killed:
        // A log that nobody wrote back, as a daemon that was killed leaves it.
        let script = """
          import os, signal, sqlite3, sys
          connection = sqlite3.connect(sys.argv[1], isolation_level=None)
          for statement in ["PRAGMA journal_mode=wal", "CREATE TABLE later (it)", f"PRAGMA user_version={sys.argv[2]}"]:
              connection.execute(statement)
          os.kill(os.getpid(), signal.SIGKILL)
          """
        #expect(try pythonCommand(script, [path, "\(Schema.version + 1)"]).run().ending == .signal(SIGKILL))
        #expect(try !Files.read(path + "-wal").isEmpty)
      }
      let before = try Self.contents(state)
      let error = try #require(refusal(of: state))
      let versions = "schema \(Schema.version + 1), this one knows \(Schema.version)"
      #expect(error.text == "\(path) was written by a newer kcopyfs (\(versions)); it is left as it is")
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
      #expect(refusal(of: bench.disk)?.text == "\(path) is damaged (file is not a database); it is left as it is")
      #expect(try Files.read(path) == bytes)
    }
  }
}
