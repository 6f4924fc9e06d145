import CopyJobs
import Glibc
import Testing

/// A record, and how it is refused.
struct RefusedRecord: Sendable, CustomTestStringConvertible {
  let record: [UInt8]
  let expected: Refusal
  let allowingName: Bool

  var testDescription: String { Words.printable(record, limit: 60) }

  init(_ record: String, _ column: Int, _ text: String, errno: Int32 = EINVAL, allowingName: Bool = true) {
    self.init(bytes: Array(record.utf8), column, text, errno: errno, allowingName: allowingName)
  }

  init(bytes: [UInt8], _ column: Int, _ text: String, errno: Int32 = EINVAL, allowingName: Bool = true) {
    self.record = bytes
    self.expected = Refusal(errno: errno, column: column, text: text)
    self.allowingName = allowingName
  }
}

@Suite("Lines that are refused, with errno, column and text")
struct RecordRefusalTests {
  static let units = "s (sectors of 512 bytes), B (bytes), K, M, G, T"
  static let twoMore = "from=/a to=/b "

  static let words = [
    RefusedRecord("form=/dev/sda to=/dev/sdb", 0, "unknown key \"form\", did you mean \"from\"?"),
    RefusedRecord("from=/a ot=/b", 8, "unknown key \"ot\", did you mean \"to\"?"),
    RefusedRecord("from=/a to=/b  sycn=none", 15, "unknown key \"sycn\", did you mean \"sync\"?"),
    RefusedRecord("from=/a to=/b PRIORTY=1", 14, "unknown key \"PRIORTY\", did you mean \"priority\"?"),
    RefusedRecord("from=/a to=/b error=stop", 14, "unknown key \"error\", did you mean \"errors\"?"),
    RefusedRecord("if=/dev/sda of=/dev/sdb", 0, "unknown key \"if\", did you mean \"from\"?"),
    RefusedRecord("from=/a of=/dev/sdb", 8, "unknown key \"of\", did you mean \"to\"?"),
    RefusedRecord("from=/a to=/b xy=1", 14, "unknown key \"xy\""),
    RefusedRecord("from=/a to=/b compress=yes", 14, "unknown key \"compress\""),
    RefusedRecord("'from'=/a to=/b", 0, "unknown key \"'from'\", did you mean \"from\"?"),
    RefusedRecord(String(repeating: "x", count: 100) + "=1", 0, "unknown key \"\(String(repeating: "x", count: 64))...\""),
    RefusedRecord("from=/a nam=x to=/b", 8, "unknown key \"nam\", did you mean \"name\"?"),
    RefusedRecord("from=/a nam=x to=/b", 8, "unknown key \"nam\"", allowingName: false),
    RefusedRecord("name=x from=/a to=/b", 0, "the key \"name\" is for the file submit, where no file name says it", allowingName: false),
    RefusedRecord("from=/a mode=755 to=/b", 8, "the key \"mode\" is for the file submit, where no file name says it", allowingName: false),
    RefusedRecord("from=/a from=/b to=/c", 8, "the key \"from\" is given twice"),
    RefusedRecord("from=/a to=/b op=copy op=copy", 22, "the key \"op\" is given twice"),
    RefusedRecord("copy from=/a to=/b", 0, "\"copy\" is not key=value"),
    RefusedRecord("from=/a to=/b verify", 14, "\"verify\" is not key=value"),
    RefusedRecord("from= /a to=/b", 5, "from takes an absolute path, PATH[@START[+COUNT]], not \"\""),
    RefusedRecord("from=/a to=/b # why", 14, "\"#\" is not key=value"),
    RefusedRecord("from=/a =/b", 8, "a key is missing before the \"=\""),
    RefusedRecord("from=\"/a\" to=/b", 5, "double quotes do not quote here: use single quotes, or a backslash before a literal one"),
    RefusedRecord("from=/a\"b\" to=/b", 7, "double quotes do not quote here: use single quotes, or a backslash before a literal one"),
    RefusedRecord("from=/a to='/b c", 11, "the single quote is not closed"),
    RefusedRecord("from=/a to=/b'", 13, "the single quote is not closed"),
    RefusedRecord("from=/a to=/b\\", 13, "nothing follows the backslash"),
  ]

