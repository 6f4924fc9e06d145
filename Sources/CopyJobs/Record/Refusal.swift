/// Why a record, a name or a value was not accepted.
///
/// The `errno` is what the write fails with, the other two go to the file `errors`.
public struct Refusal: Error, Sendable, Equatable {
  /// The errno of the refused write: `EINVAL` for everything that is a matter of syntax, `E2BIG` for the length.
  public var errno: Int32

  /// The byte of the record, counted from 0, that the text is about.
  public var column: Int

  /// One line for a human, without control characters.
  public var text: String

  /// Makes a refusal.
  public init(errno: Int32, column: Int, text: String) {
    self.errno = errno
    self.column = column
    self.text = text
  }
}
