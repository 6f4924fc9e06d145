import Testing

@testable import KCopy

@Suite("Areas that could not be read")
struct UnreadAreasTests {
  /// States by letters; a dot is none.
  private static let states: [Character: UnreadAreas.State] = [
    "p": .passed, "f": .failed, "h": .headed, "i": .inner, "1": .bad(tries: 1), "2": .bad(tries: 2),
  ]

  /// What areas say of each of the first bytes.
  private static func text(_ areas: UnreadAreas, count: Int) -> String {
    String(
      (0..<count).map { place -> Character in
        let state = areas.all.first { $0.range.contains(UInt64(place)) }?.state
        return states.first { $0.value == state }?.key ?? "."
      })
  }

  @Test("They say of each byte what was said of it last, as few areas as that takes, and find the next and the one before")
  func random() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<300 {
      var areas = UnreadAreas()
      var expected = Array(repeating: Character("."), count: 40)
      for _ in 0..<40 {
        let start = Int.random(in: 0..<40, using: &generator)
        let end = Int.random(in: start...40, using: &generator)
        let letter = "pfhi12....".randomElement(using: &generator) ?? "."
        areas.set(UInt64(start)..<UInt64(end), Self.states[letter])
        for place in start..<end { expected[place] = letter }
        #expect(Self.text(areas, count: 40) == String(expected))
        let runs = zip(expected, expected.dropFirst()).count { $0 != $1 && $1 != "." } + (expected[0] == "." ? 0 : 1)
        #expect(areas.all.count == runs && areas.isEmpty == expected.allSatisfy { $0 == "." })
        let at = Int.random(in: 0...40, using: &generator)
        let next = areas.first(from: UInt64(at)) { $0 == .failed }
        let found = expected[at...].firstIndex(of: "f")
        #expect(next.map { Int(max($0.range.lowerBound, UInt64(at))) } == found)
        let before = areas.last(before: UInt64(at)) { $0 == .failed }
        #expect(before.map { Int(min($0.range.upperBound, UInt64(at))) - 1 } == expected[..<at].lastIndex(of: "f"))
        let (open, behind) = areas.open(UInt64(start)..<UInt64(max(end, start + 1)))
        let isOpen = start < 40 && expected[start] == "."
        #expect((open != nil) == isOpen)
        if isOpen {
          let stop = expected[start..<max(end, start + 1)].firstIndex { $0 != "." } ?? max(end, start + 1)
          #expect(open == UInt64(start)..<UInt64(stop) && behind == UInt64(stop))
        } else {
          #expect(Int(behind) == expected[start...].firstIndex(of: ".") ?? 40)
        }
      }
    }
  }
}
