import FaultKit
import Foundation
import Glibc
import Journal
import Locking
import Testing

@Suite("Numbers of jobs")
struct JournalTests {
  @Test("A new state directory begins with 1 and counts on")
  func counting() throws {
    try withWorkbench { bench in
      // Across the border of what one commit reserves.
      let given = try withJournal(bench.disk + "/state") { try numbers(2500, of: $0) }
      #expect(given == Array(1...2500))
    }
  }

  @Test("No number is given twice, however often the journal is opened again, and few are skipped")
  func reopening() throws {
    try withWorkbench { bench in
      var last: UInt64 = 0
      for round in 0..<5 {
        let given = try withJournal(bench.disk + "/state") { try numbers(1 + 700 * round, of: $0) }
        // At most what two commits reserve is skipped: the second is asked for when half of the first is used.
        #expect(given[0] > last && given[0] <= last + 2001)
        #expect(given == Array(given[0]..<given[0] + UInt64(given.count)))
        last = given[given.count - 1]
      }
    }
  }

  @Test("Many threads get as many numbers, all different")
  func threads() throws {
    try withWorkbench { bench in
      let given = Locked<[UInt64]>([])
      try withJournal(bench.disk + "/state") { journal in
        DispatchQueue.concurrentPerform(iterations: 8) { _ in
          let own = (try? numbers(1000, of: journal)) ?? []
          given.withLock { $0 += own }
        }
      }
      #expect(given.withLock { $0.sorted() } == Array(1...8000))
    }
  }

  @Test("A process that is killed while it takes numbers has had none that is given again")
  func kill() async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path
    var seen: Set<UInt64> = []
    for milliseconds in [0, 3, 10, 30] {
      await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, milliseconds = milliseconds as Int] in
        let journal = try Journal(directory: path + "/state")
        Thread.detachNewThread { journal.serve { Contents(jobs: [], clients: []) } }
        let log = try OpenFile(path + "/log", O_WRONLY | O_CREAT | O_APPEND)
        try log.writeAll(Array("\(try journal.nextNumber())\n".utf8))
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(milliseconds)) { Glibc.kill(getpid(), SIGKILL) }
        while true { try log.writeAll(Array("\(try journal.nextNumber())\n".utf8)) }
      }
      let taken = try Files.text(path + "/log").split(separator: "\n").map { try #require(UInt64($0)) }
      try Files.unlink(path + "/log")
      #expect(!taken.isEmpty && Set(taken).count == taken.count && seen.isDisjoint(with: taken))
      seen.formUnion(taken)
    }
    #expect(try withJournal(path + "/state") { try $0.nextNumber() } > seen.max() ?? 0)
    try directory.release()
  }

  @Test("Without a state directory numbers begin with 1 each time, and no file is made")
  func stateless() throws {
    let before = try Files.names(in: ".")
    for _ in 0..<2 {
      let given = try withJournal(nil) { try numbers(1500, of: $0) }
      #expect(given == Array(1...1500))
    }
    #expect(try Files.names(in: ".") == before)
  }
}
