internal import Glibc

/// What text may consist of: UTF-8 without control characters, those of ISO 6429's second set (U+0080 to U+009F) included, which
/// a terminal obeys as it does escape sequences.
enum PlainText {
  /// Refuses the first byte that is not part of such text.
  ///
  /// - Parameter isSpace: Says which control characters may stand there all the same.
  @inline(__always)
  static func check(_ bytes: [UInt8], allowing isSpace: (UInt8) -> Bool) throws(Refusal) {
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      if byte >= 0x20 && byte < 0x7f {
        index += 1
      } else if byte < 0x80 {
        guard isSpace(byte) else { throw control(UInt32(byte), at: index) }
        index += 1
      } else {
        guard let (scalar, length) = scalar(in: bytes, at: index) else {
          throw Refusal(errno: EINVAL, column: index, text: "the byte 0x\(hexadecimal(UInt32(byte), digits: 2)) is not UTF-8 here")
        }
        guard scalar > 0x9f else { throw control(scalar, at: index) }
        index += length
      }
    }
  }

  /// Whether the code point is a control character.
  static func isControl(_ scalar: UInt32) -> Bool {
    scalar < 0x20 || (0x7f...0x9f).contains(scalar)
  }

  /// The refusal of a control character.
  static func control(_ scalar: UInt32, at column: Int) -> Refusal {
    Refusal(errno: EINVAL, column: column, text: "control characters are not accepted (U+\(hexadecimal(scalar, digits: 4)))")
  }

  /// Upper-case hexadecimal digits, at least as many as asked for.
  static func hexadecimal(_ value: UInt32, digits: Int) -> String {
    let plain = String(value, radix: 16, uppercase: true)
    return String(repeating: "0", count: max(0, digits - plain.utf8.count)) + plain
  }

  /// Decodes a sequence of two to four bytes as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
  private static func scalar(in bytes: [UInt8], at index: Int) -> (scalar: UInt32, length: Int)? {
    let first = bytes[index]
    let length: Int
    var scalar: UInt32
    switch first {
    case 0xc2...0xdf: (length, scalar) = (2, UInt32(first & 0x1f))
    case 0xe0...0xef: (length, scalar) = (3, UInt32(first & 0x0f))
    case 0xf0...0xf4: (length, scalar) = (4, UInt32(first & 0x07))
    default: return nil
    }
    guard index + length <= bytes.count else { return nil }
    for offset in 1..<length {
      let byte = bytes[index + offset]
      guard byte & 0xc0 == 0x80 else { return nil }
      scalar = scalar << 6 | UInt32(byte & 0x3f)
    }
    let shortest: UInt32 = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x1_0000
    guard scalar >= shortest, Unicode.Scalar(scalar) != nil else { return nil }
    return (scalar, length)
  }
}
