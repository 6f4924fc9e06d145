internal import Locking

/// Threads that devices had and need no more, for the next ones: a job of a few sectors would otherwise cost more for making
/// the thread that flushes and closes than for its transfers.
///
/// One that hangs is not spare, so it keeps nobody.
final class SpareThreads: Sendable {
  typealias Body = @Sendable () -> Void

  /// A body until it is taken, so that no thread holds it for as long as it lasts.
  private final class First: Sendable {
    private let body: Locked<Body?>
    init(_ body: @escaping Body) { self.body = Locked(body) }
    func take() -> Body? { body.withLock { $0.take() } }
  }

  private struct State {
    var bodies: [(name: String, body: Body)] = []
    /// Threads that wait for a body, without those that one is given to.
    var idle = 0
  }

  static let shared = SpareThreads(most: 4)

  private let most: Int
  private let state = Locked(State())
  private let given = Semaphore()

  /// - Parameter most: how many are kept.
  init(most: Int) { self.most = most }

  /// Runs the body on a thread that is spare, or on a new one; the kernel shows it under `name`.
  ///
  /// - Throws: `DeviceError` with EAGAIN when none is spare and the limit of threads is reached; those of `ThreadRights.giveUp()`.
  func run(_ name: String, _ body: @escaping Body) throws(DeviceError) {
    let isGiven = state.withLock { state in
      guard state.idle > 0 else { return false }
      state.idle -= 1
      state.bodies.append((name, body))
      return true
    }
    if isGiven { return given.signal() }
    let first = First(body)
    try SystemThread(withoutRights: name) { [self] in serve(first, name) }.detach()
  }

  private func serve(_ first: First, _ name: String) {
    var name = name
    run(first.take)
    while stays() {
      given.wait()
      run {
        let next = state.withLock { $0.bodies.removeFirst() }
        if next.name != name { SystemThread.rename(next.name) }
        name = next.name
        return next.body
      }
    }
  }

  /// What a body holds is let go before its thread waits.
  private func run(_ take: () -> Body?) { take()?() }

  private func stays() -> Bool {
    state.withLock { state in
      guard state.idle < most else { return false }
      state.idle += 1
      return true
    }
  }
}
