/// A line of the mount's one grammar: `key=value` words, values in single quotes where they need it.
struct Words: CustomStringConvertible {
  let pairs: [(key: String, value: String)]
  let description: String

  /// Reads one line, or all lines of a file about one thing, where each line has one word.
  init(_ text: some StringProtocol) throws {
    description = String(text)
    var pairs: [(key: String, value: String)] = []
    var rest = Substring(text)
    while let first = rest.first {
      if first == " " || first == "\n" {
        rest.removeFirst()
        continue
      }
      guard let equals = rest.firstIndex(of: "=") else { throw Malformed(text: String(text), near: String(rest)) }
      let key = String(rest[..<equals])
      rest = rest[rest.index(after: equals)...]
      pairs.append((key, try Words.value(&rest, of: String(text))))
    }
    self.pairs = pairs
  }

  struct Malformed: Error {
    let text: String
    let near: String
  }

  /// A value as a POSIX shell reads it: bare, quoted, or pieces of both one after the other.
  private static func value(_ rest: inout Substring, of text: String) throws -> String {
    var value = ""
    while let first = rest.first, first != " ", first != "\n" {
      rest.removeFirst()
      switch first {
      case "'":
        guard let end = rest.firstIndex(of: "'") else { throw Malformed(text: text, near: "an open quote") }
        value += rest[..<end]
        rest = rest[rest.index(after: end)...]
      case "\\":
        guard let escaped = rest.popFirst() else { throw Malformed(text: text, near: "a last backslash") }
        value.append(escaped)
      default:
        guard bare.contains(first) else { throw Malformed(text: text, near: "\(first), which needs quotes") }
        value.append(first)
      }
    }
    return value
  }

  private static let bare = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@+,%-")

  var keys: [String] { pairs.map(\.key) }

  /// The value of a key; "absent" for one that isn't there, so that a comparison fails with that word.
  subscript(key: String) -> String { pairs.first { $0.key == key }?.value ?? "absent" }

  /// The value as a number of bytes or a count; -1 where it isn't one.
  func number(_ key: String) -> Int { Int(self[key]) ?? -1 }

  /// The value as seconds since the epoch; -1 where it isn't that with six decimals.
  func time(_ key: String) -> Double {
    let parts = self[key].split(separator: ".")
    return parts.count == 2 && parts[1].count == 6 ? Double(self[key]) ?? -1 : -1
  }
}

extension Words {
  /// A value with all that a shell would take for something else.
  static let nasty = "it's \"so\" $HOME `id` \\ ; * é ü 日本 = end"
}

/// A value as it is written in a record or a shell: always quoted.
func quoted(_ value: String) -> String {
  "'" + value.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}
