internal import CSystemShims
internal import Glibc
public import KCopy
internal import Locking
internal import Synchronization

/// Threads for opens, which may hang: each piece of work has a deadline, and work that finds all threads busy gets one more.
///
/// An `open(2)` on a hostile or dead file system cannot be ended by anybody (state D).  Who waits is answered at the
/// deadline all the same, and others don't wait behind it; threads that are too many leave when they have nothing to do.
public final class AdmissionThreads: Sendable {
  /// One piece of work and its deadline.
  private final class Work: Sendable {
    /// waiting -> running -> done; the deadline makes late of the first, stuck of the second.
    enum Stage: Int, AtomicRepresentable {
      case waiting, running, done, late, stuck
    }

    /// Whether it goes on elsewhere when it has been done here, and is told when that is over.
    let isLasting: Bool
    let body: @Sendable (_ end: @escaping @Sendable () -> Void) -> Void
    let late: @Sendable () -> Void
    let deadline: UInt64
    private let stage: Atomic<Stage>

    init(
      _ stage: Stage = .waiting, deadline: UInt64, isLasting: Bool,
      body: @escaping @Sendable (_ end: @escaping @Sendable () -> Void) -> Void, late: @escaping @Sendable () -> Void
    ) {
      self.stage = Atomic(stage)
      self.deadline = deadline
      self.isLasting = isLasting
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
    var threads = 0
    var busy = 0
  }

  private let state = Locked(State())
  private let work = Semaphore()
  private let watch = Semaphore()
  private let seconds: UInt64
  /// Threads that stay, and threads that there may be while opens hang.
  private static let fewest = 4
  private static let most = 68

  /// - Parameter seconds: the deadline of each piece of work, counted from when it was given.
  /// - Throws: `DeviceError` at the limit of threads.
  public init(seconds: UInt64 = 5) throws(DeviceError) {
    self.seconds = seconds
    for _ in 0..<Self.fewest { try addThread() }
    try SystemThread("kcopy-watch") { [self] in watchDeadlines() }.detach()
  }

  /// Does work on a thread of its own.
  ///
  /// - Parameters:
  ///   - body: the work; it learns by its own means that it came too late.
  ///   - late: called once if the deadline passes first.
  public func perform(_ body: @escaping @Sendable () -> Void, late: @escaping @Sendable () -> Void) {
    add(Work(deadline: nextDeadline, isLasting: false, body: { _ in body() }, late: late))
  }

  /// Does work on a thread of its own that is over when it says so: on another thread, for one, once a disk has answered.
  public func perform(
    lasting body: @escaping @Sendable (_ end: @escaping @Sendable () -> Void) -> Void, late: @escaping @Sendable () -> Void
  ) {
    add(Work(deadline: nextDeadline, isLasting: true, body: body, late: late))
  }

  /// Watches something that is done elsewhere.
  ///
  /// - Parameter late: called once if the deadline passes first.
  /// - Returns: to be called when it is over.
  public func watch(late: @escaping @Sendable () -> Void) -> @Sendable () -> Void {
    let item = Work(.running, deadline: nextDeadline, isLasting: true, body: { _ in }, late: late)
    state.withLock { $0.watched.append(item) }
    watch.signal()
    return { _ = item.advance(from: .running, to: .done) }
  }

  private var nextDeadline: UInt64 { kcs_monotonic() + seconds * 1_000_000_000 }

  private func add(_ item: Work) {
    let wantsThread = state.withLock { state in
      state.waiting.append(item)
      state.watched.append(item)
      return state.waiting.count > state.threads - state.busy && state.threads < Self.most
    }
    // Without one more thread the others carry on, and this work waits for them, until its deadline.
    if wantsThread { try? addThread() }
    work.signal()
    watch.signal()
  }

  private func addThread() throws(DeviceError) {
    state.withLock { $0.threads += 1 }
    do throws(DeviceError) {
      try SystemThread("kcopy-admit") { [self] in serve() }.detach()
    } catch {
      state.withLock { $0.threads -= 1 }
      throw error
    }
  }

  private func serve() {
    while true {
      work.wait()
      // A signal whose work was late leaves nothing to take.
      guard let item = take() else { continue }
      if item.advance(from: .waiting, to: .running) {
        // It may be late by then; and then nobody asks any more.
        let end: @Sendable () -> Void = { _ = item.advance(from: .running, to: .done) }
        item.body(end)
        if !item.isLasting { end() }
      }
      guard stays() else { return }
    }
  }

  private func take() -> Work? {
    state.withLock { state in
      guard !state.waiting.isEmpty else { return nil }
      state.busy += 1
      return state.waiting.removeFirst()
    }
  }

  /// A thread that has done its work, whether it is one of those that stay.
  private func stays() -> Bool {
    state.withLock { state in
      state.busy -= 1
      guard state.waiting.isEmpty, state.threads - state.busy > Self.fewest else { return true }
      state.threads -= 1
      return false
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
    if item.advance(from: .waiting, to: .late) {
      state.withLock { $0.waiting.removeAll { $0 === item } }
      item.late()
    } else if item.advance(from: .running, to: .stuck) {
      item.late()
    }
  }
}
