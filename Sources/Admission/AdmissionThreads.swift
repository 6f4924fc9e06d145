internal import CSystemShims
internal import Glibc
public import KCopy
internal import Locking
internal import Synchronization

/// Threads for opens, which may hang: each piece of work has a deadline, and a thread that is stuck is replaced.
///
/// An `open(2)` on a hostile or dead file system cannot be ended by anybody (state D).  Who waits is answered at the
/// deadline all the same; the thread leaves once its open returns.
public final class AdmissionThreads: Sendable {
  /// One piece of work and its deadline.
  private final class Work: Sendable {
    /// waiting -> running -> done; the deadline makes late of the first, stuck of the second.
    enum Stage: Int, AtomicRepresentable {
      case waiting, running, done, late, stuck
    }

    let body: @Sendable () -> Void
    let late: @Sendable () -> Void
    let deadline: UInt64
    private let stage = Atomic(Stage.waiting)

    init(deadline: UInt64, body: @escaping @Sendable () -> Void, late: @escaping @Sendable () -> Void) {
      self.deadline = deadline
      self.body = body
      self.late = late
    }

    func advance(from old: Stage, to new: Stage) -> Bool {
      stage.compareExchange(expected: old, desired: new, ordering: .acquiringAndReleasing).exchanged
    }

    var isDone: Bool { stage.load(ordering: .relaxed) == .done }
  }

  private struct State {
    var waiting: [Work] = []
    /// In the order of their deadlines, which is that of their coming.
    var watched: [Work] = []
    var stuck = 0
    /// Threads that took the place of stuck ones: so many are too many once those come back.
    var added = 0
  }

  private let state = Locked(State())
  private let work = Semaphore()
  private let watch = Semaphore()
  private let seconds: UInt64
  private static let threads = 4
  private static let mostStuck = 64

  /// - Parameter seconds: the deadline of each piece of work, counted from when it was given.
  /// - Throws: `DeviceError` at the limit of threads.
  public init(seconds: UInt64 = 5) throws(DeviceError) {
    self.seconds = seconds
    for _ in 0..<Self.threads { try addThread() }
    try SystemThread("kcopy-watch") { [self] in watchDeadlines() }.detach()
  }

  /// Does work on a thread of its own.
  ///
  /// - Parameters:
  ///   - body: the work; it learns by its own means that it came too late.
  ///   - late: called once if the deadline passes first.
  public func perform(_ body: @escaping @Sendable () -> Void, late: @escaping @Sendable () -> Void) {
    let item = Work(deadline: kcs_monotonic() + seconds * 1_000_000_000, body: body, late: late)
    state.withLock { state in
      state.waiting.append(item)
      state.watched.append(item)
    }
    work.signal()
    watch.signal()
  }

  private func addThread() throws(DeviceError) {
    try SystemThread("kcopy-admit") { [self] in serve() }.detach()
  }

  private func serve() {
    while true {
      work.wait()
      guard let item = state.withLock({ $0.waiting.isEmpty ? nil : $0.waiting.removeFirst() }),
        item.advance(from: .waiting, to: .running)
      else { continue }
      item.body()
      if !item.advance(from: .running, to: .done), leavesAfterStuck() { return }
    }
  }

  /// Whether another thread has taken the place of one that was stuck; where none could be made, this one is needed again.
  private func leavesAfterStuck() -> Bool {
    state.withLock { state in
      state.stuck -= 1
      guard state.added > 0 else { return false }
      state.added -= 1
      return true
    }
  }

  private func watchDeadlines() {
    while true {
      let next = state.withLock { state in
        state.watched.removeAll { $0.isDone }
        return state.watched.first
      }
      guard let next else {
        watch.wait()
        continue
      }
      guard kcs_monotonic() >= next.deadline else {
        watch.wait(until: next.deadline)
        continue
      }
      state.withLock { _ = $0.watched.removeFirst() }
      expire(next)
    }
  }

  private func expire(_ item: Work) {
    if item.advance(from: .waiting, to: .late) { return item.late() }
    guard item.advance(from: .running, to: .stuck) else { return }
    item.late()
    let stuck = state.withLock { state in
      state.stuck += 1
      return state.stuck
    }
    // Without a new thread the others carry on, and later work is late sooner.
    guard stuck <= Self.mostStuck, (try? addThread()) != nil else { return }
    state.withLock { $0.added += 1 }
  }
}
