import CopyJobs
import Glibc
import Testing

@Suite("Lines of ctl")
struct JobCommandTests {
  static let good: [(line: String, command: JobCommand)] = [
    ("cancel", .cancel), ("pause", .pause), ("resume", .resume), ("retry", .retry), ("rate=20M", .rate(20 << 20)), ("rate=1B", .rate(1)),
    ("rate=3s", .rate(1536)), ("rate=max", .rate(nil)), ("priority=0", .priority(0)), ("priority=9", .priority(9)),
    (" \tcancel\r", .cancel), ("pause ", .pause),
  ]

  @Test("Each command is read, whatever blanks are around it", arguments: good.indices)
  func read(index: Int) throws {
    #expect(try JobCommand(line: Array(Self.good[index].line.utf8)) == Self.good[index].command)
  }

  static let bad = [
    "", " ", "Cancel", "cancel now", "cancel=", "cancel=1", "pause resume", "stop", "rate", "rate=", "rate=0", "rate=0B", "rate=5",
    "rate=5X",
    "rate=-1B", "rate = 5M", "rate=9999999T", "priority", "priority=", "priority=10", "priority=-1", "priority=a", "priority=05", "retry=1",
    "\u{7}", "c\u{e4}ncel", "=", "=5",
  ]

  @Test("What is no command is EINVAL, and the text says what there is", arguments: bad)
  func refused(line: String) throws {
    let refusal = #expect(throws: Refusal.self) { try JobCommand(line: Array(line.utf8)) }
    #expect(refusal?.errno == EINVAL && refusal?.text.isEmpty == false)
    #expect(refusal?.text.unicodeScalars.contains { $0.value < 0x20 } == false)
    #expect((0...line.utf8.count).contains(refusal?.column ?? -1))
  }

  @Test("Bytes that are no text are EINVAL too")
  func bytes() {
    let refusal = #expect(throws: Refusal.self) { try JobCommand(line: [0x63, 0xff, 0x00, 0xfe]) }
    #expect(refusal?.errno == EINVAL)
  }
}
