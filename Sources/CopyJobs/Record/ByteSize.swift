internal import Glibc

/// The SIZE of the grammar: 0, or digits with one of the units `s` (512-byte sectors), `B`, `K`, `M`, `G`, `T` (powers of 1024).
public enum ByteSize {
  /// The largest size, and the largest end of a region, in bytes: what an `off_t` holds.
  public static let maximum = UInt64(Int64.max)

  /// Reads a SIZE that is all of the text.
  ///
  /// - Returns: Bytes.
  /// - Throws: `EINVAL`, with the column counted from the beginning of the text.
  public static func parse(_ text: String) throws(Refusal) -> UInt64 {
    try parse(FieldText(Array(text.utf8)))
  }

  /// Reads a rate, a SIZE per second or `max`.
  ///
  /// - Returns: Bytes per second, or nil for `max`.
  /// - Throws: `EINVAL`, with the column counted from the beginning of the text.
  public static func parseRate(_ text: String) throws(Refusal) -> UInt64? {
    try parseRate(FieldText(Array(text.utf8)))
  }

  static func parse(_ text: FieldText) throws(Refusal) -> UInt64 {
    var index = 0
    let number = read(text.bytes, from: &index)
    switch number {
    case .value(let value) where index == text.count: return value
    case .value, .missing:
      throw text.refusal("\"\(text.shown)\" is not a size: write 0, or digits and one of the units \(units)")
    case .withoutUnit where index < text.count:
      throw text.refusal(at: index, "\"\(text.shown)\" has a unit that is not known: use one of \(units)")
    case .withoutUnit: throw text.refusal(withoutUnit(text.shown))
    case .tooLarge: throw text.refusal("\"\(text.shown)\" is more than 2^63-1 bytes")
    }
  }

  static func parseRate(_ text: FieldText) throws(Refusal) -> UInt64? {
    if text.isEqual("max") { return nil }
    guard let first = text.bytes.first, Byte.isDigit(first) else {
      throw text.refusal("a rate is a size per second, or max, not \"\(text.shown)\"")
    }
    let rate = try parse(text)
    guard rate > 0 else { throw text.refusal("a rate of 0 would never end: pause the job, or write max") }
    return rate
  }

  /// What stands at an index of a text.
  enum Number: Equatable {
    case value(UInt64)
    /// No digit.
    case missing
    /// Digits other than zeroes, and no unit that is known.
    case withoutUnit
    /// More than 2^63-1 bytes.
    case tooLarge
  }

  static let units = "s (sectors of 512 bytes), B (bytes), K, M, G, T"

  static func withoutUnit(_ digits: String) -> String {
    "the number \(digits) has no unit: write \(digits)s for sectors of 512 bytes, or \(digits)B for bytes"
  }

  /// Reads digits and a unit, and moves the index behind what was understood.
  static func read(_ bytes: ArraySlice<UInt8>, from index: inout Int) -> Number {
    let start = bytes.startIndex
    let count = bytes.count
    let first = index
    var value: UInt64 = 0
    var overflow = false
    while index < count, Byte.isDigit(bytes[start + index]) {
      let (product, high) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(bytes[start + index] - Byte.zero))
      overflow = overflow || high || carry
      value = sum
      index += 1
    }
    guard index > first else { return .missing }
    guard index < count, let shift = shift(of: bytes[start + index]) else {
      return value == 0 && !overflow ? .value(0) : .withoutUnit
    }
    index += 1
    guard !overflow, value <= maximum >> shift else { return .tooLarge }
    return .value(value << shift)
  }

  private static func shift(of unit: UInt8) -> UInt64? {
    switch unit {
    case UInt8(ascii: "s"): 9
    case UInt8(ascii: "B"): 0
    case UInt8(ascii: "K"): 10
    case UInt8(ascii: "M"): 20
    case UInt8(ascii: "G"): 30
    case UInt8(ascii: "T"): 40
    default: nil
    }
  }
}
