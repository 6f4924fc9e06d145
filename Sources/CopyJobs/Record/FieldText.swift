internal import Glibc

/// A value of a record, freed of its quotes and escapes, that still knows where in the record its bytes stood.
struct FieldText {
  let bytes: ArraySlice<UInt8>
  /// The column of the first byte.
  private let column: Int
  /// The column of each byte and of the end, where quotes or escapes between them make that more than counting.
  private let columns: [Int]?

  /// A text that is not part of a record.
  init(_ bytes: [UInt8]) {
    self.init(bytes[...], column: 0)
  }

  /// A text whose bytes stand in the record as they are.
  init(_ bytes: ArraySlice<UInt8>, column: Int) {
    self.bytes = bytes
    self.column = column
    self.columns = nil
  }

  /// A text put together from pieces.
  ///
  /// - Parameter columns: One for each byte, and one for the end.
  init(_ bytes: [UInt8], columns: [Int]) {
    self.bytes = bytes[...]
    self.column = columns[0]
    self.columns = columns
  }

  var count: Int { bytes.count }
  var isEmpty: Bool { bytes.isEmpty }
  var string: String { String(decoding: bytes, as: UTF8.self) }

  /// The text for a refusal: short, and without control characters.
  var shown: String { Words.printable(bytes, limit: 64) }

  subscript(offset: Int) -> UInt8 { bytes[bytes.startIndex + offset] }

  func dropFirst(_ length: Int) -> FieldText { self[length..<count] }

  subscript(range: Range<Int>) -> FieldText {
    let slice = bytes[(bytes.startIndex + range.lowerBound)..<(bytes.startIndex + range.upperBound)]
    guard let columns else { return FieldText(slice, column: column + range.lowerBound) }
    return FieldText(Array(slice), columns: Array(columns[range.lowerBound...range.upperBound]))
  }

  func isEqual(_ other: String) -> Bool {
    bytes.elementsEqual(other.utf8)
  }

  /// The column of a byte, or of the end.
  func place(_ offset: Int = 0) -> Int {
    columns?[offset] ?? column + offset
  }

  func refusal(at offset: Int = 0, _ text: String) -> Refusal {
    Refusal(errno: EINVAL, column: place(offset), text: text)
  }
}
