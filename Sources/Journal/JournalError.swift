internal import Glibc

/// Why the state directory cannot be used, or a change could not be written down.
public struct JournalError: Error, Sendable, Equatable {
  /// For whoever is refused by it: ENOSPC, EROFS, EIO and the like.
  public let errno: Int32
  /// With the path, for people.
  public let text: String
  /// Whether nobody can say what of a change is on the disk.
  let isInDoubt: Bool

  public init(errno: Int32, _ text: String) { self.init(errno: errno, text, isInDoubt: true) }

  /// A system call on a file failed.
  init(errno: Int32, at path: String) { self.init(errno: errno, "\(path): \(unsafe String(cString: strerror(errno)))") }

  init(errno: Int32, _ text: String, isInDoubt: Bool) {
    self.errno = errno
    self.text = text
    self.isInDoubt = isInDoubt
  }
}
