import FaultKit

/// The few kinds of choice that scenarios and devices make.
extension SeededGenerator {
  /// A number from 0 to `limit` - 1.
  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }

  /// True once in so many times.
  mutating func happens(oneIn times: Int) -> Bool { times > 0 && below(times) == 0 }

  mutating func pick<Element>(_ choices: [Element]) -> Element { choices[below(choices.count)] }

  mutating func within(_ range: ClosedRange<UInt64>) -> UInt64 {
    range.lowerBound + next() % (range.upperBound - range.lowerBound + 1)
  }

  /// A time that is as likely to be short as long: each power of two of the range is as likely as the others.
  mutating func time(_ range: ClosedRange<UInt64>) -> UInt64 {
    let (low, high) = (
      range.lowerBound.bitWidth - range.lowerBound.leadingZeroBitCount, range.upperBound.bitWidth - range.upperBound.leadingZeroBitCount
    )
    let bits = low + below(high - low + 1)
    return min(max(next() >> UInt64(64 - bits), range.lowerBound), range.upperBound)
  }
}

/// Lengths of virtual time, in nanoseconds.
enum Span {
  static let microsecond: UInt64 = 1_000
  static let millisecond: UInt64 = 1_000_000
  static let second: UInt64 = 1_000_000_000
}
