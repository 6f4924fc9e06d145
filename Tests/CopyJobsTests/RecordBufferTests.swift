import CopyJobs
import FaultKit
import Testing

@Suite("Records out of writes")
struct RecordBufferTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let text: String
    let records: [String]

    init(_ description: String, _ text: String, _ records: [String]) {
      self.testDescription = description
      self.text = text
      self.records = records
    }
  }

  static let cases = [
    Case("a line", "a=b\n", ["a=b"]),
    Case("two lines", "a=b\nc=d\n", ["a=b", "c=d"]),
    Case("no newline yet", "a=b", []),
    Case("a carriage return before the newline", "a=b\r\nc=d\r\n", ["a=b", "c=d"]),
    Case("a carriage return elsewhere stays, to be refused", "a\rb\r\r\n", ["a\rb\r"]),
    Case("blank lines and comments", "\n  \t\n\r\n# a=b\n  # c=d \\\ne=f\n", ["e=f"]),
    Case("a # inside a line is part of it", "a=b # c\n", ["a=b # c"]),
    Case("blanks in front are not part of the record, blanks behind are", " \t a=b \n", ["a=b "]),
    Case("a line goes on behind a backslash", "a=b \\\n  c=d\n", ["a=b   c=d"]),
    Case("and behind a backslash and a carriage return", "a=b \\\r\nc=d\r\n", ["a=b c=d"]),
    Case("within a word, too", "from=/de\\\nv/s\\\nda\n", ["from=/dev/sda"]),
    Case("a continued line may be empty", "a=b\\\n\\\n\\\n\nc=d\n", ["a=b", "c=d"]),
    Case("a continued comment mark is part of the line", "a=b \\\n# c\n", ["a=b # c"]),
    Case("only backslashes and newlines are a blank line", "\\\n\\\r\n\n", []),
    Case("a comment behind nothing but a backslash", "\\\n# a=b\nc=d\n", ["c=d"]),
    Case("a backslash taken literally by another continues nothing", "context=x\\\\\nc=d\n", ["context=x\\\\", "c=d"]),
    Case("the third one does", "context=x\\\\\\\nc=d\n", ["context=x\\\\c=d"]),
    Case("what a line ends in is decided by that line", "a\\\r\\\n\nc=d\n", ["a\\\r", "c=d"]),
    Case("backslashes before and behind a joint are counted apart", "a\\\\\\\n\\\\\nc=d\n", ["a\\\\\\\\", "c=d"]),
    Case("a backslash elsewhere stays", "context=a\\ b\n", ["context=a\\ b"]),
    Case("an object", "{\"a\":1}\n", ["{\"a\":1}"]),
    Case("an object needs no newline", "{\"a\":1}{\"b\":2}", ["{\"a\":1}", "{\"b\":2}"]),
    Case("an object over many lines", "\n {\n \"a\" : {\r\n} }\n a=b\n", ["{\n \"a\" : {\r\n} }", "a=b"]),
    Case("braces and quotes in strings", #"{"a":"}\"}{\\"}x=y"# + "\n", [#"{"a":"}\"}{\\"}"#, "x=y"]),
    Case("a # in an object is no comment", "{\n# }\n", ["{\n# }"]),
    Case("an object behind a continued blank line", "\\\n{}\n", ["{}"]),
    Case("a brace inside a line begins no object", "a={ b=}\n", ["a={ b=}"]),
    Case("bytes that are not text are kept as they are", "a=\u{0}\u{7f}\n", ["a=\u{0}\u{7f}"]),
  ]

  @Test("a write gives its records", arguments: cases)
  func records(of example: Case) {
    #expect(CopyJobsTests.records(of: example.text, inPiecesOf: 1 << 20) == example.records)
  }

  @Test("where a write is split makes no difference", arguments: cases)
  func split(of example: Case) {
    for length in 1...7 {
      #expect(CopyJobsTests.records(of: example.text, inPiecesOf: length) == example.records, "pieces of \(length)")
    }
    let bytes = Array(example.text.utf8)
    for cut in 0...bytes.count {
      var buffer = RecordBuffer()
      buffer.append(Array(bytes[..<cut]))
      var found = drain(&buffer)
      buffer.append(Array(bytes[cut...]))
      found += drain(&buffer)
      #expect(found == example.records, "cut at \(cut)")

      var unread = RecordBuffer()
      unread.append(Array(bytes[..<cut]))
      unread.append(Array(bytes[cut...]))
      #expect(drain(&unread) == example.records, "appended twice, cut at \(cut)")
    }
  }

  @Test("random texts give the same records however they are split", arguments: 0..<40)
  func randomSplit(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    let pieces = ["a=b", " ", "\t", "\\", "\\\\", "\n", "\n", "\r", "\r\n", "#", "{", "}", "\"", "\\\n", "\\\r\n", "x", "longer=word"]
    for _ in 0..<100 {
      let text = (0..<Int.random(in: 1...40, using: &generator)).map { _ in pieces.randomElement(using: &generator)! }.joined()
      let limit = Int.random(in: 4...40, using: &generator)
      let whole = CopyJobsTests.records(of: text, inPiecesOf: 1 << 20, limit: limit)
      for length in [1, 2, 3, 5] {
        #expect(CopyJobsTests.records(of: text, inPiecesOf: length, limit: limit) == whole, "\(text.debugDescription) limit \(limit)")
      }
      for record in whole where record != "(too long)" { #expect(record.utf8.count <= limit) }
    }
  }

  @Test("the end of a record is counted in bytes of the last append")
  func end() {
    var buffer = RecordBuffer()
    buffer.append(Array("# c\na=b\r\n{} e".utf8))
    #expect(buffer.next() == .record(Array("a=b".utf8), end: 9))
    #expect(buffer.consumed == 9)
    #expect(buffer.next() == .record(Array("{}".utf8), end: 11))
    #expect(buffer.next() == .incomplete)
    #expect(buffer.consumed == 12)
    buffer.append(Array("=f\n\n# trailing\n  ".utf8))
    #expect(buffer.next() == .record(Array("e=f".utf8), end: 3))
    #expect(buffer.consumed == 3)
    #expect(buffer.next() == .incomplete)
    #expect(buffer.consumed == 17)
    #expect(buffer.next() == .incomplete)
    #expect(buffer.consumed == 17)
    #expect(!buffer.hasUnfinishedRecord)
  }

  @Test("a record that ended in an append before the last uses none of its bytes")
  func endBefore() {
    var buffer = RecordBuffer()
    buffer.append(Array("a=b\nc=d\ne".utf8))
    #expect(buffer.next() == .record(Array("a=b".utf8), end: 4))
    buffer.append(Array("=f\n".utf8))
    #expect(buffer.next() == .record(Array("c=d".utf8), end: 0))
    #expect(buffer.next() == .record(Array("e=f".utf8), end: 3))
  }

  @Test("a record of exactly the limit is accepted, with any line end", arguments: ["\n", "\r\n", " \\\n\n"])
  func limit(lineEnd: String) {
    let padding = lineEnd.hasPrefix(" ") ? 1 : 0
    let full = String(repeating: "x", count: JobRecord.maximumLength - padding)
    for length in [1 << 20, 4096, 65535, 65536, 65537] {
      let found = CopyJobsTests.records(of: full + lineEnd + "x" + full + lineEnd + "a=b\n", inPiecesOf: length)
      #expect(found.count == 3)
      #expect(found.first?.utf8.count == JobRecord.maximumLength)
      #expect(found.dropFirst() == ["(too long)", "a=b"])
    }
  }

  @Test("a line too long is said once, as soon as it is known, and swallowed with the lines that continue it")
  func tooLongLine() {
    var buffer = RecordBuffer(limit: 8)
    buffer.append(Array("from=/dev/sda".utf8))
    #expect(buffer.next() == .tooLong(end: 13))
    #expect(buffer.next() == .incomplete)
    #expect(buffer.hasUnfinishedRecord)
    buffer.append(Array(" \\\r\nto=/b \\".utf8))
    #expect(buffer.next() == .incomplete)
    #expect(buffer.consumed == 11)
    buffer.append(Array("\nto=/a\na=b\n".utf8))
    #expect(buffer.next() == .record(Array("a=b".utf8), end: 11))
    #expect(buffer.next() == .incomplete)
    #expect(!buffer.hasUnfinishedRecord)
  }

  @Test("an object too long is swallowed up to its brace")
  func tooLongObject() {
    let long = #"{"context": "} \" }", "to": {}}"#
    #expect(CopyJobsTests.records(of: long + "\na=b\n", inPiecesOf: 100, limit: 10) == ["(too long)", "a=b"])
    #expect(CopyJobsTests.records(of: long + "\na=b\n", inPiecesOf: 1, limit: 10) == ["(too long)", "a=b"])
    #expect(CopyJobsTests.records(of: long, inPiecesOf: 1, limit: long.utf8.count) == [long])
    #expect(CopyJobsTests.records(of: long + "a=b\n", inPiecesOf: 1, limit: long.utf8.count - 1) == ["(too long)", "a=b"])
  }

  @Test("leading blanks do not count")
  func blanksAndLimit() {
    let blanks = String(repeating: " ", count: 100)
    #expect(CopyJobsTests.records(of: blanks + "a=b\n", inPiecesOf: 7, limit: 3) == ["a=b"])
  }

  @Test("dropping what was not looked at keeps swallowing; dropping everything does not")
  func removal() {
    var buffer = RecordBuffer(limit: 4)
    buffer.append(Array("too long".utf8))
    #expect(buffer.next() == .tooLong(end: 8))
    buffer.removeUnread()
    buffer.append(Array(" a=b\nc=d\ne=f\n".utf8))
    #expect(buffer.next() == .record(Array("c=d".utf8), end: 9))
    buffer.removeUnread()
    buffer.append(Array("g=h\nto".utf8))
    #expect(drain(&buffer) == ["g=h"])
    #expect(buffer.hasUnfinishedRecord)
    buffer.removeAll()
    #expect(!buffer.hasUnfinishedRecord)
    #expect(buffer.consumed == 0)
    buffer.append(Array("i=j\n".utf8))
    #expect(drain(&buffer) == ["i=j"])
  }

  struct Ending: Sendable {
    let text: String
    let unfinished: Bool
    let record: String?
  }

  @Test(
    "fsync completes what is there, and a close tells whether something was",
    arguments: [
      Ending(text: "", unfinished: false, record: nil),
      Ending(text: "a=b\n", unfinished: false, record: nil),
      Ending(text: "a=b\n  \t", unfinished: false, record: nil),
      Ending(text: "\r", unfinished: false, record: nil),
      Ending(text: "# a=b", unfinished: false, record: nil),
      Ending(text: "\\\n", unfinished: false, record: nil),
      Ending(text: "a=b", unfinished: true, record: "a=b"),
      Ending(text: "a=b\r", unfinished: true, record: "a=b"),
      Ending(text: "a=b \\\n", unfinished: true, record: "a=b "),
      Ending(text: "a=b \\", unfinished: true, record: "a=b \\"),
      Ending(text: "c=d\n a=b", unfinished: true, record: "a=b"),
      Ending(text: "{\"a\"", unfinished: true, record: "{\"a\""),
      Ending(text: "{}", unfinished: false, record: nil),
    ])
  func finish(ending: Ending) {
    var buffer = RecordBuffer()
    buffer.append(Array(ending.text.utf8))
    _ = drain(&buffer)
    #expect(buffer.hasUnfinishedRecord == ending.unfinished)
    #expect(buffer.finish() == ending.record.map { Array($0.utf8) })
    #expect(!buffer.hasUnfinishedRecord)
    #expect(buffer.finish() == nil)
  }

  @Test("behind an fsync a comment goes on, and a record too long is over")
  func finishInside() {
    var buffer = RecordBuffer(limit: 4)
    buffer.append(Array("# half".utf8))
    _ = drain(&buffer)
    #expect(buffer.finish() == nil)
    buffer.append(Array(" of it\na=b\ntoo long".utf8))
    #expect(drain(&buffer) == ["a=b", "(too long)"])
    #expect(buffer.finish() == nil)
    buffer.append(Array("c=d\n".utf8))
    #expect(drain(&buffer) == ["c=d"])
  }
}
