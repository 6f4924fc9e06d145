/// Why the state directory cannot be used, or a change could not be written down.
public struct JournalError: Error, Sendable, Equatable {
  /// For whoever is refused by it: ENOSPC, EROFS, EIO and the like.
  public let errno: Int32
  /// With the path, for people.
  public let text: String

  public init(errno: Int32, _ text: String) {
    self.errno = errno
    self.text = text
  }
}
