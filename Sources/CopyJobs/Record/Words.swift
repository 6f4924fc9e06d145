/// The output half of the grammar: `key=value` words that a POSIX shell can read with `eval`, and JSON strings.
public enum Words {
  /// The value as it stands behind a `=`: bare if every byte is one of `A-Za-z0-9_./:@+,%-`, else in single quotes.
  ///
  /// An empty value stays empty. A control character, which no value should hold, becomes `?`: none is ever written.
  public static func quoted(_ value: String) -> String {
    var text: [UInt8] = []
    append(quoted: value, to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  /// Appends what `quoted` gives.
  public static func append(quoted value: String, to text: inout [UInt8]) {
    if value.utf8.allSatisfy(isBare) {
      text += value.utf8
      return
    }
    text.append(Byte.apostrophe)
    for scalar in value.unicodeScalars {
      if scalar == "'" {
        text += "'\\''".utf8
      } else if PlainText.isControl(scalar.value) {
        text += "?".utf8
      } else {
        text += UTF8.encode(scalar)!
      }
    }
    text.append(Byte.apostrophe)
  }

  /// Appends a word of a record, after a blank unless it is the first on its line.
  public static func appendWord(_ key: String, _ value: String, to text: inout [UInt8]) {
    separate(&text)
    append(key, value, to: &text)
  }

  /// Appends a word without looking at what is before it.
  public static func append(_ key: String, _ value: String, to text: inout [UInt8]) {
    text += key.utf8
    text.append(Byte.equals)
    append(quoted: value, to: &text)
  }

  /// Appends a word whose value is a number without looking at what is before it.
  public static func append(_ key: String, _ value: UInt64, to text: inout [UInt8]) {
    text += key.utf8
    text.append(Byte.equals)
    append(decimal: value, to: &text)
  }

  /// Appends a number in decimal digits.
  public static func append(decimal value: UInt64, to text: inout [UInt8]) {
    let start = text.count
    var rest = value
    repeat {
      text.append(Byte.zero + UInt8(truncatingIfNeeded: rest % 10))
      rest /= 10
    } while rest > 0
    text[start...].reverse()
  }

  /// Appends a word of a record whose value is a number.
  public static func appendWord(_ key: String, _ value: some BinaryInteger, to text: inout [UInt8]) {
    separate(&text)
    text += key.utf8
    text.append(Byte.equals)
    text += String(value).utf8
  }

  /// Appends a line of a file about one thing.
  public static func appendLine(_ key: String, _ value: String, to text: inout [UInt8]) {
    appendWord(key, value, to: &text)
    text.append(Byte.newline)
  }

  /// Appends a line of a file about one thing whose value is a number.
  public static func appendLine(_ key: String, _ value: some BinaryInteger, to text: inout [UInt8]) {
    appendWord(key, value, to: &text)
    text.append(Byte.newline)
  }

  /// The value as a JSON string literal, quotes included; control characters are written as `\u` escapes.
  public static func json(_ value: String) -> String {
    var text: [UInt8] = []
    append(json: value, to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  /// Appends what `json` gives.
  public static func append(json value: String, to text: inout [UInt8]) {
    text.append(Byte.quote)
    for scalar in value.unicodeScalars {
      if scalar == "\"" || scalar == "\\" {
        text.append(Byte.backslash)
        text.append(UInt8(scalar.value))
      } else if PlainText.isControl(scalar.value) {
        text += "\\u\(PlainText.hexadecimal(scalar.value, digits: 4))".utf8
      } else {
        text += UTF8.encode(scalar)!
      }
    }
    text.append(Byte.quote)
  }

  /// Text to show from bytes that may be anything, a refused record for one.
  ///
  /// Blanks stand for tabs and line ends, `?` for other control characters, U+FFFD for what is not UTF-8.
  ///
  /// - Parameter limit: How many of the bytes are shown; `...` stands for the others.
  public static func printable(_ bytes: some Collection<UInt8>, limit: Int = 256) -> String {
    var text = String.UnicodeScalarView()
    for scalar in String(decoding: bytes.prefix(limit), as: UTF8.self).unicodeScalars {
      switch scalar {
      case "\t", "\n", "\r": text.append(" ")
      default: text.append(PlainText.isControl(scalar.value) ? "?" : scalar)
      }
    }
    guard bytes.count > limit else { return String(text) }
    // The cut may have split a character.
    if text.last == "\u{fffd}" { text.removeLast() }
    return String(text) + "..."
  }

  private static func separate(_ text: inout [UInt8]) {
    if let last = text.last, last != Byte.newline { text.append(Byte.space) }
  }

  private static func isBare(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x25, 0x2b...0x3a, 0x40...0x5a, 0x5f, 0x61...0x7a: true
    default: false
    }
  }
}
