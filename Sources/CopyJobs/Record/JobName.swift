internal import Glibc

/// The rules for the name of a job.
public enum JobName {
  /// The longest name, in bytes.
  public static let maximumLength = 64

  /// Refuses what is not 1 to 64 of `A-Za-z0-9._-`, begins with `-`, or is `.` or `..`.
  ///
  /// - Throws: `EINVAL`, with the column counted from the beginning of the name.
  public static func check(_ name: String) throws(Refusal) {
    guard !name.isEmpty else { throw Refusal(errno: EINVAL, column: 0, text: "a name is missing") }
    var column = 0
    for byte in name.utf8 {
      guard isAllowed(byte) else {
        throw Refusal(
          errno: EINVAL, column: column, text: "a name is made of A-Z, a-z, 0-9, \".\", \"_\" and \"-\", not as \"\(shown(name))\"")
      }
      column += 1
    }
    guard column <= maximumLength else {
      throw Refusal(errno: EINVAL, column: maximumLength, text: "a name has at most \(maximumLength) characters, this one \(column)")
    }
    guard name.utf8.first != Byte.minus else {
      throw Refusal(errno: EINVAL, column: 0, text: "a name does not begin with \"-\"")
    }
    guard name != "." && name != ".." else {
      throw Refusal(errno: EINVAL, column: 0, text: "\"\(name)\" is the name of a directory that is always there")
    }
  }

  /// Refuses what no draft can be called: more than 255 of the printable characters of ASCII.
  ///
  /// - Throws: `EINVAL`, with the column counted from the beginning of the name.
  public static func checkDraft(_ name: String) throws(Refusal) {
    for (column, byte) in name.utf8.enumerated() where !(0x20...0x7e).contains(byte) {
      throw Refusal(errno: EINVAL, column: column, text: "the name of a draft is made of printable ASCII, not as \"\(shown(name))\"")
    }
    guard name.utf8.count <= 255 else { throw Refusal(errno: EINVAL, column: 255, text: "the name of a draft has at most 255 characters") }
  }

  /// Whether the name is made of digits only: those are given by the daemon.
  public static func isReserved(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.allSatisfy(Byte.isDigit)
  }

  /// Whether the name is a draft's: it begins with `.` or ends in `~`.
  public static func isDraft(_ name: String) -> Bool {
    name.utf8.first == Byte.dot || name.utf8.last == UInt8(ascii: "~")
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x2d, 0x2e, 0x30...0x39, 0x41...0x5a, 0x5f, 0x61...0x7a: true
    default: false
    }
  }

  private static func shown(_ name: String) -> String {
    Words.printable(name.utf8, limit: maximumLength)
  }
}
