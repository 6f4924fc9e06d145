internal import Locking

/// What outlives the daemon: so far the numbers that were given to jobs, so that none is given twice.
public final class Journal: Sendable {
  private struct State {
    var next: UInt64 = 1
    /// The first number that the database has not been told to be taken.
    var reserved: UInt64 = 1
  }

  private let directory: StateDirectory?
  private let database: Database?
  private let state = Locked(State())
  /// One commit takes so many numbers at once; those that a crash leaves unused are skipped.
  private static let stride: UInt64 = 1000

  /// Opens the state of a mount.
  ///
  /// - Parameter path: the directory; it is made, with mode 0700.  `nil` keeps nothing.
  /// - Throws: `JournalError` when the directory can't be used, another daemon has it, or a newer version wrote it.
  public init(directory path: String?) throws(JournalError) {
    guard let path else {
      directory = nil
      database = nil
      return
    }
    let directory = try StateDirectory(path)
    let database = try Database(path + "/journal.sqlite")
    let first = UInt64(try database.number("SELECT next FROM numbers") ?? 1)
    self.directory = directory
    self.database = database
    state.withLock { $0 = State(next: first, reserved: first) }
  }

  deinit { database?.close() }

  /// Whether there is no state directory.
  public var keepsNothing: Bool { database == nil }

  /// A number that no job of this state directory ever had.
  ///
  /// - Throws: `JournalError` when it can't be taken down that the number is gone.
  public func nextNumber() throws(JournalError) -> UInt64 {
    try state.withLock { (state) throws(JournalError) in
      if state.next == state.reserved {
        let reserved = state.reserved + Self.stride
        try database?.run("UPDATE numbers SET next = \(reserved)")
        state.reserved = reserved
      }
      defer { state.next += 1 }
      return state.next
    }
  }
}
