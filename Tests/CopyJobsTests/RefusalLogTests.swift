import Glibc
import Testing

@testable import CopyJobs

@Suite("The log of refusals")
struct RefusalLogTests {
  private static func add(_ count: Int, to log: RefusalLog, uid: UInt32, from first: Int = 0) {
    for number in first..<first + count {
      log.add(
        Refusal(errno: EINVAL, column: number, text: "no. \(number)"), record: Array("record \(number)".utf8), job: nil, uid: uid, pid: 7)
    }
  }

  @Test("An entry has all that was known")
  func entry() throws {
    let log = RefusalLog()
    let before = time(nil)
    let refusal = Refusal(errno: ENOSPC, column: 12, text: "too small")
    log.add(refusal, record: Array("from=/dev/a".utf8), job: "nightly", uid: 1000, pid: 4711)
    log.add(refusal, record: [], job: nil, uid: 1000, pid: 4711)
    let entries = log.entries(for: 1000)
    let entry = try #require(entries.first)
    #expect(entry.refusal == refusal && entry.record == "from=/dev/a" && entry.job == "nightly" && entry.uid == 1000 && entry.pid == 4711)
    #expect(abs(Int(entry.time / 1_000_000_000) - before) < 60)
    #expect(entries.map(\.job) == ["nightly", ""] && entries[0].time <= entries[1].time)
  }

  @Test("What others have named stands in the text as one line that can be printed")
  func text() {
    let log = RefusalLog()
    log.add(Refusal(errno: EBUSY, column: 0, text: "mounted at /a\nb\u{1b}[2Jc"), record: [], job: nil, uid: 1, pid: 7)
    #expect(log.entries(for: 1).map(\.refusal.text) == ["mounted at /a b?[2Jc"])
  }

  @Test("The last 32 of each uid are kept, oldest first, whatever others do")
  func kept() {
    let log = RefusalLog()
    Self.add(3, to: log, uid: 1)
    Self.add(100, to: log, uid: 2)
    #expect(log.entries(for: 1).map(\.refusal.column) == [0, 1, 2])
    #expect(log.entries(for: 2).map(\.refusal.column) == Array(68..<100))
    #expect(log.entries(for: 3).isEmpty)
  }

  @Test("Root sees those of all, in the order in which they came")
  func root() {
    let log = RefusalLog()
    Self.add(5, to: log, uid: 1, from: 0)
    Self.add(5, to: log, uid: 0, from: 5)
    Self.add(5, to: log, uid: 2, from: 10)
    Self.add(5, to: log, uid: 1, from: 15)
    #expect(log.entries(for: 0).map(\.refusal.column) == Array(0..<20))
    #expect(log.entries(for: 1).map(\.refusal.column) == Array(0..<5) + Array(15..<20))
    Self.add(32, to: log, uid: 3, from: 20)
    #expect(log.entries(for: 0).suffix(32).map(\.refusal.column) == Array(20..<52))
  }

  @Test("Clearing forgets a uid's own, root's too")
  func clear() {
    let log = RefusalLog()
    for uid: UInt32 in 0...2 { Self.add(2, to: log, uid: uid, from: Int(uid) * 10) }
    log.clear(1)
    #expect(log.entries(for: 1).isEmpty && log.entries(for: 2).count == 2)
    log.clear(0)
    #expect(log.entries(for: 0).map(\.refusal.column) == [20, 21])
  }

  @Test("A record is kept as text that can be shown: nothing that a terminal obeys, and not more than 4096 bytes")
  func printable() throws {
    let log = RefusalLog()
    let refusal = Refusal(errno: EINVAL, column: 0, text: "")
    func shown(_ record: [UInt8]) throws -> String {
      log.add(refusal, record: record, job: nil, uid: 1, pid: 1)
      return try #require(log.entries(for: 1).last).record
    }
    #expect(try shown(Array("a\u{1b}[2Jb\u{7}\u{9b}c\0d\u{7f}".utf8)) == "a?[2Jb??c?d?")
    #expect(try shown([0x61, 0x09, 0x62, 0x0a, 0xff, 0xc3]) == "a b \u{fffd}\u{fffd}")
    let long = try shown([UInt8](repeating: 0x61, count: 65536))
    #expect(long == String(repeating: "a", count: 4096) + "...")
    // Cut in the middle of a character.
    let cut = try shown(Array((String(repeating: "a", count: 4095) + "é").utf8))
    #expect(cut == String(repeating: "a", count: 4095) + "...")
  }
}
