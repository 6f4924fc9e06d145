import Admission
import FaultKit
import Glibc
import Journal
import KCopy
import Testing

@testable import CopyJobs

@Suite("What a restart knows of a job")
struct KeepingTests {
  // MARK: Maps

  private static func map(_ chance: inout SeededGenerator) -> RangeMap {
    let count = UInt64.random(in: 1...(1 << UInt64.random(in: 1...61, using: &chance)), using: &chance)
    var map = RangeMap(count: count)
    for _ in 0..<Int.random(in: 0...20, using: &chance) {
      let (one, other) = (UInt64.random(in: 0..<count, using: &chance), UInt64.random(in: 0...count, using: &chance))
      map.set(min(one, other)..<max(one, other), RangeMap.Status.allCases.randomElement(using: &chance)!)
    }
    return map
  }

  @Test("A map comes back as it was, but for what was written and not flushed: that is missing", arguments: 1...20)
  func maps(seed: UInt64) throws {
    var chance = SeededGenerator(seed: seed)
    for _ in 0..<100 {
      var map = Self.map(&chance)
      let code = MapCode.encode(map)
      map.replace(.written, with: .missing)
      #expect(try MapCode.decode(code, count: map.count) == map)
      #expect(throws: Refusal.self) { try MapCode.decode(code, count: map.count + 1) }
      #expect(throws: Refusal.self) { try MapCode.decode(code, count: map.count - 1) }
    }
    #expect(try MapCode.decode(MapCode.encode(RangeMap(count: 0)), count: 0) == RangeMap(count: 0))
  }

  @Test("A damaged map is refused, or is a map of the region: never a trap, and never another length", arguments: 1...20)
  func damagedMaps(seed: UInt64) {
    var chance = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      let map = Self.map(&chance)
      var code = MapCode.encode(map)
      for _ in 0..<Int.random(in: 1...3, using: &chance) {
        switch Int.random(in: 0..<4, using: &chance) {
        case 0 where !code.isEmpty: code[Int.random(in: code.indices, using: &chance)] = UInt8.random(in: 0...255, using: &chance)
        case 1 where !code.isEmpty: code.remove(at: Int.random(in: code.indices, using: &chance))
        case 2: code.insert(UInt8.random(in: 0...255, using: &chance), at: Int.random(in: 0...code.count, using: &chance))
        default: code = Array(code.prefix(Int.random(in: 0...code.count, using: &chance)))
        }
      }
      let count = Bool.random(using: &chance) ? map.count : UInt64.random(in: 0 ... .max, using: &chance)
      do throws(Refusal) {
        let found = try MapCode.decode(code, count: count)
        #expect(found.count == count)
      } catch {
        #expect(error == Refusal(errno: EINVAL, column: 0, text: "the map is damaged"))
      }
    }
    let endless = [UInt8](repeating: 0x80, count: 1000)
    #expect(throws: Refusal.self) { try MapCode.decode([1] + endless, count: 5) }
    #expect(throws: Refusal.self) { try MapCode.decode([2], count: 0) }
  }

  // MARK: Words

  private static let nasty = [
    "a", "two words", " ends in blanks ", "it's", "'", "''", "'quoted'", "\\", "a\\'b", "\"", "a\"b", "k=v", "=", "$(reboot)", "`x`", "*",
    "#",
    "é", "\u{1F980}", "\u{FFFD}", "~", String(repeating: "'", count: 300),
  ]

  @Test("Any text that is a value comes back from words, beside any other", arguments: nasty)
  func words(value: String) throws {
    for other in Self.nasty {
      var words = KeptWords()
      words.add("first", value)
      words.add("number", UInt64.max)
      words.add("second", other)
      words.add("nothing", "")
      words.add("zero", UInt64(0))
      let found = try KeptWords(words.text)
      #expect(found["first"] == value && found["second"] == other && found["nothing"] == "" && found["unknown"] == "")
      #expect(try found.number("number") == .max && found.number("zero") == 0)
      #expect(!words.text.contains("zero") && !words.text.contains("nothing"))
    }
  }

  @Test("What ctl asked for comes back, each setting by itself and all together")
  func settings() throws {
    for paused in [false, true] {
      for cancelled in [false, true] {
        for rate in [nil, JobCommand.rate(nil), .rate(1), .rate(.max)] {
          for priority in [nil, JobCommand.priority(0), .priority(9)] {
            var settings = ControlSettings()
            if paused { settings.take(.pause) }
            if cancelled { settings.take(.cancel) }
            for command in [rate, priority].compactMap({ $0 }) { settings.take(command) }
            #expect(try ControlSettings(settings.text) == settings)
          }
        }
      }
    }
    #expect(throws: Refusal.self) { try ControlSettings("rate=fast") }
    #expect(throws: Refusal.self) { try ControlSettings("pause") }
  }

  @Test("What a device is known by comes back, whatever its disk says of itself", arguments: nasty)
  func identified(text: String) throws {
    for fingerprint in ["", "kind=block size=1 offset=0 serial=\(text.filter { $0 != " " }) wwid=\"q\" id=other birth=7", text] {
      let identified = Job.Identified(identity: text, birth: 5, fingerprint: fingerprint)
      #expect(try Job.Identified(kept: identified.kept) == identified)
    }
  }

  // MARK: Progress

  private static func error(_ chance: inout SeededGenerator) -> TransferError? {
    guard Bool.random(using: &chance) else { return nil }
    return TransferError(
      errno: Int32.random(in: 1...133, using: &chance), step: [.read, .write, .flush].randomElement(using: &chance)!,
      destination: [nil, 0, 63].randomElement(using: &chance)!, offset: chance.next(), length: chance.next())
  }

  @Test("Progress and errors come back in every number", arguments: 1...10)
  func progress(seed: UInt64) throws {
    var chance = SeededGenerator(seed: seed)
    for _ in 0..<50 {
      var destination = DestinationProgress()
      destination.state = [.queued, .running, .done, .failed, .cancelled].randomElement(using: &chance)!
      destination.bytesDone = chance.next()
      destination.bytesDurable = chance.next()
      destination.bytesFailed = chance.next()
      destination.error = Self.error(&chance)
      #expect(try KeptProgress.destination(KeptProgress.text(destination)) == destination)

      var progress = CopyProgress(destinations: [destination])
      progress.bytesDone = chance.next()
      progress.bytesDurable = chance.next()
      progress.readError = Bool.random(using: &chance)
      progress.writeErrors = chance.next()
      progress.firstError = Self.error(&chance)
      let refusal = Int32.random(in: 0...133, using: &chance)
      let found = try KeptProgress.progress(KeptProgress.words(progress, refusal: refusal).text, [destination])
      #expect(found.progress == progress && found.refusal == refusal)
    }
  }

  @Test(
    "Words that no progress has are refused, and say what is wrong",
    arguments: [
      ("done=x", "done=x is no number"), ("done=-1", "done=-1 is no number"), ("durable=18446744073709551616", "is no number"),
      ("refusal=2147483648", "refusal=2147483648 is no errno"), ("step=read errno=4294967295", "errno=4294967295 is no errno"),
      ("step=read dest=-", "dest=- is no destination"), ("step=read at=z", "at=z is no number"), ("done", "is not key=value"),
      ("done='1", "the single quote is not closed"),
    ])
  func damagedProgress(text: String, complaint: String) throws {
    do throws(Refusal) {
      _ = try KeptProgress.progress(text, [])
      Issue.record("\(text) was taken")
    } catch {
      #expect(error.errno == EINVAL && error.text.contains(complaint), "\(error.text)")
    }
  }
}
