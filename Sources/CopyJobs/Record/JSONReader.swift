internal import Glibc

/// The tokens of JSON (RFC 8259), without any of the leniency that is common: every byte is accounted for.
struct JSONReader {
  /// What stands where a value is expected, named as in a refusal.
  enum Kind: String {
    case string = "a string"
    case number = "a number"
    case object = "an object"
    case list = "a list"
    case `true`, `false`, null
  }

  private let record: [UInt8]
  /// The column of the byte that is looked at next.
  private(set) var position = 0

  init(_ record: [UInt8]) {
    self.record = record
  }

  func refusal(_ text: String) -> Refusal {
    Refusal(errno: EINVAL, column: position, text: text)
  }

  /// Says what kind of value begins behind the white space, from its first bytes.
  mutating func peek() throws(Refusal) -> Kind {
    skipSpace()
    switch current {
    case Byte.quote: return .string
    case Byte.openBrace: return .object
    case Byte.openBracket: return .list
    case Byte.minus, .some(Byte.zero...Byte.nine): return .number
    default: break
    }
    for kind in [Kind.true, .false, .null] where record[position...].starts(with: kind.rawValue.utf8) { return kind }
    throw unexpected("a value")
  }

  mutating func expect(_ byte: UInt8, _ shown: String) throws(Refusal) {
    skipSpace()
    guard current == byte else { throw unexpected("\"\(shown)\"") }
    position += 1
  }

  /// Makes sure that nothing but white space is left.
  mutating func expectEnd() throws(Refusal) {
    skipSpace()
    guard position == record.count else { throw unexpected("nothing more") }
  }

  /// Reads a key and its colon, or the end of the object; `{` has been read.
  ///
  /// - Parameter first: Whether no member has been read yet.
  mutating func nextMember(_ first: inout Bool) throws(Refusal) -> FieldText? {
    guard try separator(before: Byte.closeBrace, "}", &first) else { return nil }
    guard current == Byte.quote else { throw unexpected("a key in double quotes") }
    let key = try string()
    try expect(Byte.colon, ":")
    skipSpace()
    return key
  }

  /// Reads up to the next element of a list, or past its end; `[` has been read.
  ///
  /// - Returns: Whether an element follows.
  mutating func nextElement(_ first: inout Bool) throws(Refusal) -> Bool {
    try separator(before: Byte.closeBracket, "]", &first)
  }

  private mutating func separator(before end: UInt8, _ shown: String, _ first: inout Bool) throws(Refusal) -> Bool {
    skipSpace()
    if current == end {
      position += 1
      return false
    }
    if !first {
      guard current == Byte.comma else { throw unexpected("\",\" or \"\(shown)\"") }
      position += 1
      skipSpace()
    }
    first = false
    return true
  }

  /// Reads a number without a sign, a fraction or an exponent.
  mutating func wholeNumber(for name: String) throws(Refusal) -> UInt64 {
    let start = position
    while let byte = current, Byte.isDigit(byte) || "+-.eE".utf8.contains(byte) { position += 1 }
    let digits = FieldText(record[start..<position], column: start)
    guard digits.bytes.allSatisfy(Byte.isDigit) else {
      throw digits.refusal("\(name) takes a whole number, not \(digits.shown)")
    }
    guard digits.count == 1 || digits[0] != Byte.zero else {
      throw digits.refusal("a number in JSON has no leading zero")
    }
    guard let number = UInt64(digits.string) else { throw digits.refusal("the number \(digits.shown) is too large") }
    return number
  }

  private var current: UInt8? { position < record.count ? record[position] : nil }

  private mutating func skipSpace() {
    while let byte = current, Byte.isSpace(byte) { position += 1 }
  }

  private func unexpected(_ wanted: String) -> Refusal {
    guard position < record.count else { return refusal("the JSON object is not complete: \(wanted) is missing") }
    // The whole character: a part of one would not be text.
    let rest = String(decoding: record[position...].prefix(4), as: UTF8.self).unicodeScalars
    return refusal("not JSON: \(wanted) is expected, not \"\(Words.printable(String(rest.first!).utf8))\"")
  }
}

// Strings.
extension JSONReader {
  /// Reads a string, whose opening quote has been seen; what stands between the quotes as it is, is not copied.
  mutating func string() throws(Refusal) -> FieldText {
    let open = position
    position += 1
    while let byte = current {
      switch byte {
      case Byte.quote:
        position += 1
        return FieldText(record[(open + 1)..<(position - 1)], column: open + 1)
      case Byte.backslash: return try escapedString(from: open)
      case 0..<Byte.space: throw PlainText.control(UInt32(byte), at: position)
      default: position += 1
      }
    }
    throw unclosed(open)
  }

  private mutating func escapedString(from open: Int) throws(Refusal) -> FieldText {
    var bytes = Array(record[(open + 1)..<position])
    var columns = Array((open + 1)..<position)
    while let byte = current {
      let column = position
      switch byte {
      case Byte.quote:
        position += 1
        columns.append(column)
        return FieldText(bytes, columns: columns)
      case Byte.backslash:
        let scalar = try escape()
        guard !PlainText.isControl(scalar.value) else { throw PlainText.control(scalar.value, at: column) }
        for unit in UTF8.encode(scalar)! {
          bytes.append(unit)
          columns.append(column)
        }
      case 0..<Byte.space: throw PlainText.control(UInt32(byte), at: position)
      default:
        bytes.append(byte)
        columns.append(column)
        position += 1
      }
    }
    throw unclosed(open)
  }

  /// Reads an escape from its backslash on.
  private mutating func escape() throws(Refusal) -> Unicode.Scalar {
    let column = position
    position += 1
    guard let letter = current else { throw refusal("the JSON object is not complete: an escape is missing") }
    position += 1
    switch letter {
    case Byte.quote, Byte.backslash, Byte.slash: return Unicode.Scalar(letter)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return try escapedScalar(from: column)
    default: throw Refusal(errno: EINVAL, column: column, text: "not JSON: there is no such escape")
    }
  }

  /// Reads the digits of `\uXXXX`, and for a high surrogate the low one that must follow.
  private mutating func escapedScalar(from column: Int) throws(Refusal) -> Unicode.Scalar {
    let first = try fourDigits(from: column)
    if let scalar = Unicode.Scalar(first) { return scalar }
    if first < 0xdc00, record[position...].starts(with: "\\u".utf8) {
      position += 2
      let second = try fourDigits(from: position - 2)
      if (0xdc00...0xdfff).contains(second), let scalar = Unicode.Scalar(0x1_0000 + (first - 0xd800) << 10 + (second - 0xdc00)) {
        return scalar
      }
    }
    throw Refusal(
      errno: EINVAL, column: column, text: "not text: \\u\(PlainText.hexadecimal(first, digits: 4)) is half of a surrogate pair")
  }

  private mutating func fourDigits(from column: Int) throws(Refusal) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw Refusal(errno: EINVAL, column: column, text: "not JSON: \\u takes four hexadecimal digits")
      }
      value = value << 4 | UInt32(digit)
      position += 1
    }
    return value
  }

  private func unclosed(_ open: Int) -> Refusal {
    Refusal(errno: EINVAL, column: open, text: "the JSON object is not complete: the string is not closed")
  }
}
