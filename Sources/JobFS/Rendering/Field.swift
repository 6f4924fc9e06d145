internal import CopyJobs

/// One key of a snapshot, for both ways of writing it.
struct Field {
  enum Value {
    /// Text; empty is unknown, in JSON null.
    case text(String)
    case number(UInt64?)
    /// A count of microseconds, written as seconds with six decimals.
    case time(UInt64)
    /// Text that is always there, in JSON a string even when it is empty.
    case string(String)
  }

  let key: String
  let value: Value
  /// The most bytes that the value can ever take in this job; `nil` when it never changes.
  let widest: Int?

  static func text(_ key: String, _ value: String, widest: Int) -> Field { Field(key: key, value: .text(value), widest: widest) }
  static func constant(_ key: String, _ value: String) -> Field { Field(key: key, value: .string(value), widest: nil) }
  static func constant(_ key: String, _ value: UInt64) -> Field { Field(key: key, value: .number(value), widest: nil) }
  static func number(_ key: String, _ value: UInt64?) -> Field { Field(key: key, value: .number(value), widest: 20) }
  /// - Parameter nanoseconds: since the epoch; 0 is unknown.
  static func time(_ key: String, _ nanoseconds: UInt64) -> Field { Field(key: key, value: .time(nanoseconds / 1000), widest: 20) }
}

/// A text of fields whose length is the same for every snapshot of one job, so that a reader who asks for the size first
/// gets all of it, and no more, whatever happens in between.
struct FieldText {
  private(set) var bytes: [UInt8] = []
  /// What the values could have been longer.
  private var slack = 0

  /// Lines of `key=value`.
  ///
  /// - Parameter prefix: stands before each key.
  mutating func addLines(_ fields: [Field], prefix: String = "") {
    for field in fields {
      bytes += prefix.utf8
      let before = bytes.count
      switch field.value {
      case .text(let text), .string(let text): Words.append(field.key, text, to: &bytes)
      case .number(let number?): Words.append(field.key, number, to: &bytes)
      case .number(nil): Words.append(field.key, "", to: &bytes)
      case .time(let time): Words.append(field.key, Self.seconds(time), to: &bytes)
      }
      note(field, bytes.count - before - field.key.utf8.count - 1)
      bytes.append(0x0a)
    }
  }

  /// Members of a JSON object, with commas between them.
  mutating func addMembers(_ fields: [Field]) {
    for (index, field) in fields.enumerated() {
      if index > 0 { bytes.append(0x2c) }
      addKey(field.key)
      let before = bytes.count
      switch field.value {
      case .text(""), .number(nil), .time(0): bytes += "null".utf8
      case .text(let text), .string(let text): Words.append(json: text, to: &bytes)
      case .number(let number?): bytes += String(number).utf8
      case .time(let time): bytes += Self.seconds(time).utf8
      }
      // The quotes of a text, and null for none, take room as well.
      note(field, bytes.count - before - 4)
    }
  }

  mutating func addKey(_ key: String) {
    Words.append(json: key, to: &bytes)
    bytes.append(0x3a)
  }

  mutating func add(_ text: String) { bytes += text.utf8 }

  /// Fills the last line, or the object before its end, with blanks to the constant length.
  mutating func fill() {
    let isEnded = bytes.last == 0x0a
    if isEnded { bytes.removeLast() }
    bytes += [UInt8](repeating: 0x20, count: slack)
    if isEnded { bytes.append(0x0a) }
    slack = 0
  }

  private mutating func note(_ field: Field, _ length: Int) {
    guard let widest = field.widest else { return }
    precondition(length <= widest, "\(field.key) is wider than it can be")
    slack += widest - length
  }

  /// Seconds since the epoch with six decimals; 0 is unknown and empty.
  static func seconds(_ microseconds: UInt64) -> String {
    guard microseconds > 0 else { return "" }
    let fraction = String(microseconds % 1_000_000)
    return "\(microseconds / 1_000_000).\(String(repeating: "0", count: 6 - fraction.count))\(fraction)"
  }
}
