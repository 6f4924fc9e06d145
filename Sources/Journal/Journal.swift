internal import CSystemShims
internal import Glibc
internal import Locking
internal import Synchronization

/// What outlives the daemon: jobs, how far they are and how they ended, clients, and the numbers that were given.
///
/// Changes are written in the order in which they come, by whoever calls `serve`; those that come while a commit is under
/// way share the next one, which costs one flush of the disk whatever their number.
public final class Journal: Sendable {
  /// A change on its way.
  private struct Entry {
    var change: Change
    var done: (@Sendable (JournalError?) -> Void)?

    var isAcceptance: Bool { if case .accept = change { true } else { false } }

    /// What it says the last word about, so that an earlier one is not worth its place.
    var subject: Subject? {
      guard done == nil else { return nil }
      return switch change {
      case .checkpoint(let id, _): .checkpoint(id)
      case .control(let id, _, _): .control(id)
      case .putClient(let client): .client(client.name)
      case .removeClient(let name): .client(name)
      default: nil
      }
    }
  }

  private enum Subject: Hashable {
    case checkpoint(UInt64)
    case control(UInt64)
    case client(String)
  }

  private struct State {
    var entries: [Entry] = []
    /// Why nothing can be written.
    var trouble: JournalError?
    var isClosed = false
    /// What those are told who follow the trouble.
    var follower: (@Sendable (JournalError?) -> Void)?

    var nextNumber: UInt64 = 1
    /// The first number that the database has not been told to be taken.
    var reserved: UInt64 = 1
    /// Those who wait for a number.
    var waiting: [Locking.Semaphore] = []

    /// Why nobody need wait for the disk.
    var refusal: JournalError? { isClosed ? Journal.isStopping : trouble }
  }

  /// What `serve` alone uses.
  private struct Disk {
    var tables: Tables?
  }

  private let directory: StateDirectory?
  private let path: String
  private let state = Locked(State())
  private let disk: Locked<Disk>
  private let work = Semaphore()
  private let closed = Semaphore()
  private let failures = Atomic<UInt64>(0)

  /// One commit takes so many numbers at once; those that a crash leaves unused are skipped.
  private static let stride: UInt64 = 1000
  private static let isStopping = JournalError(errno: ESHUTDOWN, "the daemon is stopping")
  /// How long it takes until a disk that failed is tried again.
  private let patience: UInt64

  /// Opens the state of a mount.
  ///
  /// - Parameters:
  ///   - path: the directory; it is made, with mode 0700.  `nil` keeps nothing.
  ///   - patience: how long it takes until a disk that failed is tried again; nanoseconds.
  /// - Throws: `JournalError` when the directory can't be used, another daemon has it, a newer version wrote it, or it is
  ///   damaged; then nothing in it has changed.
  public init(directory path: String?, patience: UInt64 = 1_000_000_000) throws(JournalError) {
    self.patience = patience
    guard let path else {
      directory = nil
      self.path = ""
      disk = Locked(Disk())
      return
    }
    directory = try StateDirectory(path)
    self.path = path + "/" + StateDirectory.journal
    let tables = try Tables(Database(self.path))
    let first = try tables.nextNumber()
    disk = Locked(Disk(tables: tables))
    state.withLock {
      $0.nextNumber = first
      $0.reserved = first
    }
  }

  deinit {
    release()
  }

  /// Whether there is no state directory.
  public var keepsNothing: Bool { directory == nil }

  /// What an earlier daemon has left; before `serve` only.
  public func contents() throws(JournalError) -> Contents {
    try disk.withLock { (disk) throws(JournalError) in try disk.tables?.contents() ?? Contents(jobs: [], clients: []) }
  }

  // MARK: Changes

  /// Has a change written; without a state directory there is nothing to do.
  ///
  /// Only an acceptance can fail; everything else is tried again for as long as it takes.  What isn't durable when `serve`
  /// ends is never going to be, and nobody is told.
  ///
  /// - Parameter done: called with `nil` when the change is durable, once, on the thread of `serve` and in the order of the
  ///   changes.  An acceptance that is refused at once, for trouble that is known, has it called before this returns.
  public func write(_ change: Change, done: (@Sendable (JournalError?) -> Void)? = nil) {
    guard !keepsNothing else {
      done?(nil)
      return
    }
    let entry = Entry(change: change, done: done)
    let refused: JournalError? = state.withLock { state in
      if entry.isAcceptance, let reason = state.refusal { return reason }
      state.entries.append(entry)
      return nil
    }
    if let refused { done?(refused) } else { work.signal() }
  }

  /// Why nothing can be written at this moment; then no record is accepted.
  public var trouble: JournalError? { state.withLock { $0.trouble } }

  /// Commits that failed since the daemon began.
  public var failureCount: UInt64 { failures.load(ordering: .relaxed) }

  /// Calls the body when writing begins to fail, with the reason, and with `nil` when it works again; at once when it is
  /// failing already.
  public func follow(_ body: @escaping @Sendable (JournalError?) -> Void) {
    let trouble = state.withLock { state in
      state.follower = body
      return state.trouble
    }
    if let trouble { body(trouble) }
  }

  // MARK: Numbers

