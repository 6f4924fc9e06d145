import Foundation
import Testing

@testable import JobFS

@Suite("Texts of constant length")
struct FieldTextTests {
  static let nasty = [
    "", "plain", "two words", "it's", "\"quoted\"", "back\\slash", "a\nb\tc\u{1b}[2J\u{0}d\u{7f}\u{9b}", "\u{2028}\u{2029}\u{feff}",
    "gr\u{fc}\u{df}e \u{1f600} e\u{301}",
    "</script>", "$(reboot)", "\u{fffd}",
  ]

  private static func lines(_ fields: [Field]) -> String {
    var text = JobFS.FieldText()
    text.addLines(fields)
    text.fill()
    return String(decoding: text.bytes, as: UTF8.self)
  }

  private static func object(_ fields: [Field]) -> [UInt8] {
    var text = JobFS.FieldText()
    text.add("{")
    text.addMembers(fields)
    text.fill()
    text.add("}\n")
    return text.bytes
  }

  @Test("A text is as long with the shortest values as with the longest, and ends with one newline")
  func length() {
    func fields(_ word: String, _ number: UInt64?, _ time: UInt64) -> [Field] {
      [
        .text("state", word, widest: 9), .constant("name", "x"), .number("count", number), .time("at", time),
        .text("last", word, widest: 9),
      ]
    }
    let values: [(String, UInt64?, UInt64)] = [
      ("", nil, 0), ("a", 0, 1), ("cancelled", .max, .max), ("done", 1_000_000, 1_700_000_000_000_000_000),
    ]
    let lengths = values.map { Self.lines(fields($0, $1, $2)).utf8.count }
    #expect(Set(lengths).count == 1)
    #expect(Set(values.map { Self.object(fields($0, $1, $2)).count }).count == 1)
    for (word, number, time) in values {
      let text = Self.lines(fields(word, number, time))
      #expect(text.hasSuffix("\n") && text.split(separator: "\n", omittingEmptySubsequences: false).count == 6)
      // Only the last line is filled up, and with blanks only.
      #expect(text.split(separator: "\n").dropLast().allSatisfy { !$0.hasSuffix(" ") })
    }
  }

  @Test("Values are words of the grammar: unknown ones empty, times with six decimals")
  func words() {
    let fields: [Field] = [
      .text("a", "", widest: 5), .constant("b", "two words"), .constant("c", 7), .number("d", nil), .time("e", 0),
      .time("f", 1_500_000_042_000),
    ]
    let lines = Self.lines(fields).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    #expect(lines.dropLast(2) == ["a=", "b='two words'", "c=7", "d=", "e="])
    #expect(lines[5].hasPrefix("f=1500.000042") && lines[5].dropFirst("f=1500.000042".count).allSatisfy { $0 == " " })
    #expect([0, 1, 999_999, 1_000_000].map(JobFS.FieldText.seconds) == ["", "0.000001", "0.999999", "1.000000"])
  }

  @Test("A JSON object is valid whatever the values hold, and gives them back", arguments: nasty)
  func json(value: String) throws {
    let fields: [Field] = [
      .constant("constant", value), .constant("count", 18_446_744_073_709_551_615), .number("none", nil), .time("never", 0),
      .time("time", 1_000),
      .text("unknown", "", widest: 3),
    ]
    let object = try #require(try JSONSerialization.jsonObject(with: Data(Self.object(fields))) as? [String: Any])
    #expect(object["constant"] as? String == value)
    #expect(object["count"] as? UInt64 == .max && object["time"] as? Double == 0.000001)
    for key in ["none", "never", "unknown"] { #expect(object[key] is NSNull, "\(key)") }
  }

  @Test("Nothing that a terminal obeys is ever written", arguments: nasty)
  func harmless(value: String) {
    let texts = [Self.lines([.constant("key", value)]), String(decoding: Self.object([.constant("key", value)]), as: UTF8.self)]
    for text in texts {
      #expect(!text.dropLast().unicodeScalars.contains { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) })
      #expect(text.last == "\n")
    }
  }
}
