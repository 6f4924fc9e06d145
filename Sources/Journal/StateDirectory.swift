internal import CSystemShims
internal import Glibc
internal import Locking

/// The directory that one daemon keeps its state in.
///
/// The lock is held by an open descriptor, so a daemon that was killed leaves none behind; unless one of its threads waits for
/// a device that doesn't answer, which keeps a process from ending.
final class StateDirectory: Sendable {
  let path: String
  private let lock: Locked<Int32?>

  /// How long it is waited for a daemon that is on its way out, which may take ten seconds; nanoseconds.
  private static let patience: UInt64 = 12_000_000_000
  private static let stopping = "stopping"

  /// The journal in a state directory.
  static let journal = "journal.sqlite"
  /// What is ever in there.
  private static let names = ["lock", journal, journal + "-wal", journal + "-shm", journal + "-journal"]

  /// Makes the directory, private to its owner, and takes its lock.
  ///
  /// - Throws: `JournalError` for a directory that can't be made, is another's, or has others who may write to it, and for one that is
  ///   another daemon's.
  init(_ path: String) throws(JournalError) {
    try StatePath.make(path)
    try StatePath.secure(Self.names.map { path + "/" + $0 })
    let lock = unsafe kcs_open(path + "/lock", O_RDWR | O_CREAT, 0o600)
    guard lock >= 0 else { throw JournalError(errno: -lock, at: path + "/lock") }
    let deadline = kcs_monotonic() + Self.patience
    while kcs_flock_exclusive(lock) != 0 {
      let holder = Holder(lock)
      guard holder.isEnding, kcs_monotonic() < deadline else {
        _ = kcs_close(lock)
        throw JournalError(errno: EBUSY, "\(path) is the state of another kcopyfs \(holder.description)")
      }
      Semaphore().wait(until: kcs_monotonic() + 20_000_000)
    }
    self.path = path
    self.lock = Locked(lock)
    note("")
  }

  deinit { release() }

  /// Tells whoever wants the directory that it is worth waiting.
  func willRelease() { note(Self.stopping) }

  /// Gives the lock up; once is enough.
  func release() {
    let held = lock.withLock { lock in
      defer { lock = nil }
      return lock
    }
    if let held { _ = kcs_close(held) }
  }

  /// Writes down who holds the lock.  It's for the words of a refusal only: where it can't be written, they say less.
  private func note(_ word: String) {
    let text = Array("\(getpid()) \(word)\n".utf8)
    lock.withLock { lock in
      guard let lock, kcs_ftruncate(lock, 0) == 0 else { return }
      _ = unsafe kcs_pwrite(lock, text, UInt64(text.count), 0)
    }
  }

  /// Whoever has the lock, by what it wrote into the file.
  private struct Holder {
    private let process: Int32?
    private let isStopping: Bool

    init(_ lock: Int32) {
      var text = [UInt8](repeating: 0, count: 64)
      let count = unsafe kcs_pread(lock, &text, UInt64(text.count), 0)
      let words = String(decoding: text.prefix(Int(max(count, 0))), as: UTF8.self).split { $0 == " " || $0 == "\n" }
      process = words.first.flatMap { Int32($0) }
      isStopping = words.dropFirst().first.map { $0 == StateDirectory.stopping } == true
    }

    /// Whether its process has ended, as far as it can: what is left of it are threads that the kernel waits for.
    private var isDead: Bool {
      guard let process else { return false }
      var text = [CChar](repeating: 0, count: 1024)
      guard unsafe kcs_read_text("/proc/\(process)/stat", &text, text.count) > 0 else { return true }
      // The name before it is in brackets, and may hold anything.
      let bytes = text.map { UInt8(bitPattern: $0) }
      guard let end = bytes.lastIndex(of: UInt8(ascii: ")")), end + 2 < bytes.count else { return false }
      return bytes[end + 2] == UInt8(ascii: "Z") || bytes[end + 2] == UInt8(ascii: "X")
    }

    var isEnding: Bool { isStopping || isDead }

    var description: String {
      guard let process else { return "that is running" }
      return isEnding
        ? "that is ending (process \(process)): a device that it has something in flight on doesn't answer"
        : "that is running (process \(process))"
    }
  }
}