  /// A number that no job of this state directory ever had.
  ///
  /// - Throws: `JournalError` when it can't be taken down that the number is gone.
  ///
  /// It waits for the disk when none is left of those that were reserved, which are asked for well before.
  public func nextNumber() throws(JournalError) -> UInt64 {
    while true {
      let taken = Semaphore()
      var isShort = false
      let number: UInt64? = try state.withLock { (state) throws(JournalError) in
        if state.nextNumber < state.reserved || keepsNothing {
          isShort = state.reserved &- state.nextNumber == Self.stride / 2
          defer { state.nextNumber += 1 }
          return state.nextNumber
        }
        if let refusal = state.refusal { throw refusal }
        state.waiting.append(taken)
        return nil
      }
      if isShort || number == nil { work.signal() }
      if let number { return number }
      taken.wait()
    }
  }

  // MARK: The thread that writes

  /// Writes what there is to be written until `close`.
  ///
  /// - Parameter everything: what is kept, as it stands in memory: a database that failed is written anew from it, since
  ///   nobody can say what of the failed one is on the disk.  `nil` when there is no such memory any more.
  public func serve(everything: @escaping () -> Contents?) {
    guard !keepsNothing else { return }
    var kept: [Entry] = []
    while true {
      if trouble == nil { work.wait() } else { rest() }
      let (isClosed, reserves) = take(&kept)
      if !kept.isEmpty || reserves || trouble != nil { write(&kept, reserves: reserves, everything) }
      if isClosed {
        // What could not be written by now is not going to be: jobs that it is about come back as they were before.
        closed.signal()
        return
      }
    }
  }

  /// Waits until a disk that failed is to be tried again, whatever comes to be written meanwhile.
  private func rest() {
    let end = kcs_monotonic() + patience
    while !state.withLock({ $0.isClosed }), work.wait(until: end) {}
  }

  /// Writes what has been given so far, as far as the disk takes it, and ends `serve`.
  ///
  /// - Returns: whether it ended in time.
  public func close(until deadline: UInt64) -> Bool {
    guard !keepsNothing else { return true }
    directory?.willRelease()
    state.withLock { $0.isClosed = true }
    work.signal()
    let hasEnded = closed.wait(until: deadline)
    // For whoever asks again.
    if hasEnded { closed.signal() }
    return hasEnded
  }

  /// Lets another daemon have the directory, once `close` has ended; what a device still has in flight keeps that device only.
  public func release() {
    // Before the lock of the directory: who takes that finds nothing of ours.
    disk.withLock { $0.tables = nil }
    directory?.release()
  }

  private func take(_ kept: inout [Entry]) -> (isClosed: Bool, reserves: Bool) {
    let (entries, isClosed, reserves) = state.withLock { state in
      defer { state.entries = [] }
      return (state.entries, state.isClosed, state.reserved - state.nextNumber <= Self.stride / 2 || !state.waiting.isEmpty)
    }
    // While the disk fails they come and none goes: what is kept must not grow with the time that takes.
    var subjects: Set<Subject> = []
    let lasting = (kept + entries).reversed().filter { entry in entry.subject.map { subjects.insert($0).inserted } ?? true }
    kept = lasting.reversed()
    return (isClosed, reserves)
  }

  private func write(_ kept: inout [Entry], reserves: Bool, _ everything: () -> Contents?) {
    let reserved = state.withLock { reserves ? max($0.reserved, $0.nextNumber) + Self.stride : $0.reserved }
    do throws(JournalError) {
      try disk.withLock { (disk) throws(JournalError) in
        var contents: Contents?
        let tables: Tables
        if let open = disk.tables {
          tables = open
        } else {
          contents = everything()
          // Without a memory the database is all that there is.
          if contents == nil { throw Self.isStopping }
          tables = try Tables(Database(path, isKnown: true))
        }
        try tables.commit(kept.map(\.change), next: reserves || contents != nil ? reserved : nil, anew: contents)
        disk.tables = tables
      }
    } catch {
      failures.wrappingAdd(1, ordering: .relaxed)
      return failed(error, &kept, everything)
    }
    let done = kept
    kept = []
    recovered(reserved)
    for entry in done { entry.done?(nil) }
  }

  private func recovered(_ reserved: UInt64) {
    let (follower, waiting) = endWaits(nil) { state in
      state.reserved = reserved
      return state.trouble != nil
    }
    for waiter in waiting { waiter.signal() }
    follower?(nil)
  }

  /// - Returns: who is to be told of the change, if it is one, and those who waited for a number.
  private func endWaits(
    _ trouble: JournalError?, isChange: (inout State) -> Bool
  ) -> (follower: (@Sendable (JournalError?) -> Void)?, waiting: [Locking.Semaphore]) {
    state.withLock { state in
      let follower = isChange(&state) ? state.follower : nil
      defer {
        state.trouble = trouble
        state.waiting = []
      }
      return (follower, state.waiting)
    }
  }

  /// Acceptances fail; of what is left nothing is given up.
  private func failed(_ error: JournalError, _ kept: inout [Entry], _ everything: () -> Contents?) {
    let acceptances = kept.filter(\.isAcceptance)
    kept.removeAll(where: \.isAcceptance)
    if error.isInDoubt {
      disk.withLock { $0.tables = nil }
    } else if !acceptances.isEmpty, state.withLock({ $0.trouble == nil && $0.waiting.isEmpty }) {
      // It may have been too much of a batch; what is left may have room.
      for entry in acceptances { entry.done?(error) }
      if !kept.isEmpty { write(&kept, reserves: false, everything) }
      return
    }
    let (follower, waiting) = endWaits(error) { $0.trouble == nil }
    for entry in acceptances { entry.done?(error) }
    for waiter in waiting { waiter.signal() }
    follower?(error)
  }
}
