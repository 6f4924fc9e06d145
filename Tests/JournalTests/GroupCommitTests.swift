import FaultKit
import Glibc
import Journal
import Locking
import Testing

@Suite("Commits of the journal")
struct GroupCommitTests {
  @Test("All that comes while a commit is under way shares the next one: 200 acceptances cost the flushes of one")
  func shared() throws {
    try withWorkbench { bench in
      let device = try bench.loop(size: 16 << 20)
      try run("mkfs.ext2", "-q", device.path).orThrow()
      let mount = bench.keep(try Mount(type: "ext2", device: device.path, on: bench.disk + "/mnt"))
      let alone = Memory()
      try withJournal(mount.path + "/state") { journal in
        try alone.keep([job(1)], by: journal)

        let ofOne = try flushes(of: device) { try alone.keep([job(2)], by: journal) }
        let ofTwenty = try flushes(of: device) {
          for id in 3..<23 { try alone.keep([job(UInt64(id))], by: journal) }
        }
        #expect(ofOne > 0 && ofTwenty == 20 * ofOne)

        let (isHeld, gate) = (Semaphore(), Semaphore())
        let answers = Locked<[UInt64]>([])
        let ofAll = try flushes(of: device) {
          // It changes nothing, so its own commit costs none.
          journal.write(
            .checkpoint(1) {
              isHeld.signal()
              gate.wait()
              return nil
            })
          isHeld.wait()
          for id in UInt64(100)..<300 {
            journal.write(.accept([job(id)])) { error in if error == nil { answers.withLock { $0.append(id) } } }
          }
          #expect(answers.withLock { $0.isEmpty })
          gate.signal()
          try eventually("all are answered") { answers.withLock { $0.count == 200 } }
        }
        #expect(ofAll == ofOne)
        #expect(answers.withLock { $0 } == Array(100..<300))
      }
      #expect(try left(in: mount.path + "/state").jobs.count == 222)
    }
  }

  private func flushes(of device: LoopDevice, _ body: () throws -> Void) throws -> Int {
    let before = try device.counters.flushes
    try body()
    return try device.counters.flushes - before
  }

  @Test("Of a job's checkpoints that come together one is asked for, when it is written")
  func checkpoints() throws {
    try withWorkbench { bench in
      let asked = Locked<[Int]>([])
      try withJournal(bench.disk) { journal in
        try write(.accept([job(1), job(2)]), to: journal)
        let (isHeld, gate) = (Semaphore(), Semaphore())
        journal.write(
          .checkpoint(2) {
            isHeld.signal()
            gate.wait()
            return nil
          })
        isHeld.wait()
        for number in 0..<50 {
          journal.write(
            .checkpoint(1) {
              asked.withLock { $0.append(number) }
              return standing(UInt64(number))
            })
        }
        gate.signal()
      }
      #expect(asked.withLock { $0 } == [49])
      #expect(try left(in: bench.disk).jobs.first?.standing == standing(49))
    }
  }

  @Test("After the close nothing is accepted, no number is given that wasn't reserved, and nobody waits for ever")
  func closed() throws {
    try withWorkbench { bench in
      try withJournal(bench.disk) { journal in
        try write(.accept([job(1)]), to: journal)
        #expect(journal.close(until: .max))
        let error = try #require(try written(.accept([job(2)]), by: journal))
        #expect(error == JournalError(errno: ESHUTDOWN, "the daemon is stopping"))
        #expect(throws: error) { try numbers(5000, of: journal) }
      }
      #expect(try left(in: bench.disk).jobs == [job(1)])
    }
  }

  @Test("Without a state directory changes are answered at once, and the close waits for nothing")
  func stateless() throws {
    let journal = try Journal(directory: nil)
    let answers = Locked<[JournalError?]>([])
    journal.write(.accept([job(1)])) { error in answers.withLock { $0.append(error) } }
    #expect(answers.withLock { $0 } == [nil])
    #expect(journal.close(until: .max) && journal.trouble == nil)
    #expect(try journal.contents() == Contents(jobs: [], clients: []))
  }
}