  static let bytes = [
    RefusedRecord("from=/a\u{0} to=/b", 7, "control characters are not accepted (U+0000)"),
    RefusedRecord("from=/a\r to=/b", 7, "control characters are not accepted (U+000D)"),
    RefusedRecord("from=/a to=/b\n", 13, "control characters are not accepted (U+000A)"),
    RefusedRecord("from=/a to=/b context='\u{1b}[2J'", 23, "control characters are not accepted (U+001B)"),
    RefusedRecord("from=/a to=/b context=\u{7f}", 22, "control characters are not accepted (U+007F)"),
    RefusedRecord("from=/a to=/b context=a\u{9b}2J", 23, "control characters are not accepted (U+009B)"),
    RefusedRecord("from=/a to=/b context='a\tb'", 24, "control characters are not accepted (U+0009)"),
    RefusedRecord("from=/a to=/b context=a\\\tb", 24, "control characters are not accepted (U+0009)"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0xff], 4, "the byte 0xFF is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0x80], 4, "the byte 0x80 is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0xc3], 4, "the byte 0xC3 is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0xc3, 0x41], 4, "the byte 0xC3 is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0xc0, 0xaf], 4, "the byte 0xC0 is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0xe0, 0x80, 0xaf], 4, "the byte 0xE0 is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0xf0, 0x80, 0x80, 0xaf], 4, "the byte 0xF0 is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0xed, 0xa0, 0x80], 4, "the byte 0xED is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/".utf8) + [0xf4, 0x90, 0x80, 0x80], 4, "the byte 0xF4 is not UTF-8 here"),
    RefusedRecord(bytes: Array("to=/\u{e4}".utf8) + [0xf5], 6, "the byte 0xF5 is not UTF-8 here"),
    RefusedRecord(
      String(repeating: "x", count: 65537), 65536, "a record has at most 65536 bytes, this one 65537", errno: E2BIG),
  ]

  static let regions = [
    RefusedRecord("from=dev/sda to=/b", 5, "from takes an absolute path, PATH[@START[+COUNT]], not \"dev/sda\""),
    RefusedRecord("from=/a to=@0", 11, "to takes an absolute path, PATH[@START[+COUNT]], not \"@0\""),
    RefusedRecord("from=/a@2048 to=/b", 8, withoutUnit("2048", "@2048")),
    RefusedRecord("from=/a@0+2048 to=/b", 10, withoutUnit("2048", "@0+2048")),
    RefusedRecord("from=/a@2048+1s to=/b", 8, withoutUnit("2048", "@2048+1s")),
    RefusedRecord("from=/a to='/b c@007'", 17, withoutUnit("007", "@007")),
    RefusedRecord("from=/a to='/b'\\''c'@7", 21, withoutUnit("7", "@7")),
    RefusedRecord("from=/pool/vol@snap to=/b", 14, malformed("@snap")),
    RefusedRecord("from=/a@ to=/b", 7, malformed("@")),
    RefusedRecord("from=/a@0@ to=/b", 9, malformed("@")),
    RefusedRecord("from=/a@0+ to=/b", 7, malformed("@0+")),
    RefusedRecord("from=/a@+1s to=/b", 7, malformed("@+1s")),
    RefusedRecord("from=/a@-1s to=/b", 7, malformed("@-1s")),
    RefusedRecord("from=/a@1k to=/b", 7, malformed("@1k")),
    RefusedRecord("from=/a@1S to=/b", 7, malformed("@1S")),
    RefusedRecord("from=/a@1KiB to=/b", 7, malformed("@1KiB")),
    RefusedRecord("from=/a@1.5K to=/b", 7, malformed("@1.5K")),
    RefusedRecord("from=/a@0x10B to=/b", 7, malformed("@0x10B")),
    RefusedRecord("from=/a@0+1s+1s to=/b", 7, malformed("@0+1s+1s")),
    RefusedRecord("from=/a@2024-01-01 to=/b", 7, malformed("@2024-01-01")),
    RefusedRecord("from=/a@0+0 to=/b", 10, "COUNT is 0: leave it away to mean all that follows"),
    RefusedRecord("from=/a@0+0s to=/b", 10, "COUNT is 0: leave it away to mean all that follows"),
    RefusedRecord("from=/a@9223372036854775808B to=/b", 8, "START is more than 2^63-1 bytes"),
    RefusedRecord("from=/a@8388608T to=/b", 8, "START is more than 2^63-1 bytes"),
    RefusedRecord("from=/a@0+18014398509481984s to=/b", 10, "COUNT is more than 2^63-1 bytes"),
    RefusedRecord("from=/a@0+99999999999999999999999999B to=/b", 10, "COUNT is more than 2^63-1 bytes"),
    RefusedRecord("from=/a@18446744073709551616B to=/b", 8, "START is more than 2^63-1 bytes"),
    RefusedRecord("from=/a@9223372036854775807B+1B to=/b", 8, "the region ends beyond 2^63-1 bytes"),
    RefusedRecord(
      "from=/a@0+4K to=/b to=/c@0+8K", 22,
      "the COUNT of a destination (8192 bytes) must equal the source's (4096 bytes), or be left away"),
  ]

  static func withoutUnit(_ digits: String, _ tail: String) -> String {
    "the number \(digits) has no unit: write \(digits)s for sectors of 512 bytes, or \(digits)B for bytes; "
      + "if \"\(tail)\" belongs to the path, append @0"
  }

  static func malformed(_ tail: String) -> String {
    "\"\(tail)\" is not @START or @START+COUNT with units s, B, K, M, G or T (as @0+2048s); if it belongs to the path, append @0"
  }

  static let values = [
    RefusedRecord(twoMore + "op=move", 17, "op takes copy, zero or none, not \"move\""),
    RefusedRecord(twoMore + "client=", 21, "client takes the name of a directory of clients/"),
    RefusedRecord(twoMore + "errors=Drop", 21, "errors takes drop, stop, ignore or pause, not \"Drop\""),
    RefusedRecord(twoMore + "order=", 20, "order takes any or sequential, not \"\""),
    RefusedRecord(twoMore + "sync=yes", 19, "sync takes end or none, not \"yes\""),
    RefusedRecord(twoMore + "verify=true", 21, "verify takes yes or no, not \"true\""),
    RefusedRecord(twoMore + "hash='md5 sum'", 20, "hash takes sha256 or none, not \"md5 sum\""),
    RefusedRecord(twoMore + "create=1", 21, "create takes yes or no, not \"1\""),
    RefusedRecord(twoMore + "sparse=y", 21, "sparse takes yes or no, not \"y\""),
    RefusedRecord(twoMore + "clone=yes", 20, "clone takes auto or no, not \"yes\""),
    RefusedRecord(twoMore + "tail=yes", 19, "tail takes zero or refuse, not \"yes\""),
    RefusedRecord(twoMore + "retries=-1", 22, "retries takes a whole number, not \"-1\""),
    RefusedRecord(twoMore + "retries=", 22, "retries takes a whole number, not \"\""),
    RefusedRecord(twoMore + "retries=2147483648", 22, "retries is at most 2147483647, not 2147483648"),
    RefusedRecord(twoMore + "retries=99999999999999999999", 22, "retries takes a whole number, not \"99999999999999999999\""),
    RefusedRecord(twoMore + "priority=10", 23, "priority takes 0 (first) to 9, not 10"),
    RefusedRecord(twoMore + "priority=high", 23, "priority takes 0 (first) to 9, not \"high\""),
    RefusedRecord(twoMore + "rate=1000", 19, "the number 1000 has no unit: write 1000s for sectors of 512 bytes, or 1000B for bytes"),
    RefusedRecord(twoMore + "rate=1k", 20, "\"1k\" has a unit that is not known: use one of \(units)"),
    RefusedRecord(twoMore + "rate=1KB", 19, "\"1KB\" is not a size: write 0, or digits and one of the units \(units)"),
    RefusedRecord(twoMore + "rate=fast", 19, "a rate is a size per second, or max, not \"fast\""),
    RefusedRecord(twoMore + "rate=0", 19, "a rate of 0 would never end: pause the job, or write max"),
    RefusedRecord(twoMore + "rate=8388608T", 19, "\"8388608T\" is more than 2^63-1 bytes"),
    RefusedRecord(twoMore + "domain=map", 21, "domain takes the absolute path of a ddrescue mapfile, or all, not \"map\""),
    RefusedRecord(twoMore + "after=", 20, "a name is missing"),
    RefusedRecord(twoMore + "after=a,,b", 22, "a name is missing"),
    RefusedRecord(twoMore + "after=a,b/c", 23, "a name is made of A-Z, a-z, 0-9, \".\", \"_\" and \"-\", not as \"b/c\""),
    RefusedRecord(twoMore + "after=a,bc,a", 25, "the job \"a\" is named twice"),
    RefusedRecord(twoMore + "after=a,-b", 22, "a name does not begin with \"-\""),
    RefusedRecord(
      twoMore + "context=" + String(repeating: "\u{e4}", count: 129), 278, "context has at most 256 bytes, this one 258"),
    RefusedRecord(twoMore + "name=17", 19, "the name \"17\" is made of digits only: those are given by the daemon"),
    RefusedRecord(twoMore + "name=.a", 19, "the name \".a\" is a draft's, as it begins with \".\" or ends in \"~\""),
    RefusedRecord(twoMore + "name=a~", 20, "a name is made of A-Z, a-z, 0-9, \".\", \"_\" and \"-\", not as \"a~\""),
    RefusedRecord(twoMore + "name='a b'", 21, "a name is made of A-Z, a-z, 0-9, \".\", \"_\" and \"-\", not as \"a b\""),
    RefusedRecord(twoMore + "mode=0788", 19, "mode takes octal digits, 0 to 0777, not \"0788\""),
    RefusedRecord(twoMore + "mode=1777", 19, "mode takes octal digits, 0 to 0777, not \"1777\""),
    RefusedRecord(twoMore + "mode=+7", 19, "mode takes octal digits, 0 to 0777, not \"+7\""),
  ]

  static let together = [
    RefusedRecord("", 0, "from=REGION is missing: op=copy needs a source"),
    RefusedRecord("to=/b", 0, "from=REGION is missing: op=copy needs a source"),
    RefusedRecord("from=/a", 0, "to=REGION is missing: op=copy needs a destination"),
    RefusedRecord("op=zero", 0, "to=REGION is missing: op=zero needs a destination"),
    RefusedRecord("op=zero from=/a to=/b@0+1s", 8, "op=zero has no source: leave from away"),
    RefusedRecord("op=none from=/a", 8, "op=none has no source: leave from away"),
    RefusedRecord("op=none to=/a", 8, "op=none has no destination: leave to away"),
    RefusedRecord("op=zero to=/a@0+1s to=/b", 22, "op=zero needs the COUNT of each destination: to=PATH@START+COUNT"),
    RefusedRecord("op=zero to=/a@1K", 11, "op=zero needs the COUNT of each destination: to=PATH@START+COUNT"),
    RefusedRecord(
      "verify=yes from=/a sync=none to=/b", 0, "verify=yes reads back what was flushed: it does not go with sync=none"),
    RefusedRecord("from=/a" + (0..<65).map { " to=/d\($0)" }.joined(), 513, "a job has at most 64 destinations"),
  ]

  @Test("as words", arguments: words)
  func word(refused: RefusedRecord) { check(refused) }

  @Test("for their bytes", arguments: bytes)
  func byte(refused: RefusedRecord) { check(refused) }

  @Test("for a region", arguments: regions)
  func region(refused: RefusedRecord) { check(refused) }

  @Test("for a value", arguments: values)
  func value(refused: RefusedRecord) { check(refused) }

  @Test("for what their keys say together", arguments: together)
  func whole(refused: RefusedRecord) { check(refused) }

  private func check(_ refused: RefusedRecord) {
    #expect(refusal(of: refused.record, allowingName: refused.allowingName) == refused.expected)
  }
}
