import CopyJobs
import Testing

@Suite("Records that are JSON objects")
struct RecordObjectTests {
  @Test("an object says the same as a line")
  func sameAsLine() throws {
    let line = try parse(
      "from=/dev/sda@2048s+1M to=/dev/sdb@4K to='/srv/x y' op=copy client=backup errors=pause order=sequential retries=3 sync=end "
        + "verify=yes hash=sha256 create=yes sparse=yes clone=no tail=zero domain=/srv/map rate=10M priority=0 after=a,17,b.c "
        + "context='it'\\''s' name=nightly mode=0640")
    let object = try parse(
      """
      { "from": {"path": "/dev/sda", "start": 1048576, "count": 1048576},
        "to": ["/dev/sdb@4K", {"path": "/srv/x y"}],
        "op": "copy", "client": "backup", "errors": "pause", "order": "sequential", "retries": 3, "sync": "end",
        "verify": "yes", "hash": "sha256", "create": "yes", "sparse": "yes", "clone": "no", "tail": "zero",
        "domain": "/srv/map", "rate": 10485760, "priority": 0, "after": "a,17,b.c",
        "context": "it's", "name": "nightly", "mode": "0640" }
      """)
    #expect(Meaning(object) == Meaning(line))
    #expect(object.from?.hasRegion == false)
    #expect(object.from?.word == "/dev/sda")
    #expect(object.to.map(\.hasRegion) == [true, false])
    #expect(object.to.map(\.word) == ["/dev/sdb@4K", "/srv/x y"])
  }

