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
  /// Held while the database is written to; `state` never is.
  private let reserving: Locked<Void> = Locked(())
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
  ///
  /// It waits for the disk when none is reserved, which `reserve` sees to before.
  public func nextNumber() throws(JournalError) -> UInt64 {
    while true {
      let number: UInt64? = state.withLock { state in
        guard state.next < state.reserved else { return nil }
        defer { state.next += 1 }
        return state.next
      }
      if let number { return number }
      try reserve()
    }
  }

  /// Whether numbers are short.
  public var isShort: Bool { state.withLock { $0.reserved - $0.next < Self.stride / 2 } }

  /// Takes down that more numbers are gone; nobody who takes one waits for it meanwhile.
  public func reserve() throws(JournalError) {
    try reserving.withLock { (_) throws(JournalError) in
      guard isShort else { return }
      let reserved = state.withLock { $0.reserved } + Self.stride
      try database?.run("UPDATE numbers SET next = \(reserved)")
      state.withLock { $0.reserved = reserved }
    }
  }
}
