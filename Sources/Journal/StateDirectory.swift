internal import CSystemShims
internal import Glibc

/// The directory that one daemon keeps its state in.
///
/// The lock is held by an open descriptor, so a daemon that was killed leaves none behind.
final class StateDirectory: Sendable {
  let path: String
  private let lock: Int32

  /// Makes the directory, private to its owner, and takes its lock.
  init(_ path: String) throws(JournalError) {
    try Self.make(path)
    let lock = unsafe kcs_open(path + "/lock", O_RDWR | O_CREAT, 0o600)
    guard lock >= 0 else { throw JournalError(errno: -lock, at: path + "/lock") }
    guard kcs_flock_exclusive(lock) == 0 else {
      _ = kcs_close(lock)
      throw JournalError(errno: EBUSY, "\(path) is the state of another kcopyfs that is running")
    }
    self.path = path
    self.lock = lock
  }

  deinit { _ = kcs_close(lock) }

  private static func make(_ path: String) throws(JournalError) {
    var made = ""
    for part in path.split(separator: "/") {
      let parent = made + "/"
      made = parent + part
      if unsafe mkdir(made, 0o700) == 0 {
        try synchronise(parent)
      } else if errno != EEXIST {
        throw JournalError(errno: errno, at: made)
      }
    }
  }

  /// What is kept in a directory is lost with the directory's name.
  private static func synchronise(_ path: String) throws(JournalError) {
    let directory = unsafe kcs_open(path, O_RDONLY | O_DIRECTORY, 0)
    guard directory >= 0 else { throw JournalError(errno: -directory, at: path) }
    defer { _ = kcs_close(directory) }
    let result = kcs_fsync(directory)
    // EINVAL: there is no such thing on this file system.
    guard result == 0 || result == -EINVAL else { throw JournalError(errno: -result, at: path) }
  }
}