  @Test("numbers may also be strings, in the grammar of a line")
  func numbersAsStrings() throws {
    let record = try parse(#"{"from":"/a","to":"/b","retries":"3","priority":"9","rate":"1K"}"#)
    #expect(record.retries == 3)
    #expect(record.priority == 9)
    #expect(record.rate == 1024)
    #expect(try parse(#"{"from":"/a","to":"/b","rate":"max"}"#).rate == nil)
  }

  @Test("`to` is a string, an object or a list")
  func destinations() throws {
    #expect(try parse(#"{"from":"/a","to":"/b@1s"}"#).to.map(\.text) == ["/b@512B"])
    #expect(try parse(#"{"from":"/a","to":{"path":"/b@1s"}}"#).to.map(\.text) == ["/b@1s@0"])
    #expect(try parse(#"{"from":"/a","to":[ "/b" , {"count":5,"path":"/c"} ]}"#).to.map(\.text) == ["/b@0", "/c@0+5B"])
    #expect(try parse(#"{"op":"none","to":[]}"#).to.isEmpty)
    let many = (0..<64).map { "\"/d\($0)\"" }.joined(separator: ",")
    #expect(try parse("{\"from\":\"/a\",\"to\":[\(many)]}").to.count == 64)
  }

  @Test(
    "strings hold what they say",
    arguments: [
      (#"a\"b\\c\/d"#, "a\"b\\c/d"), (#"\u0041\u00e4\u20AC"#, "A\u{e4}\u{20ac}"), (#"\ud83d\ude00"#, "\u{1f600}"),
      ("\u{e4}\u{1f600}", "\u{e4}\u{1f600}"), ("", ""), ("'single' $x", "'single' $x"),
    ])
  func strings(written: String, value: String) throws {
    #expect(try parse("{\"from\":\"/a\",\"to\":\"/b\",\"context\":\"\(written)\"}").context == value)
  }

  @Test("a key may be escaped, and white space be anywhere between tokens")
  func looseForm() throws {
    #expect(try parse(" \n{ \"to\" : [ \"/a\" ]\r\n,\t\"fr\\u006fm\" :\"/b\" } \n").from?.path == "/b")
  }

  @Test("columns count the bytes of the object")
  func columns() throws {
    let record = try parse(#"{"from":"/\u0061","to":["/b",{"path":"/c"}],"priority":3}"#)
    #expect(record.column(of: "from") == 2)
    #expect(record.from?.column == 9)
    #expect(record.to.map(\.column) == [25, 38])
    #expect(record.column(of: "priority") == 45)
  }

  static let start = #"{"from":"/a","to":"/b","#

  static let refused = [
    RefusedRecord(#"{"form":"/a"}"#, 2, "unknown key \"form\", did you mean \"from\"?"),
    RefusedRecord(#"{"fr\u006fn":"/a"}"#, 2, "unknown key \"fron\", did you mean \"from\"?"),
    RefusedRecord(#"{"name":"x"}"#, 2, "the key \"name\" is for the file submit, where no file name says it", allowingName: false),
    RefusedRecord(#"{"from":"/a","from":"/b"}"#, 14, "the key \"from\" is given twice"),
    RefusedRecord(#"{"from":"/a","fr\u006fm":"/b"}"#, 14, "the key \"from\" is given twice"),
    RefusedRecord(#"{"to":"/a","to":"/b"}"#, 12, "the key \"to\" is given twice: write the destinations as one list"),
    RefusedRecord(start + #""verify":true}"#, 32, "verify takes \"yes\" or \"no\", not true"),
    RefusedRecord(start + #""create":false}"#, 32, "create takes \"yes\" or \"no\", not false"),
    RefusedRecord(start + #""sparse":null}"#, 32, "sparse takes \"yes\" or \"no\", not null"),
    RefusedRecord(start + #""errors":["stop"]}"#, 32, "errors takes a string, not a list"),
    RefusedRecord(start + #""context":{"a":1}}"#, 33, "context takes a string, not an object"),
    RefusedRecord(start + #""context":17}"#, 33, "context takes a string, not a number"),
    RefusedRecord(start + #""after":["a"]}"#, 31, "after takes a string of names with commas between them, not a list"),
    RefusedRecord(start + #""mode":755}"#, 30, "mode takes a string of octal digits, as \"0755\", not a number"),
    RefusedRecord(start + #""retries":true}"#, 33, "retries takes a number or a string, not true"),
    RefusedRecord(start + #""retries":1.0}"#, 33, "retries takes a whole number, not 1.0"),
    RefusedRecord(start + #""retries":-1}"#, 33, "retries takes a whole number, not -1"),
    RefusedRecord(start + #""retries":1e3}"#, 33, "retries takes a whole number, not 1e3"),
    RefusedRecord(start + #""retries":01}"#, 33, "a number in JSON has no leading zero"),
    RefusedRecord(start + #""retries":99999999999999999999}"#, 33, "the number 99999999999999999999 is too large"),
    RefusedRecord(start + #""priority":10}"#, 34, "priority takes 0 (first) to 9, not 10"),
    RefusedRecord(start + #""rate":0}"#, 30, "rate takes 1 to 2^63-1 bytes per second or \"max\", not 0"),
    RefusedRecord(
      start + #""rate":9223372036854775808}"#, 30,
      "rate takes 1 to 2^63-1 bytes per second or \"max\", not 9223372036854775808"),
    RefusedRecord(
      start + #""rate":"1000"}"#, 31, "the number 1000 has no unit: write 1000s for sectors of 512 bytes, or 1000B for bytes"),
    RefusedRecord(#"{"from":["/a"]}"#, 8, "from takes a string or an object, not a list"),
    RefusedRecord(#"{"from":7}"#, 8, "from takes a string or an object, not a number"),
    RefusedRecord(#"{"to":null}"#, 6, "to takes a string, an object or a list of them, not null"),
    RefusedRecord(#"{"to":["/a",["/b"]]}"#, 12, "a destination is a string or an object, not a list"),
    RefusedRecord(#"{"to":["/a",1]}"#, 12, "a destination is a string or an object, not a number"),
    RefusedRecord(#"{"from":{"start":0}}"#, 8, "from has no \"path\""),
    RefusedRecord(#"{"from":{"path":"a"}}"#, 17, "path takes an absolute path, not \"a\""),
    RefusedRecord(#"{"from":{"path":7}}"#, 16, "path takes a string, not a number"),
    RefusedRecord(#"{"from":{"path":"/a","path":"/b"}}"#, 22, "the key \"path\" is given twice"),
    RefusedRecord(#"{"from":{"path":"/a","size":1}}"#, 22, "unknown key \"size\" in a region, which has \"path\", \"start\" and \"count\""),
    RefusedRecord(#"{"from":{"path":"/a","start":"1s"}}"#, 29, "start takes a number of bytes, not a string"),
    RefusedRecord(#"{"from":{"path":"/a","start":0.5}}"#, 29, "start takes a whole number, not 0.5"),
    RefusedRecord(#"{"from":{"path":"/a","start":9223372036854775808}}"#, 29, "start is more than 2^63-1 bytes"),
    RefusedRecord(#"{"from":{"path":"/a","count":0}}"#, 29, "count is 0: leave it away to mean all that follows"),
    RefusedRecord(
      #"{"from":{"path":"/a","count":1,"start":9223372036854775807}}"#, 8, "the region ends beyond 2^63-1 bytes"),
    RefusedRecord(#"{"from":"/a@7","to":"/b"}"#, 12, RecordRefusalTests.withoutUnit("7", "@7")),
    RefusedRecord(#"{"from":"/\u0061@7","to":"/b"}"#, 17, RecordRefusalTests.withoutUnit("7", "@7")),
    RefusedRecord(#"{"from":"/a","to":[]}"#, 14, "to=REGION is missing: op=copy needs a destination"),
    RefusedRecord("{}", 0, "from=REGION is missing: op=copy needs a source"),
    RefusedRecord(#"{"from":"/a","to":"/b"} x"#, 24, "not JSON: nothing more is expected, not \"x\""),
    RefusedRecord(#"{"from":"/a","to":"/b"}{}"#, 23, "not JSON: nothing more is expected, not \"{\""),
    RefusedRecord(#"{"from":"/a",}"#, 13, "not JSON: a key in double quotes is expected, not \"}\""),
    RefusedRecord(#"{"from":"/a" "to":"/b"}"#, 13, "not JSON: \",\" or \"}\" is expected, not \"\"\""),
    RefusedRecord(#"{"to":["/a",]}"#, 12, "not JSON: a value is expected, not \"]\""),
    RefusedRecord(#"{"to":["/a" "/b"]}"#, 12, "not JSON: \",\" or \"]\" is expected, not \"\"\""),
    RefusedRecord(#"{from:"/a"}"#, 1, "not JSON: a key in double quotes is expected, not \"f\""),
    RefusedRecord(#"{'from':"/a"}"#, 1, "not JSON: a key in double quotes is expected, not \"'\""),
    RefusedRecord(#"{"from"="/a"}"#, 7, "not JSON: \":\" is expected, not \"=\""),
    RefusedRecord(#"{"from":/a}"#, 8, "not JSON: a value is expected, not \"/\""),
    RefusedRecord("{\"from\":\u{e4}}", 8, "not JSON: a value is expected, not \"\u{e4}\""),
    RefusedRecord(#"{"from":tru}"#, 8, "not JSON: a value is expected, not \"t\""),
    RefusedRecord(#"{"from":"/a"#, 8, "the JSON object is not complete: the string is not closed"),
    RefusedRecord(#"{"from":"\u002fa"#, 8, "the JSON object is not complete: the string is not closed"),
    RefusedRecord(#"{"from":"/a\"#, 12, "the JSON object is not complete: an escape is missing"),
    RefusedRecord(#"{"from":"/a""#, 12, "the JSON object is not complete: \",\" or \"}\" is missing"),
    RefusedRecord(#"{"from":"#, 8, "the JSON object is not complete: a value is missing"),
    RefusedRecord("{", 1, "the JSON object is not complete: a key in double quotes is missing"),
    RefusedRecord(start + #""context":"\x41"}"#, 34, "not JSON: there is no such escape"),
    RefusedRecord(start + #""context":"a\u12g4"}"#, 35, "not JSON: \\u takes four hexadecimal digits"),
    RefusedRecord(start + #""context":"\ud83d"}"#, 34, "not text: \\uD83D is half of a surrogate pair"),
    RefusedRecord(start + #""context":"\ud83d\u0041"}"#, 34, "not text: \\uD83D is half of a surrogate pair"),
    RefusedRecord(start + #""context":"\ude00\ud83d"}"#, 34, "not text: \\uDE00 is half of a surrogate pair"),
    RefusedRecord(start + #""context":"a\n"}"#, 35, "control characters are not accepted (U+000A)"),
    RefusedRecord(start + #""context":"\u0000"}"#, 34, "control characters are not accepted (U+0000)"),
    RefusedRecord(start + #""context":"\u009b"}"#, 34, "control characters are not accepted (U+009B)"),
    RefusedRecord(start + "\"context\":\"a\tb\"}", 35, "control characters are not accepted (U+0009)"),
    RefusedRecord(start + "\"context\":\"\\\\\nb\"}", 36, "control characters are not accepted (U+000A)"),
    RefusedRecord("{\u{1}}", 1, "control characters are not accepted (U+0001)"),
    RefusedRecord(bytes: Array("{\"from\":\"/".utf8) + [0xc3] + Array("\"}".utf8), 10, "the byte 0xC3 is not UTF-8 here"),
    RefusedRecord(
      "{\"from\":\"/a\",\"to\":[" + (0..<65).map { "\"/d\($0)\"" }.joined(separator: ",") + "]}", 458,
      "a job has at most 64 destinations"),
  ]

  @Test("an object that is refused says why and where", arguments: refused)
  func refusals(refused: RefusedRecord) {
    #expect(refusal(of: refused.record, allowingName: refused.allowingName) == refused.expected)
  }
}
