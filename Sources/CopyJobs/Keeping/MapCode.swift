internal import Glibc
internal import KCopy

/// A map as the journal keeps it: extents from the start of the region, each as its length and what is known of it.
///
/// One byte for the version, then a number per extent, seven bits a byte, the low ones first: the length times four, plus 0
/// for what is missing, 1 for durable, 2 for failed, 3 for outside of what is to be copied.  What is written and not flushed is
/// missing: a restart can't know better.  An extent whose length times four is no number of 64 bits, of a sparse file for one, is several.
enum MapCode {
  private static let version: UInt8 = 1
  private static let longest = UInt64.max >> 2

  static func encode(_ map: RangeMap) -> [UInt8] {
    var map = map
    map.replace(.written, with: .missing)
    var code = [version]
    for extent in map.extents {
      let status: UInt64 =
        switch extent.status {
        case .missing, .written: 0
        case .durable: 1
        case .failed: 2
        case .outside: 3
        }
      var left = extent.count
      while left > longest {
        append(longest << 2 | status, to: &code)
        left -= longest
      }
      append(left << 2 | status, to: &code)
    }
    return code
  }

  private static func append(_ number: UInt64, to code: inout [UInt8]) {
    var rest = number
    while rest > 0x7f {
      code.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    code.append(UInt8(rest))
  }

  /// - Throws: EINVAL for what isn't the map of a region of so many bytes.
  static func decode(_ code: [UInt8], count: UInt64) throws(Refusal) -> RangeMap {
    guard code.first == version else { throw broken }
    var map = RangeMap(count: count)
    var start: UInt64 = 0
    var (rest, shift): (UInt64, UInt64) = (0, 0)
    for byte in code.dropFirst() {
      guard shift < 63 || (shift == 63 && byte <= 1) else { throw broken }
      rest |= UInt64(byte & 0x7f) << shift
      shift += 7
      guard byte & 0x80 == 0 else { continue }
      let length = rest >> 2
      guard length > 0, length <= count - start else { throw broken }
      switch rest & 3 {
      case 0: break
      case 1: map.set(start..<start + length, .durable)
      case 2: map.set(start..<start + length, .failed)
      default: map.set(start..<start + length, .outside)
      }
      start += length
      (rest, shift) = (0, 0)
    }
    guard start == count, shift == 0 else { throw broken }
    return map
  }

  private static var broken: Refusal { Refusal(errno: EINVAL, column: 0, text: "the map is damaged") }
}
