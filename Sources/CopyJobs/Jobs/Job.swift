internal import CSystemShims
internal import Glibc
internal import KCopy
internal import Locking

/// One copy job: what was asked, who asked, and how far it is.
public final class Job: Sendable {
  /// What a job is made of, and never changes.
  public struct Facts: Sendable {
    public var id: UInt64
    public var name: String
    public var uid: UInt32
    public var gid: UInt32
    /// The record, normalised, one line without its newline.
    public var spec: String
    public var operation: String
    public var client: String
    public var context: String
    /// The length of the region, in bytes.
    public var bytesTotal: UInt64
    public var destinations: [Destination]
    /// Nanoseconds since the epoch.
    public var queuedAt: UInt64
  }

  public struct Destination: Sendable {
    public var path: String
    public var identity: String
  }

  /// Why somebody who waits for a job is told something.
  public enum Event: Sendable {
    case final, removed, shutdown
  }

  public let facts: Facts

  private struct Life {
    var permissions: UInt32
    var copy: Copy?
    /// The last snapshot of the engine, once there is one.
    var last: CopyProgress?
    var state: JobState?
    var finishedAt: UInt64 = 0
    var isCancelRequested = false
    var isRemoved = false
    var observers: [UInt64: @Sendable (Event) -> Void] = [:]
    var nextObserver: UInt64 = 0
  }

  private let life: Locked<Life>

  init(_ facts: Facts, permissions: UInt32) {
    self.facts = facts
    life = Locked(Life(permissions: permissions))
  }

  // MARK: Reading

  public var snapshot: JobSnapshot {
    let (copy, last, state, finishedAt) = life.withLock { ($0.copy, $0.last, $0.state, $0.finishedAt) }
    let progress = last ?? copy?.progress ?? CopyProgress(destinations: facts.destinations.map { _ in DestinationProgress() })
    let started = progress.startedAt
    let end = finishedAt != 0 ? finishedAt : kcs_realtime()
    let elapsed = started == 0 || end <= started ? 0 : end - started
    let rate = elapsed == 0 ? 0 : UInt64(min(Double(progress.bytesDone) * 1e9 / Double(elapsed), 1e18))
    let remaining = facts.bytesTotal - min(progress.bytesDone, facts.bytesTotal)
    return JobSnapshot(
      state: state ?? (started == 0 ? .queued : .running), progress: progress, phase: state == nil ? progress.phase : .none,
      startedAt: started, finishedAt: finishedAt, rate: rate, eta: state == nil && rate > 0 ? remaining / rate : nil)
  }

  public var isFinal: Bool { life.withLock { $0.state != nil } }

  /// The mode bits of the job's directory.
  public var permissions: UInt32 { life.withLock { $0.permissions } }

  /// Changes the mode bits; search bits follow read bits, for a directory that can be listed but not entered is no use.
  public func setPermissions(_ permissions: UInt32) {
    life.withLock { $0.permissions = permissions & 0o777 | (permissions & 0o444) >> 2 }
  }

  /// The errno that `result` fails with; 0 for success.
  public var resultErrno: Int32 {
    let snapshot = snapshot
    return switch snapshot.state {
    case .done: 0
    case .cancelled: ECANCELED
    default: snapshot.progress.firstError?.errno ?? EIO
    }
  }

  // MARK: Waiting

  /// Calls `body` once: when the job is final, is removed, or the daemon stops.
  ///
  /// - Returns: what to give to `stopObserving`; `nil` when the job is final already, and then nothing is called.
  public func observe(_ body: @escaping @Sendable (Event) -> Void) -> UInt64? {
    life.withLock { life in
      guard life.state == nil else { return nil }
      life.nextObserver += 1
      life.observers[life.nextObserver] = body
      return life.nextObserver
    }
  }

  public func stopObserving(_ observer: UInt64) {
    life.withLock { _ = $0.observers.removeValue(forKey: observer) }
  }

  func tell(_ event: Event) {
    let observers = life.withLock { life in
      if event == .removed { life.isRemoved = true }
      defer { life.observers = [:] }
      return life.observers
    }
    for observer in observers.values { observer(event) }
  }

  public var isRemoved: Bool { life.withLock { $0.isRemoved } }

  // MARK: Changing

  func began(_ copy: Copy) {
    let isCancelled = life.withLock { life in
      if life.state == nil { life.copy = copy }
      return life.isCancelRequested
    }
    if isCancelled { copy.cancel() }
  }

  /// Asks the copy to end; it is final once nothing of it is in flight.
  ///
  /// - Throws: EALREADY when it is final.
  public func cancel() throws(Refusal) {
    let copy = try life.withLock { (life) throws(Refusal) in
      guard life.state == nil else { throw Refusal(errno: EALREADY, column: 0, text: "the job is final") }
      life.isCancelRequested = true
      return life.copy
    }
    copy?.cancel()
  }

  /// Takes down the end; from here on everybody sees a final state.
  func end(_ notification: KCopy.Notification) {
    life.withLock { life in
      precondition(life.state == nil, "a job ends once")
      life.last = notification.progress
      life.copy = nil
      life.state =
        if notification.wasCancelled || life.isCancelRequested { .cancelled } else if notification.isComplete { .done } else { .failed }
      life.finishedAt = kcs_realtime()
    }
    tell(.final)
  }
}
