import CopyJobs
import Testing

@Suite("Records that are lines")
struct RecordLineTests {
  @Test("the smallest copy has the defaults of the table")
  func defaults() throws {
    let record = try parse("from=/dev/sda to=/dev/sdb")
    #expect(record.from == RegionText(path: "/dev/sda", column: 5))
    #expect(record.to == [RegionText(path: "/dev/sdb", column: 17)])
    #expect(Meaning(record) == Meaning(JobRecord(from: record.from, to: record.to)))
    #expect(record.op == .copy)
    #expect(record.client == "default")
    #expect(record.errors == .drop)
    #expect(record.order == .any)
    #expect(record.retries == 0)
    #expect(record.sync == .end)
    #expect(!record.verify)
    #expect(record.hash == nil)
    #expect(!record.create)
    #expect(!record.sparse)
    #expect(record.clone == .auto)
    #expect(!record.tailZero)
    #expect(record.domain == nil)
    #expect(record.rate == nil)
    #expect(record.priority == 5)
    #expect(record.after.isEmpty)
    #expect(record.context.isEmpty)
    #expect(record.name == nil)
    #expect(record.mode == nil)
  }

  @Test("every key is read")
  func everyKey() throws {
    let record = try parse(
      "from=/dev/sda@2048s+1M to=/dev/sdb@4K to=/srv/x+1 op=copy client=backup errors=pause order=sequential retries=3 sync=end "
        + "verify=yes hash=sha256 create=yes sparse=yes clone=no tail=zero domain=/srv/map rate=10M priority=0 after=a,17,b.c "
        + "context='for the night' name=nightly mode=0640")
    #expect(record.from?.path == "/dev/sda")
    #expect(record.from?.start == 1 << 20)
    #expect(record.from?.count == 1 << 20)
    #expect(record.from?.word == "/dev/sda@2048s+1M")
    #expect(record.from?.hasRegion == true)
    #expect(record.to.map(\.path) == ["/dev/sdb", "/srv/x+1"])
    #expect(record.to.map(\.start) == [4096, 0])
    #expect(record.to.map(\.hasRegion) == [true, false])
    #expect(record.client == "backup")
    #expect(record.errors == .pause)
    #expect(record.order == .sequential)
    #expect(record.retries == 3)
    #expect(record.sync == .end)
    #expect(record.verify && record.create && record.sparse && record.tailZero)
    #expect(record.hash == "sha256")
    #expect(record.clone == .no)
    #expect(record.domain == "/srv/map")
    #expect(record.rate == 10 << 20)
    #expect(record.priority == 0)
    #expect(record.after == ["a", "17", "b.c"])
    #expect(record.context == "for the night")
    #expect(record.name == "nightly")
    #expect(record.mode == 0o640)
  }

  @Test(
    "the default of a key may be written",
    arguments: [
      "op=copy", "client=default", "errors=drop", "order=any", "retries=0", "sync=end", "verify=no", "hash=none", "create=no",
      "sparse=no", "clone=auto", "tail=refuse", "domain=all", "rate=max", "priority=5", "context=", "context=''",
    ])
  func writtenDefault(word: String) throws {
    #expect(Meaning(try parse("from=/a to=/b \(word)")) == Meaning(try parse("from=/a to=/b")))
  }

  @Test(
    "a value is a word of a POSIX shell",
    arguments: [
      ("plain", "plain"), ("'two words'", "two words"), ("two\\ words", "two words"), ("'it'\\''s'", "it's"), ("a'b'c'd'", "abcd"),
      ("''a", "a"), ("'a'''", "a"), ("\\'", "'"), ("\\\\", "\\"), ("'\\'", "\\"), ("\\\"q\\\"", "\"q\""), ("'\"'", "\""),
      ("$HOME;`x`*?~#", "$HOME;`x`*?~#"), ("a=b", "a=b"), ("'a=b c=d'", "a=b c=d"), ("\u{e4}\u{1f600}", "\u{e4}\u{1f600}"),
      ("\\\u{e4}", "\u{e4}"), ("'\u{e4}'b", "\u{e4}b"),
    ])
  func shellWord(written: String, value: String) throws {
    #expect(try parse("from=/a context=\(written) to=/b").context == value)
    #expect(try parse("from=/a to=/b context=\(written)").context == value)
    #expect(try parse("context=\(written)\tfrom=/a\t to=/b  ").context == value)
  }

  @Test("a quoted path keeps its region")
  func quotedRegion() throws {
    let record = try parse("from='/srv/a b'@4K+8K to='/srv/it'\\''s@0'")
    #expect(record.from == region("/srv/a b", 4096, 8192, word: "/srv/a b@4K+8K", column: 6))
    #expect(record.to == [region("/srv/it's", 0, nil, word: "/srv/it's@0", column: 26)])
  }

