import FaultKit
import Foundation
import Glibc
import Journal
import Locking
import Testing

@Suite("What the journal keeps")
struct ContentsTests {
  @Test("Each kind of change is found by the next daemon, and those about what isn't there change nothing")
  func kinds() throws {
    try withWorkbench { bench in
      try withJournal(bench.disk) { journal in
        let changes: [Change] = [
          .accept([job(1), job(2, destinations: 3)]), .accept([job(3), job(4), job(5, destinations: 0)]),
          .replace(job(2, "job2", destinations: 2, spec: "mirror")),
          .standing(1, standing(70, 1, "done")), .checkpoint(2) { standing(80, 2) }, .checkpoint(3) { nil },
          .control(3, ctl: "pause=yes", mode: 0o600), .remove(4),
          .putClient(client("b", 10)), .putClient(client("a", 20)), .putClient(client("c", 30)), .removeClient("b"),
          .putClient(client("c", 31)),
          .putEnd(EndRow(id: 8, state: "done")), .putEnd(EndRow(id: 7, state: "done")), .putEnd(EndRow(id: 9, state: "failed")),
          .removeEnd(7), .putEnd(EndRow(id: 8, state: "cancelled")), .removeEnd(96),
          .standing(97, standing(1)), .checkpoint(98) { standing(2) }, .control(99, ctl: "cancel=yes", mode: 0), .remove(100),
          .removeClient("d"),
        ]
        for change in changes { journal.write(change) }
      }
      var (first, second, third) = (job(1), job(2, destinations: 2, spec: "mirror"), job(3))
      first.standing = standing(70, 1, "done")
      second.standing = standing(80, 2)
      third.ctl = "pause=yes"
      third.mode = 0o600
      let ends = [EndRow(id: 8, state: "cancelled"), EndRow(id: 9, state: "failed")]
      let expected = Contents(
        jobs: [first, second, third, job(5, destinations: 0)], clients: [client("a", 20), client("c", 31)], ends: ends)
      #expect(try left(in: bench.disk) == expected)
      // Nothing is left of those that went.
      #expect(try sql("SELECT count(*) FROM destinations", on: bench.disk + "/journal.sqlite") == "4")
    }
  }

  @Test("Text of any kind comes back as it was: quotes, newlines, NULs, and what is no ASCII; numbers up to the last")
  func nasty() throws {
    try withWorkbench { bench in
      var row = job(UInt64(Int64.max), "it's; DROP TABLE jobs --\u{0}\n\"é\u{1F980}")
      row.spec = String(repeating: "\u{0}'\u{7f}", count: 20_000)
      row.bytesTotal = .max
      row.uid = .max
      row.queuedAt = .max
      row.standing.destinations[0].map = [UInt8](repeating: 0, count: 1 << 20)
      try withJournal(bench.disk) { try write(.accept([row]), to: $0) }
      #expect(try left(in: bench.disk).jobs == [row])
    }
  }

  @Test("Changes are written in the order in which they came, and each of them is answered once, in that order")
  func order() throws {
    try withWorkbench { bench in
      let answers = Locked<[Int]>([])
      try withJournal(bench.disk) { journal in
        journal.write(.accept([job(1)]))
        for number in 0..<2000 {
          let change: Change =
            switch number % 4 {
            case 0: .control(1, ctl: "\(number)", mode: UInt32(number))
            case 1: .checkpoint(1) { standing(UInt64(number)) }
            case 2: .putClient(client("c", UInt64(number)))
            default: .standing(1, standing(UInt64(number)))
            }
          journal.write(change) { error in answers.withLock { $0.append(error == nil ? number : -1) } }
        }
      }
      #expect(answers.withLock { $0 } == Array(0..<2000))
      var last = job(1)
      last.ctl = "1996"
      last.mode = 1996
      last.standing = standing(1999)
      #expect(try left(in: bench.disk) == Contents(jobs: [last], clients: [client("c", 1998)]))
    }
  }

  @Test("A name goes over to the next job although the removal of the one that had it comes later")
  func name() throws {
    try withWorkbench { bench in
      try withJournal(bench.disk) { journal in
        for change in [Change.accept([job(1, "x", destinations: 2)]), .accept([job(2, "x")]), .remove(1)] { journal.write(change) }
      }
      #expect(try left(in: bench.disk).jobs == [job(2, "x")])
      #expect(try sql("SELECT job FROM destinations", on: bench.disk + "/journal.sqlite") == "2")
    }
  }

  @Test("After a kill in the middle of writing, what was acknowledged is there, and of each batch all or nothing")
  func kill() async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path
    for milliseconds in [0, 5, 20, 80] {
      await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, milliseconds = milliseconds as Int] in
        let journal = try Journal(directory: path + "/state")
        let memory = Memory()
        let log = try OpenFile(path + "/log", O_WRONLY | O_CREAT | O_APPEND)
        Thread.detachNewThread { journal.serve { memory.contents } }
        let first = try journal.nextNumber()
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(milliseconds)) { Glibc.kill(getpid(), SIGKILL) }
        var batch = first
        while true {
          let rows = (0..<4).map { job(batch + $0, "\(batch)-\($0)", destinations: 2) }
          guard try memory.accept(rows, by: journal) == nil else { break }
          try log.writeAll(Array("\(batch)\n".utf8))
          for _ in 0..<4 { batch = try journal.nextNumber() }
        }
      }
      let acknowledged = try Files.exists(path + "/log") ? Files.text(path + "/log").split(separator: "\n").map { UInt64($0) } : []
      let jobs = try left(in: path + "/state").jobs
      let batches = Dictionary(grouping: jobs) { $0.name.split(separator: "-")[0] }
      #expect(batches.values.allSatisfy { $0.count == 4 && $0.allSatisfy { $0.devices.count == 2 } })
      #expect(Set(acknowledged).isSubset(of: batches.keys.map { UInt64($0) }))
    }
    try directory.release()
  }

  @Test("Another program that reads while the journal is written sees whole batches, and holds nobody up")
  func reading() throws {
    try withWorkbench { bench in
      try withJournal(bench.disk) { journal in
        try write(.accept((0..<4).map { job($0, "0-\($0)") }), to: journal)
        let script = """
          import sqlite3, sys
          connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
          seen = set()
          while len(seen) < 20:
              jobs, destinations = connection.execute(
                  "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM destinations)").fetchone()
              assert jobs == destinations and jobs % 4 == 0, (jobs, destinations)
              seen.add(jobs)
          """
        let reader = try pythonCommand(script, [bench.disk + "/journal.sqlite"]).start()
        var batch: UInt64 = 4
        while reader.running {
          try write(.accept((0..<4).map { job(batch + $0, "\(batch)-\($0)") }), to: journal)
          batch += 4
        }
        try reader.wait().orThrow()
      }
    }
  }
}
