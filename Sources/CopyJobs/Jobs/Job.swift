internal import CSystemShims
internal import Glibc
public import KCopy
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
    /// The first byte of its map: where the region begins on the source, or on the destination of a job that has no source.
    public var mapStart: UInt64 = 0
  }

  /// Why somebody who waits for a job is told something.
  public enum Event: Sendable {
    case final, removed, shutdown
  }

  public let facts: Facts

  private struct Life {
    var permissions: UInt32
    var work: (any Work)?
    /// What `ctl` asked for before there was work to ask.
    var early: [JobCommand] = []
    /// `ctl` asked for a pause, and not for its end since.
    var isPauseRequested = false
    /// Resumes that the work has not taken yet: the pause for an error that it still shows is over.
    var resumes = 0
    var isCancelRequested = false
    /// The last snapshot of the work, once there is one.
    var last: CopyProgress?
    /// The last maps, of a job that is final and not done.
    var maps: [RangeMap] = []
    var state: JobState?
    var finishedAt: UInt64 = 0
    var isRemoved = false
    var observers: [UInt64: @Sendable (Event) -> Void] = [:]
    var nextObserver: UInt64 = 0

    /// Why it is paused, if what its work says of itself is this.
    func pause(_ progress: CopyProgress) -> PauseReason? {
      if state != nil || isCancelRequested { return nil }
      if case .error? = progress.pause, resumes == 0 { return progress.pause }
      return isPauseRequested ? .user : nil
    }

    func current(_ progress: CopyProgress) -> JobState {
      if let state { return state }
      if pause(progress) != nil { return .paused }
      return progress.startedAt == 0 ? .queued : .running
    }
  }

  private let life: Locked<Life>

  init(_ facts: Facts, permissions: UInt32) {
    self.facts = facts
    life = Locked(Life(permissions: permissions))
  }

  // MARK: Reading

  public var snapshot: JobSnapshot {
    let life = life.withLock { $0 }
    let progress = progress(life)
    let (state, pause) = (life.current(progress), life.pause(progress))
    let started = progress.startedAt
    let end = life.finishedAt != 0 ? life.finishedAt : kcs_realtime()
    let elapsed = started == 0 || end <= started ? 0 : end - started
    let rate = elapsed == 0 ? 0 : UInt64(min(Double(progress.bytesDone) * 1e9 / Double(elapsed), 1e18))
    let remaining = facts.bytesTotal - min(progress.bytesDone, facts.bytesTotal)
    let phase: CopyProgress.Phase =
      state.isFinal || pause != nil ? .none : life.isCancelRequested ? .cancelling : progress.phase
    return JobSnapshot(
      state: state, progress: progress, pause: pause, phase: phase, startedAt: started, finishedAt: life.finishedAt, rate: rate,
      eta: state == .running && rate > 0 ? remaining / rate : nil)
  }

  private func progress(_ life: Life) -> CopyProgress {
    life.last ?? life.work?.progress ?? CopyProgress(destinations: facts.destinations.map { _ in DestinationProgress() })
  }

  /// What has become of each byte on one destination, counted from 0; kept after the end.
  public func map(of destination: Int) -> RangeMap {
    let life = life.withLock { $0 }
    if let work = life.work { return work.map(of: destination) }
    if life.maps.indices.contains(destination) { return life.maps[destination] }
    // A job that is done has all of it, one that never began nothing.
    guard life.state == .done, let last = life.last else { return RangeMap(count: facts.bytesTotal) }
    let isDurable = last.destinations[destination].bytesDurable == facts.bytesTotal
    return RangeMap(count: facts.bytesTotal, status: isDurable ? .durable : .written)
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

  /// Hands over what the job does; what `ctl` asked for meanwhile is passed on.
  func began(_ work: any Work) {
    life.withLock { life in
      guard life.state == nil else { return }
      life.work = work
      for command in life.early { pass(command, to: work, &life) }
      life.early = []
    }
  }

  /// Asks the job to end; it is final once nothing of it is in flight.
  ///
  /// - Throws: EALREADY when it is final.
  public func cancel() throws(Refusal) { try obey(.cancel) }

  /// Does what a line of `ctl` says.
  ///
  /// - Throws: what `JobState.objection` has for the job's state.
  public func obey(_ command: JobCommand) throws(Refusal) {
    try life.withLock { (life) throws(Refusal) in
      let state = life.current(progress(life))
      if let errno = state.objection(to: command) {
        throw Refusal(errno: errno, column: 0, text: Self.text(of: errno, command, state))
      }
      switch command {
      case .cancel: life.isCancelRequested = true
      case .pause: life.isPauseRequested = true
      case .resume: life.isPauseRequested = false
      case .retry, .rate, .priority: break
      }
      if let work = life.work { pass(command, to: work, &life) } else { life.early.append(command) }
    }
  }

  private static func text(of errno: Int32, _ command: JobCommand, _ state: JobState) -> String {
    switch errno {
    case EALREADY: "the job is final"
    case EOPNOTSUPP: "retry is not done by this version; the job's spec, written to submit, makes it anew"
    default: "\(command.name) is not for a job that is \(state.rawValue)"
    }
  }

  private func pass(_ command: JobCommand, to work: any Work, _ life: inout Life) {
    switch command {
    case .cancel: work.cancel()
    case .pause: work.pause()
    case .resume:
      life.resumes += 1
      work.resume { self.life.withLock { $0.resumes -= 1 } }
    case .rate(let rate): work.setRate(rate)
    case .priority(let priority): work.setPriority(priority)
    case .retry: break
    }
  }

  /// Takes down the end; from here on everybody sees a final state.
  ///
  /// - Parameter isVisible: called when that is so, and nobody who waits has been told yet.
  func end(_ notification: KCopy.Notification, _ isVisible: () -> Void = {}) {
    life.withLock { life in
      precondition(life.state == nil, "a job ends once")
      let state: JobState =
        if notification.wasCancelled || life.isCancelRequested { .cancelled } else if notification.isComplete { .done } else { .failed }
      life.last = notification.progress
      life.maps = state == .done ? [] : notification.maps
      life.work = nil
      life.early = []
      life.state = state
      life.finishedAt = kcs_realtime()
    }
    isVisible()
    tell(.final)
  }
}