  private func region(_ path: String, _ start: UInt64, _ count: UInt64?, word: String, column: Int) -> RegionText {
    var region = RegionText(path: path, start: start, count: count, column: column)
    region.word = word
    region.hasRegion = true
    return region
  }

  struct RegionCase: Sendable, CustomTestStringConvertible {
    let word: String
    let path: String
    let start: UInt64
    let count: UInt64?
    var testDescription: String { word }

    init(_ word: String, _ path: String, _ start: UInt64, _ count: UInt64? = nil) {
      self.word = word
      self.path = path
      self.start = start
      self.count = count
    }
  }

  @Test(
    "the region is what matches from the right",
    arguments: [
      RegionCase("/dev/sda", "/dev/sda", 0), RegionCase("/dev/sda@0", "/dev/sda", 0), RegionCase("/dev/sda@0s", "/dev/sda", 0),
      RegionCase("/dev/sda@1s", "/dev/sda", 512), RegionCase("/dev/sda@1B", "/dev/sda", 1), RegionCase("/dev/sda@1K", "/dev/sda", 1024),
      RegionCase("/dev/sda@1M", "/dev/sda", 1 << 20), RegionCase("/dev/sda@1G", "/dev/sda", 1 << 30),
      RegionCase("/dev/sda@1T", "/dev/sda", 1 << 40), RegionCase("/dev/sda@0+2048s", "/dev/sda", 0, 1 << 20),
      RegionCase("/dev/sda@2048s+1B", "/dev/sda", 1 << 20, 1), RegionCase("/dev/sda@007s", "/dev/sda", 3584),
      RegionCase("/dev/sda@000", "/dev/sda", 0), RegionCase("/dev/sda@9223372036854775807B", "/dev/sda", .init(Int64.max)),
      RegionCase("/dev/sda@9223372036854775806B+1B", "/dev/sda", .init(Int64.max) - 1, 1),
      RegionCase("/dev/sda@8388607T", "/dev/sda", 8_388_607 << 40), RegionCase("/pool/vol@snap@0", "/pool/vol@snap", 0),
      RegionCase("/pool/vol@1s@2s+3s", "/pool/vol@1s", 1024, 1536), RegionCase("/pool/vol@@0", "/pool/vol@", 0),
      RegionCase("/home/me@host/disk.img", "/home/me@host/disk.img", 0), RegionCase("/a@1s/b", "/a@1s/b", 0),
      RegionCase("/a@b/c@1s", "/a@b/c", 512), RegionCase("/a+1s", "/a+1s", 0), RegionCase("/@0", "/", 0), RegionCase("/a/@0", "/a/", 0),
    ])
  func regions(example: RegionCase) throws {
    let record = try parse("from=\(example.word) to=/b")
    let region = try #require(record.from)
    #expect(region.path == example.path)
    #expect(region.start == example.start)
    #expect(region.count == example.count)
    #expect(region.word == example.word)
    #expect(region.hasRegion == (example.path != example.word))
    #expect(region.column == 5)
  }

  @Test("columns say where each key stands")
  func columns() throws {
    let zero = try parse("  to=/b@0+1s op=zero  to=/c@0+1K retries=1")
    #expect(zero.column(of: "to") == 2)
    #expect(zero.column(of: "op") == 13)
    #expect(zero.column(of: "retries") == 33)
    #expect(zero.column(of: "from") == 0)
    #expect(zero.column(of: "nonsense") == 0)
    #expect(zero.to.map(\.column) == [5, 25])
  }

  @Test("64 destinations, 256 bytes of context and a record of the largest size are accepted")
  func limits() throws {
    let destinations = (0..<64).map { " to=/dev/d\($0)" }.joined()
    let context = String(repeating: "x", count: 256)
    let start = "from=/a\(destinations) context=\(context)"
    let record = try parse(start + String(repeating: " ", count: JobRecord.maximumLength - start.utf8.count))
    #expect(record.to.count == 64)
    #expect(record.context == context)
    #expect(try parse("from=/a to=/b retries=2147483647").retries == 2_147_483_647)
    #expect(try parse("from=/a to=/b retries=007").retries == 7)
    #expect(try parse("from=/a to=/b mode=777").mode == 0o777)
    #expect(try parse("from=/a to=/b rate=9223372036854775807B").rate == .init(Int64.max))
    #expect(try parse("op=none after=a").to.isEmpty)
    #expect(try parse("op=zero to=/a@0+1s to=/b@0+2s").to.map(\.count) == [512, 1024])
    #expect(try parse("from=/a@0+1K to=/b@0+2s to=/c").to.map(\.count) == [1024, nil])
  }
}
