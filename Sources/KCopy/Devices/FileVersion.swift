internal import CSystemShims

/// What the kernel tells of a regular file that is another whenever somebody has written to it, or cut it.
///
/// Times are as fine as its file system and the kernel's clock have them: before Linux 6.13 two writes within a tick, of some
/// milliseconds, are one; and who writes by `mmap(2)` is seen when a page becomes dirty, not at each store.
public struct FileVersion: Sendable, Equatable {
  /// In bytes.
  public var size: UInt64
  /// `st_mtime`, in nanoseconds since the epoch.
  public var modified: UInt64
  /// `st_ctime`, likewise; nobody can set it back.
  public var changed: UInt64

  /// A version as it was kept.
  public init(size: UInt64, modified: UInt64, changed: UInt64) {
    (self.size, self.modified, self.changed) = (size, modified, changed)
  }

  init(_ facts: kcs_file_facts) { self.init(size: facts.size, modified: facts.modified, changed: facts.changed) }
}
