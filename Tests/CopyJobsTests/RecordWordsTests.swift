import CopyJobs
import Glibc
import Testing

@Suite("Words, names and sizes")
struct RecordWordsTests {
  @Test(
    "a value is bare only if a shell takes it literally",
    arguments: [
      ("", ""), ("AZaz09_./:@+,%-", "AZaz09_./:@+,%-"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("'", "''\\'''"), ("=", "'='"),
      ("~", "'~'"), ("$x", "'$x'"), ("a\\b", "'a\\b'"), ("\u{e4}", "'\u{e4}'"), ("a\nb\u{9b}", "'a?b?'"), ("#", "'#'"),
    ])
  func quoted(value: String, written: String) {
    #expect(Words.quoted(value) == written)
  }

  @Test("every ASCII character is read back from its quotes, and from its escape in JSON")
  func everyCharacter() throws {
    for byte in UInt8(0x20)..<0x7f {
      let text = "x\(Character(Unicode.Scalar(byte)))"
      #expect(try parse("from=/a to=/b context=\(Words.quoted(text))").context == text)
      #expect(try parse("{\"from\":\"/a\",\"to\":\"/b\",\"context\":\(Words.json(text))}").context == text)
    }
  }

  @Test(
    "a JSON literal holds no control character",
    arguments: [
      ("", "\"\""), ("a\"\\/", "\"a\\\"\\\\/\""), ("\n\u{7f}\u{9b}", "\"\\u000A\\u007F\\u009B\""),
      ("\u{e4}\u{1f600}", "\"\u{e4}\u{1f600}\""),
    ])
  func json(value: String, written: String) {
    #expect(Words.json(value) == written)
  }

  @Test("words are appended to a record, lines to a file")
  func appending() {
    var text: [UInt8] = []
    Words.appendWord("job", "a b", to: &text)
    Words.appendWord("id", 17, to: &text)
    Words.appendLine("state", "", to: &text)
    Words.appendLine("left", -1, to: &text)
    Words.appendWord("job", "c", to: &text)
    #expect(String(decoding: text, as: UTF8.self) == "job='a b' id=17 state=\nleft=-1\njob=c")
  }

  @Test("any bytes can be shown")
  func printable() {
    #expect(Words.printable(Array("a\tb\r\nc\u{1b}d\u{e4}".utf8)) == "a b  c?d\u{e4}")
    #expect(Words.printable([0x61, 0xff, 0xc3]) == "a\u{fffd}\u{fffd}")
    #expect(Words.printable(Array("abcdef".utf8), limit: 6) == "abcdef")
    #expect(Words.printable(Array("abcdef".utf8), limit: 5) == "abcde...")
    #expect(Words.printable(Array("abcd\u{e4}".utf8), limit: 5) == "abcd...")
  }

  @Test("a name is 1 to 64 of the characters, without a leading -")
  func names() throws {
    for name in ["a", "A-Z_0.9", "17", ".hidden", "...", String(repeating: "n", count: 64)] { try JobName.check(name) }
    let characters = "a name is made of A-Z, a-z, 0-9, \".\", \"_\" and \"-\", not as "
    let refused: [(String, Int, String)] = [
      ("", 0, "a name is missing"), ("-a", 0, "a name does not begin with \"-\""), ("a b", 1, characters + "\"a b\""),
      ("a/b", 1, characters + "\"a/b\""), ("a\nb", 1, characters + "\"a b\""), ("caf\u{e9}", 3, characters + "\"caf\u{e9}\""),
      ("a~", 1, characters + "\"a~\""), (String(repeating: "n", count: 65), 64, "a name has at most 64 characters, this one 65"),
      (".", 0, "\".\" is the name of a directory that is always there"),
      ("..", 0, "\"..\" is the name of a directory that is always there"),
    ]
    for (name, column, text) in refused {
      #expect(throws: Refusal(errno: EINVAL, column: column, text: text)) { try JobName.check(name) }
    }
  }

  @Test("names of digits are reserved, hidden ones and those with a tilde are drafts")
  func kinds() {
    #expect(["17", "0"].allSatisfy(JobName.isReserved))
    #expect(!["", "1a", "a1", "1.0", "\u{0661}"].contains(where: JobName.isReserved))
    #expect([".a", "a~", ".", "~"].allSatisfy(JobName.isDraft))
    #expect(!["", "a", "a.b", "~a", "a~b"].contains(where: JobName.isDraft))
  }

  @Test("a size is read for a control file as in a record")
  func sizes() throws {
    #expect(try ByteSize.parse("0") == 0)
    #expect(try ByteSize.parse("2048s") == 1 << 20)
    #expect(try ByteSize.parse("9223372036854775807B") == ByteSize.maximum)
    #expect(try ByteSize.parseRate("max") == nil)
    #expect(try ByteSize.parseRate("10M") == 10 << 20)
    let refused: [(String, Int, String)] = [
      ("", 0, "\"\" is not a size: write 0, or digits and one of the units \(RecordRefusalTests.units)"),
      ("5", 0, "the number 5 has no unit: write 5s for sectors of 512 bytes, or 5B for bytes"),
      ("5+", 1, "\"5+\" has a unit that is not known: use one of \(RecordRefusalTests.units)"),
      ("5m", 1, "\"5m\" has a unit that is not known: use one of \(RecordRefusalTests.units)"),
      ("0x", 0, "\"0x\" is not a size: write 0, or digits and one of the units \(RecordRefusalTests.units)"),
      ("1K ", 0, "\"1K \" is not a size: write 0, or digits and one of the units \(RecordRefusalTests.units)"),
      ("9223372036854775808B", 0, "\"9223372036854775808B\" is more than 2^63-1 bytes"),
    ]
    for (size, column, text) in refused {
      #expect(throws: Refusal(errno: EINVAL, column: column, text: text)) { try ByteSize.parse(size) }
    }
  }
}
