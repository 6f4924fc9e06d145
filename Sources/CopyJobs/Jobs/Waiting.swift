internal import KCopy
internal import Locking

/// The wait of a job, which has all that it needs, for those that it comes after.
final class Waiting: Sendable {
  /// What ends the wait.
  enum End: Sendable {
    /// All of them are done.
    case due
    /// One of them has failed or was cancelled.
    case hopeless
    case cancelled
    /// The rest is left to the next daemon.
    case suspended
  }

  private struct State {
    var left: Int
    var isOver = false
    var observers: [(job: UInt64, observer: UInt64)] = []
  }

  private let turns: Turns
  private let end: @Sendable (Waiting, End) -> Void
  private let state: Locked<State>

  /// - Parameters:
  ///   - count: the jobs that it waits for.
  ///   - turns: where it ends: neither who cancels it nor the last job before it can wait for what comes next.
  ///   - end: called once.
  init(for count: Int, _ turns: Turns, end: @escaping @Sendable (Waiting, End) -> Void) {
    self.turns = turns
    self.end = end
    state = Locked(State(left: count))
  }

  /// Takes down whom to tell that nobody listens any more.
  func observes(_ job: UInt64, _ observer: UInt64) { state.withLock { $0.observers.append((job, observer)) } }

  /// What `observes` was told.
  var observers: [(job: UInt64, observer: UInt64)] { state.withLock { $0.observers } }

  /// One of them has ended.
  func predecessorEnded(isDone: Bool) {
    guard isDone else { return over(.hopeless) }
    let isDue = state.withLock { state in
      state.left -= 1
      return state.left == 0
    }
    if isDue { over(.due) }
  }

  func cancel() { over(.cancelled) }

  func suspend() { over(.suspended) }

  private func over(_ what: End) {
    let isFirst = state.withLock { state in
      defer { state.isOver = true }
      return !state.isOver
    }
    if isFirst { turns.perform { [self] in end(self, what) } }
  }
}
