internal import CSystemShims
internal import KCopy
internal import Locking

/// `op=none`: no I/O, done when every job that its client was given before is final.
final class Barrier: Work {
  private struct State {
    var observer: UInt64?
    /// Those before it are final.
    var isDue = false
    var isPaused = false
    var hasEnded = false
  }

  private let client: CopyClient
  private let turns: Turns
  private let end: @Sendable (KCopy.Notification) -> Void
  private let state = Locked(State())

  /// - Parameters:
  ///   - turns: where it ends, for neither who cancels it nor the last job before it can wait for that.
  ///   - end: called once.
  init(_ client: CopyClient, _ turns: Turns, end: @escaping @Sendable (KCopy.Notification) -> Void) {
    self.client = client
    self.turns = turns
    self.end = end
  }

  /// Waits for the jobs before a ticket of the client.
  func wait(for ticket: UInt64) {
    guard let observer = client.observe(through: ticket - 1, { self.change { $0.isDue = true } }) else {
      return change { $0.isDue = true }
    }
    let hasEnded = state.withLock { state in
      state.observer = observer
      return state.hasEnded
    }
    if hasEnded { client.stopObserving(observer) }
  }

  /// The end of a barrier whose turn has come.
  static var reached: KCopy.Notification {
    var progress = CopyProgress(destinations: [])
    progress.startedAt = kcs_realtime()
    return KCopy.Notification(wasCancelled: false, progress: progress)
  }

  var progress: CopyProgress { CopyProgress(destinations: []) }
  func map(of destination: Int) -> RangeMap { RangeMap(count: 0) }
  func setRate(_ rate: UInt64?) {}
  func setPriority(_ priority: Int) {}

  func pause() { change { $0.isPaused = true } }

  /// Of a pause for an error, which is what `taken` is about, it knows nothing.
  func resume(_ taken: @escaping @Sendable () -> Void) {
    change { $0.isPaused = false }
    turns.perform(taken)
  }

  func cancel() { leave(KCopy.Notification(wasCancelled: true, progress: progress)) }

  func suspend() { leave(KCopy.Notification(wasCancelled: false, wasSuspended: true, progress: progress)) }

  /// Ends before its turn.
  private func leave(_ notification: KCopy.Notification) {
    let (ends, observer) = state.withLock { state in
      defer { state.hasEnded = true }
      return (!state.hasEnded, state.observer)
    }
    guard ends else { return }
    if let observer { client.stopObserving(observer) }
    turns.perform { [self] in end(notification) }
  }

  private func change(_ change: (inout State) -> Void) {
    let ends = state.withLock { state in
      change(&state)
      guard state.isDue, !state.isPaused, !state.hasEnded else { return false }
      state.hasEnded = true
      return true
    }
    guard ends else { return }
    turns.perform { [self] in end(Self.reached) }
  }
}
