import CopyJobs
import FaultKit
import Glibc
import Testing

@Suite("Records written and read again")
struct RecordRoundTripTests {
  @Test("a normalised record is one line: sizes in bytes, only what is not the default, without name, mode and after")
  func normalised() throws {
    let plain = try parse("context=x to=/dev/sdb@8s after=a mode=700 name=n errors=drop from=/dev/sda rate=1K")
    var from = try #require(plain.from)
    from.count = 1 << 20
    #expect(plain.normalised(from: from, to: plain.to) == "from=/dev/sda@0+1048576B to=/dev/sdb@4096B rate=1024B context=x")

    let full = try parse(
      "context='a b' priority=9 rate=1s domain='/m p' tail=zero clone=no sparse=yes create=yes hash=sha256 verify=yes retries=2 "
        + "order=sequential errors=stop client=c op=copy to=/b@0+1s from=/a@1B+1s")
    #expect(
      full.normalised(from: full.from, to: full.to)
        == "from=/a@1B+512B to=/b@0+512B client=c errors=stop order=sequential retries=2 verify=yes hash=sha256 create=yes "
        + "sparse=yes clone=no tail=zero domain='/m p' rate=512B priority=9 context='a b'")

    #expect(try parse("sync=none op=none").normalised(from: nil, to: []) == "op=none sync=none")
  }

  @Test("a path is the path it was, whatever it contains", arguments: ["/a@0", "/a@snap", "/a@1s+1s", "/a@", "/it's", "/a b@", "/a\\"])
  func path(path: String) throws {
    for count in [nil, UInt64(7)] {
      for start in [UInt64(0), 512] {
        let region = RegionText(path: path, start: start, count: count)
        let line = JobRecord(from: region, to: [region]).normalised(from: region, to: [region])
        let read = try parse(line)
        #expect(Meaning(read) == Meaning(JobRecord(from: region, to: [region])))
        #expect(read.from?.word == region.text)
      }
    }
  }

  @Test("a record that would be longer than one when it is written out is E2BIG, for it could not be read again")
  func writtenOut() throws {
    for count in [1, 40, 60, 61, 62, 63, 64] {
      let record = "from=/a " + String(repeating: "to=/" + String(repeating: "\\'", count: 254) + " ", count: count)
      if let refusal = refusal(of: record) {
        #expect(refusal.errno == E2BIG && refusal.column == 0 && count > 60, "\(count)")
        continue
      }
      let read = try parse(record)
      func whole(_ region: RegionText) -> RegionText { RegionText(path: region.path, count: UInt64(Int64.max)) }
      let line = read.normalised(from: read.from.map(whole), to: read.to.map(whole))
      #expect(line.utf8.count <= 65536 && count < 64, "\(count)")
      #expect(try parse(line, allowingName: false).to.map(\.path) == read.to.map(\.path))
    }
  }

  @Test("random records come back as they were, as lines and as objects", arguments: 0..<20)
  func roundTrip(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    for _ in 0..<250 {
      let record = Self.randomRecord(&generator)
      let line = record.normalised(from: record.from, to: record.to)
      let read = try parse(line, allowingName: false)
      #expect(Meaning(read) == Meaning(record), "\(line)")
      #expect(read.normalised(from: read.from, to: read.to) == line)
      #expect(Meaning(try parse(Self.object(of: record))) == Meaning(record), "\(line)")

      var buffer = RecordBuffer()
      buffer.append(Array((line + "\n").utf8))
      #expect(drain(&buffer) == [line])
    }
  }

  @Test("random bytes give a record or a refusal that can be shown, and never a trap", arguments: 0..<20)
  func mutations(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed) &+ 1000)
    let spice = Array("'\"\\@+=,{}[]:# \t\n\r0179sBKTx/\u{e4}".utf8) + [0, 0x7f, 0x80, 0xc2, 0xe2, 0xf4, 0xff]
    var accepted = 0
    for round in 0..<1000 {
      let record = Self.randomRecord(&generator)
      var bytes = Array((round % 2 == 0 ? record.normalised(from: record.from, to: record.to) : Self.object(of: record)).utf8)
      for _ in 0..<Int.random(in: 0...3, using: &generator) {
        let index = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0...3, using: &generator) {
        case 0: bytes[index] = spice.randomElement(using: &generator)!
        case 1: bytes.insert(spice.randomElement(using: &generator)!, at: index)
        case 2 where bytes.count > 1: bytes.remove(at: index)
        default: bytes.removeLast(bytes.count - index - 1)
        }
      }
      guard let refusal = refusal(of: bytes) else {
        accepted += 1
        continue
      }
      #expect(refusal.column >= 0 && refusal.column <= bytes.count)
      #expect(!refusal.text.isEmpty && refusal.text.utf8.count < 400)
      #expect(refusal.text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control })
    }
    #expect(accepted > 100 && accepted < 900)
  }

  static func randomRecord(_ generator: inout SeededGenerator) -> JobRecord {
    var record = JobRecord(op: JobRecord.Operation.allCases.randomElement(using: &generator)!)
    let count = Bool.random(using: &generator) ? UInt64.random(in: 1...1 << 40, using: &generator) : nil
    if record.op == .copy { record.from = randomRegion(count, &generator) }
    if record.op != .none {
      let own = record.op == .zero ? count ?? 512 : Bool.random(using: &generator) ? count : nil
      record.to = (0..<Int.random(in: 1...4, using: &generator)).map { _ in randomRegion(own, &generator) }
    }
    record.client = Bool.random(using: &generator) ? "default" : randomText(1...20, &generator)
    record.errors = JobRecord.ErrorPolicy.allCases.randomElement(using: &generator)!
    record.order = JobRecord.Order.allCases.randomElement(using: &generator)!
    record.retries = Bool.random(using: &generator) ? 0 : Int.random(in: 0...Int(Int32.max), using: &generator)
    record.sync = JobRecord.Sync.allCases.randomElement(using: &generator)!
    record.verify = record.sync == .end && Bool.random(using: &generator)
    record.hash = Bool.random(using: &generator) ? "sha256" : nil
    record.create = Bool.random(using: &generator)
    record.sparse = Bool.random(using: &generator)
    record.clone = JobRecord.Clone.allCases.randomElement(using: &generator)!
    record.tailZero = Bool.random(using: &generator)
    record.domain = record.op == .copy && Bool.random(using: &generator) ? "/" + randomText(0...20, &generator) : nil
    record.rate = Bool.random(using: &generator) ? UInt64.random(in: 1...UInt64(Int64.max), using: &generator) : nil
    record.priority = Int.random(in: 0...9, using: &generator)
    record.context = Bool.random(using: &generator) ? "" : randomText(0...60, &generator)
    return record
  }

  private static func randomRegion(_ count: UInt64?, _ generator: inout SeededGenerator) -> RegionText {
    let start = Bool.random(using: &generator) ? 0 : UInt64.random(in: 0...1 << 62, using: &generator)
    return RegionText(path: "/" + randomText(0...30, &generator), start: start, count: count)
  }

  private static func randomText(_ length: ClosedRange<Int>, _ generator: inout SeededGenerator) -> String {
    let alphabet = Array("aZ09_./:@+,%-  ''\"\\=#{}$`*~\u{e4}\u{20ac}\u{1f600}\u{a0}")
    return String((0..<Int.random(in: length, using: &generator)).map { _ in alphabet.randomElement(using: &generator)! })
  }

  private static func object(of record: JobRecord) -> String {
    func region(_ region: RegionText) -> String {
      let count = region.count.map { ",\"count\":\($0)" } ?? ""
      return "{\"path\":\(Words.json(region.path)),\"start\":\(region.start)\(count)}"
    }
    var members = ["\"to\":[\(record.to.map(region).joined(separator: ", "))]", "\"op\":\"\(record.op.rawValue)\""]
    if let from = record.from { members.append("\"from\": \(region(from))") }
    members.append("\"client\":\(Words.json(record.client))")
    members.append("\"errors\":\"\(record.errors.rawValue)\",\n\"order\":\"\(record.order.rawValue)\",\"retries\":\(record.retries)")
    members.append("\"sync\":\"\(record.sync.rawValue)\",\"verify\":\"\(record.verify ? "yes" : "no")\"")
    if let hash = record.hash { members.append("\"hash\":\"\(hash)\"") }
    members.append("\"create\":\"\(record.create ? "yes" : "no")\",\"sparse\":\"\(record.sparse ? "yes" : "no")\"")
    members.append("\"clone\":\"\(record.clone.rawValue)\",\"tail\":\"\(record.tailZero ? "zero" : "refuse")\"")
    if let domain = record.domain { members.append("\"domain\":\(Words.json(domain))") }
    if let rate = record.rate { members.append("\"rate\":\(rate)") }
    members.append("\"priority\":\(record.priority),\"context\":\(Words.json(record.context))")
    return "{\(members.joined(separator: ","))}"
  }
}
