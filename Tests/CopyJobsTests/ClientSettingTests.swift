import Glibc
import KCopy
import Testing

@testable import CopyJobs

@Suite("The values of a client's files")
struct ClientSettingTests {
  static let good: [(ClientParameter, String, ClientSetting)] = [
    (.pages, "512", .pages(512)), (.pages, "0512", .pages(512)), (.pages, " 7\t\r", .pages(7)), (.pages, "1099511627776", .pages(1 << 40)),
    (.throttle, "1", .throttle(1)), (.throttle, "100", .throttle(100)),
    (.rate, "max", .rate(nil)), (.rate, "10M", .rate(10 << 20)), (.rate, "8s", .rate(4096)), (.rate, "4096", .rate(4096)),
    (.rate, "9223372036854775807B", .rate(UInt64(Int64.max))),
    (.subjob, "1M", .subjob(1 << 20)), (.subjob, "512K", .subjob(1 << 19)), (.subjob, "2048s", .subjob(1 << 20)),
    (.subjob, "65536B", .subjob(65536)), (.subjob, "65536", .subjob(65536)), (.subjob, "1G", .subjob(1 << 30)),
    (.subjob, "8s", .subjob(4096)),
    (.slots, "1", .slots(1)), (.slots, "4096", .slots(4096)),
    (.mostJobs, "0", .mostJobs(0)), (.mostJobs, "100000", .mostJobs(100_000)),
  ]

  @Test("Numbers, sizes with and without a unit, and max for a rate")
  func accepted() throws {
    for (parameter, text, setting) in Self.good {
      #expect(try ClientSetting(parameter, Array(text.utf8)) == setting, "\(parameter) \(text)")
      #expect(setting.parameter == parameter)
    }
  }

  static let bad: [(ClientParameter, String)] = [
    (.pages, ""), (.pages, "  "), (.pages, "0"), (.pages, "-1"), (.pages, "+1"), (.pages, "1K"), (.pages, "0x10"), (.pages, "1.5"),
    (.pages, "1 2"), (.pages, "many"), (.pages, "99999999999999999999999"), (.pages, "1\n2"), (.pages, "１"),
    (.throttle, "0"), (.throttle, "101"), (.throttle, "50%"),
    (.rate, "0"), (.rate, "0B"), (.rate, "fast"), (.rate, "10X"), (.rate, "9223372036854775808"), (.rate, "maximum"), (.rate, "-5M"),
    (.subjob, "0"), (.subjob, "4095"), (.subjob, "1s"), (.subjob, "4097B"), (.subjob, "2G"), (.subjob, "max"), (.subjob, "8T"),
    (.slots, "0"), (.slots, "4097"), (.slots, "8s"),
    (.mostJobs, "-1"), (.mostJobs, "1000000001"), (.mostJobs, "max"),
  ]

  @Test("All else is EINVAL, with a text that fits on a line")
  func refused() {
    for (parameter, text) in Self.bad {
      #expect("\(parameter) \(text)") {
        _ = try ClientSetting(parameter, Array(text.utf8))
      } throws: { error in
        guard let refusal = error as? Refusal else { return false }
        return refusal.errno == EINVAL && !refusal.text.isEmpty && !refusal.text.contains("\n") && refusal.column <= text.utf8.count
      }
    }
  }

  @Test("Pages that no machine has are ENOMEM")
  func measure() {
    #expect(throws: Refusal(errno: ENOMEM, column: 0, text: "1099511627777 pages cannot be had")) {
      try ClientSetting(.pages, Array("1099511627777".utf8))
    }
  }

  @Test("What was read can be written back")
  func roundTrip() throws {
    var shape = ClientShape(.init())
    for (_, _, setting) in Self.good {
      setting.apply(to: &shape)
      let texts: [ClientParameter: String] = [
        .pages: "\(shape.pages)", .throttle: "\(shape.throttle)", .rate: shape.rate.map(String.init) ?? "max", .subjob: "\(shape.subjob)",
        .slots: "\(shape.slots)", .mostJobs: "\(shape.mostJobs)",
      ]
      var again = shape
      for (parameter, text) in texts { try ClientSetting(parameter, Array(text.utf8)).apply(to: &again) }
      #expect(again == shape)
    }
  }
}
