internal import CSystemShims
internal import KCopy
internal import Locking
internal import Synchronization

/// The changes of state of all jobs: counted, listed for `events`, and told to whoever passes them on.
public final class JobChanges: Sendable {
  /// Jobs that there are, and attempts that have ended, by state.
  public struct Counts: Sendable, Equatable {
    public fileprivate(set) var now = [Int](repeating: 0, count: JobState.allCases.count)
    public fileprivate(set) var ended = [Int](repeating: 0, count: JobState.allCases.count)
    /// Jobs that were ever accepted.
    public fileprivate(set) var accepted = 0

    public subscript(state: JobState) -> Int { now[Self.place(state)] }

    /// Attempts that ended in a state since the daemon began.
    public func ended(in state: JobState) -> Int { ended[Self.place(state)] }

    fileprivate static func place(_ state: JobState) -> Int { JobState.allCases.firstIndex(of: state) ?? 0 }
  }

  public let events = EventLog()
  private let state = Locked(Counts())
  private let listener: Locked<Listener?> = Locked(nil)
  private let isListening = Atomic(false)

  /// A closure by itself behind a generic lock is wrapped in two more at each look at it: ten thousand looks make a long call.
  private final class Listener: Sendable {
    let body: @Sendable (Job) -> Void
    init(_ body: @escaping @Sendable (Job) -> Void) { self.body = body }
  }

  public init() {}

  public var counts: Counts { state.withLock { $0 } }

  /// Has every change told to somebody, with no lock held, on whatever thread it comes from: it has to return soon.
  public func listen(_ body: @escaping @Sendable (Job) -> Void) {
    listener.withLock { $0 = Listener(body) }
    isListening.store(true, ordering: .releasing)
  }

  /// A job is in the table, and queued.
  func added(_ job: Job) {
    state.withLock { counts in
      counts.accepted += 1
      counts.now[Counts.place(.queued)] += 1
    }
    events.append(job, .queued, readError: false, writeErrors: 0)
  }

  /// A job of an earlier daemon is in the table.
  func restored(in shown: JobState) { state.withLock { $0.now[Counts.place(shown)] += 1 } }

  /// A job has another state; called with its lock held, so that its changes come in their order.
  func changed(_ job: Job, from old: JobState, to new: JobState, _ progress: CopyProgress) {
    state.withLock { counts in
      counts.now[Counts.place(old)] -= 1
      counts.now[Counts.place(new)] += 1
      if new.isFinal { counts.ended[Counts.place(new)] += 1 }
    }
    events.append(job, new, readError: progress.readError, writeErrors: progress.writeErrors)
  }

  /// A job has left the table.
  func removed(in shown: JobState) {
    state.withLock { $0.now[Counts.place(shown)] -= 1 }
  }

  /// Wakes those who wait for what was taken down.
  func tell(of job: Job) {
    events.wake()
    guard isListening.load(ordering: .acquiring) else { return }
    listener.withLock { $0 }?.body(job)
  }
}
