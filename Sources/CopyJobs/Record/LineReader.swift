internal import Glibc

/// Reads a record that is a line: blank-separated words `key=value`, a value written as a word of a POSIX shell.
struct LineReader {
  private let record: [UInt8]
  private var position = 0

  private init(_ record: [UInt8]) {
    self.record = record
  }

  static func read(_ record: [UInt8], into builder: inout RecordBuilder) throws(Refusal) {
    var reader = LineReader(record)
    while let key = try reader.nextKey() {
      let key = try builder.begin(key, repeats: true)
      try builder.set(key, try reader.value())
    }
  }

  /// The words of a text of our own.
  ///
  /// - Throws: EINVAL for what isn't in the grammar.
  static func words(_ text: String) throws(Refusal) -> [(key: String, value: String)] {
    var reader = LineReader(Array(text.utf8))
    var words: [(key: String, value: String)] = []
    while let key = try reader.nextKey() { words.append((key.string, try reader.value().string)) }
    return words
  }

  /// Reads up to the `=` of the next word.
  private mutating func nextKey() throws(Refusal) -> FieldText? {
    while position < record.count, Byte.isBlank(record[position]) { position += 1 }
    guard position < record.count else { return nil }
    let start = position
    while position < record.count, !Byte.isBlank(record[position]) {
      if record[position] == Byte.equals {
        guard position > start else { throw refusal(at: start, "a key is missing before the \"=\"") }
        position += 1
        return FieldText(record[start..<(position - 1)], column: start)
      }
      position += 1
    }
    let word = Words.printable(record[start..<position], limit: 64)
    throw refusal(at: start, "\"\(word)\" is not key=value")
  }

  /// Reads a value: as it stands if nothing in it is quoted, or if all of it is in one pair of quotes.
  private mutating func value() throws(Refusal) -> FieldText {
    let start = position
    while position < record.count {
      switch record[position] {
      case Byte.space, Byte.tab: return FieldText(record[start..<position], column: start)
      case Byte.apostrophe where position == start:
        if let quoted = wholeQuoted() { return quoted }
        return try joinedValue()
      case Byte.apostrophe, Byte.backslash, Byte.quote:
        position = start
        return try joinedValue()
      default: position += 1
      }
    }
    return FieldText(record[start..<position], column: start)
  }

  /// Reads `'...'` with a blank or the end behind it.
  private mutating func wholeQuoted() -> FieldText? {
    let start = position + 1
    guard let end = record[start...].firstIndex(where: { $0 == Byte.apostrophe || $0 == Byte.tab }),
      record[end] == Byte.apostrophe, end + 1 == record.count || Byte.isBlank(record[end + 1])
    else { return nil }
    position = end + 1
    return FieldText(record[start..<end], column: start)
  }

  /// Reads a value that joins quoted pieces, bare ones and bytes behind a backslash.
  private mutating func joinedValue() throws(Refusal) -> FieldText {
    var bytes: [UInt8] = []
    var columns: [Int] = []
    while position < record.count, !Byte.isBlank(record[position]) {
      switch record[position] {
      case Byte.quote:
        throw refusal(at: position, "double quotes do not quote here: use single quotes, or a backslash before a literal one")
      case Byte.apostrophe:
        let open = position
        position += 1
        while position < record.count, record[position] != Byte.apostrophe { try take(&bytes, &columns) }
        guard position < record.count else { throw refusal(at: open, "the single quote is not closed") }
        position += 1
      case Byte.backslash:
        position += 1
        guard position < record.count else { throw refusal(at: position - 1, "nothing follows the backslash") }
        try take(&bytes, &columns)
      default: try take(&bytes, &columns)
      }
    }
    columns.append(position)
    return FieldText(bytes, columns: columns)
  }

  /// Takes one byte literally; a tab is a control character like others where it does not separate words.
  private mutating func take(_ bytes: inout [UInt8], _ columns: inout [Int]) throws(Refusal) {
    let byte = record[position]
    guard byte != Byte.tab else { throw PlainText.control(UInt32(byte), at: position) }
    bytes.append(byte)
    columns.append(position)
    position += 1
  }

  private func refusal(at column: Int, _ text: String) -> Refusal {
    Refusal(errno: EINVAL, column: column, text: text)
  }
}
