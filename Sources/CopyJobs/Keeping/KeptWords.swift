internal import Glibc

/// A text of `key=value` words as the journal keeps it: written in one order, read in any, and what isn't known is skipped.
struct KeptWords {
  private var bytes: [UInt8] = []
  private var values: [String: String] = [:]

  init() {}

  /// - Throws: EINVAL for what is not in the grammar, which only a damaged journal holds.
  init(_ text: String) throws(Refusal) {
    for (key, value) in try LineReader.words(text) { values[key] = value }
  }

  var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Adds a word, unless there is nothing to say.
  mutating func add(_ key: String, _ value: String) {
    if !value.isEmpty { Words.appendWord(key, value, to: &bytes) }
  }

  /// Adds a number, unless it is 0.
  mutating func add(_ key: String, _ value: UInt64) {
    if value != 0 { Words.appendWord(key, value, to: &bytes) }
  }

  subscript(key: String) -> String { values[key] ?? "" }

  /// A number; 0 where the word is missing.
  ///
  /// - Throws: EINVAL for what is no number.
  func number(_ key: String) throws(Refusal) -> UInt64 {
    guard let value = values[key] else { return 0 }
    guard let number = UInt64(value) else { throw Refusal(errno: EINVAL, column: 0, text: "\(key)=\(value) is no number") }
    return number
  }
}
