internal import CSystemShims
internal import Glibc
public import KCopy
internal import Locking
internal import Synchronization

/// Threads for opens, which may hang: each piece of work has a deadline, and work that finds all threads busy gets one more.
///
/// An `open(2)` on a hostile or dead file system cannot be ended by anybody (state D).  Who waits is answered at the
/// deadline all the same, and others don't wait behind it: a uid keeps only so many threads busy, what more it wants waits for
/// those, and uids that wait take turns.  Threads that are too many leave when they have nothing to do.
public final class AdmissionThreads: Sendable {
  /// One piece of work and its deadline.
  private final class Work: Sendable {
    /// waiting -> running -> done; the deadline makes late of the first, stuck of the second.
    enum Stage: Int, AtomicRepresentable {
      case waiting, running, done, late, stuck
    }

    /// Whether it goes on elsewhere when it has been done here, and is told when that is over.
    let isLasting: Bool
    /// Whom its thread is charged to.
    let uid: UInt32
    let body: @Sendable (_ end: @escaping @Sendable () -> Void) -> Void
    let late: @Sendable () -> Void
    let deadline: UInt64
    private let stage: Atomic<Stage>

    init(
      _ stage: Stage = .waiting, uid: UInt32, deadline: UInt64, isLasting: Bool,
      body: @escaping @Sendable (_ end: @escaping @Sendable () -> Void) -> Void, late: @escaping @Sendable () -> Void
    ) {
      self.stage = Atomic(stage)
      self.uid = uid
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
    /// What waits of each uid that has something waiting.
    var waiting: [UInt32: [Work]] = [:]
    /// Those uids; the first is the next to be served.
    var turns: [UInt32] = []
    /// In the order of their deadlines, which is that of their coming.
    var watched: [Work] = []
    var threads = 0
    var busy = 0
    /// Threads that each uid keeps busy.
    var busyFor: [UInt32: Int] = [:]

    /// Whether a uid may keep one more thread busy.
    func hasRoom(_ uid: UInt32) -> Bool {
      if uid == 0 { return busyFor[0] ?? 0 < mostOfRoot }
      return busyFor[uid] ?? 0 < mostOfUid && busy - (busyFor[0] ?? 0) < most - mostOfRoot
    }

    mutating func add(_ item: Work) {
      if waiting[item.uid] == nil { turns.append(item.uid) }
      waiting[item.uid, default: []].append(item)
    }

    /// The next piece of work that may begin.
    mutating func take() -> Work? {
      guard let turn = turns.firstIndex(where: hasRoom) else { return nil }
      let uid = turns.remove(at: turn)
      guard var items = waiting.removeValue(forKey: uid) else { return nil }
      let item = items.removeFirst()
      if !items.isEmpty {
        waiting[uid] = items
        turns.append(uid)
      }
      busy += 1
      busyFor[uid, default: 0] += 1
      return item
    }

    mutating func remove(_ item: Work) {
      waiting[item.uid]?.removeAll { $0 === item }
      guard waiting[item.uid]?.isEmpty == true else { return }
      waiting[item.uid] = nil
      turns.removeAll { $0 == item.uid }
    }

    mutating func done(for uid: UInt32) {
      busy -= 1
      if let count = busyFor[uid] { busyFor[uid] = count == 1 ? nil : count - 1 }
    }

    /// Whether something waits that may begin.
    var hasWork: Bool { turns.contains(where: hasRoom) }

    /// How much of what waits may begin.
    var ready: Int {
      waiting.reduce(0) { sum, entry in
        let room = (entry.key == 0 ? mostOfRoot : mostOfUid) - (busyFor[entry.key] ?? 0)
        return sum + min(entry.value.count, hasRoom(entry.key) ? room : 0)
      }
    }
  }

  private let state = Locked(State())
  private let work = Semaphore()
  private let watch = Semaphore()
  private let seconds: UInt64
  /// Threads that stay, threads that there may be while opens hang, and how many of them one uid may keep busy; what root may
  /// nobody else takes.
  private static let fewest = 4
  private static let most = 260
  static let mostOfUid = 16
  private static let mostOfRoot = 64

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
  ///   - uid: who wants it done.
  ///   - body: the work; it learns by its own means that it came too late.
  ///   - late: called once if the deadline passes first.
  public func perform(for uid: UInt32, _ body: @escaping @Sendable () -> Void, late: @escaping @Sendable () -> Void) {
    add(Work(uid: uid, deadline: nextDeadline, isLasting: false, body: { _ in body() }, late: late))
  }

  /// Does work on a thread of its own that is over when it says so: on another thread, for one, once a disk has answered.
  public func perform(
    for uid: UInt32, lasting body: @escaping @Sendable (_ end: @escaping @Sendable () -> Void) -> Void,
    late: @escaping @Sendable () -> Void
  ) {
    add(Work(uid: uid, deadline: nextDeadline, isLasting: true, body: body, late: late))
  }

  /// Watches something that is done elsewhere.
  ///
  /// - Parameter late: called once if the deadline passes first.
  /// - Returns: to be called when it is over.
  public func watch(late: @escaping @Sendable () -> Void) -> @Sendable () -> Void {
    let item = Work(.running, uid: 0, deadline: nextDeadline, isLasting: true, body: { _ in }, late: late)
    state.withLock { $0.watched.append(item) }
    watch.signal()
    return { _ = item.advance(from: .running, to: .done) }
  }

  private var nextDeadline: UInt64 { kcs_monotonic() + seconds * 1_000_000_000 }

  private func add(_ item: Work) {
    let wantsThread = state.withLock { state in
      state.add(item)
      state.watched.append(item)
      // Those that are idle have been signalled, or are about to be, for work that came before.
      let idle = state.threads - state.busy
      return state.ready > idle && state.threads < Self.most
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
      // A signal leaves nothing to take when its work was late, or has to wait for others of its uid.
      guard let item = state.withLock({ $0.take() }) else { continue }
      if item.advance(from: .waiting, to: .running) {
        // It may be late by then; and then nobody asks any more.
        let end: @Sendable () -> Void = { _ = item.advance(from: .running, to: .done) }
        item.body(end)
        if !item.isLasting { end() }
      }
      guard stays(after: item) else { return }
    }
  }

  /// A thread that has done its work, whether it is one of those that stay.
  private func stays(after item: Work) -> Bool {
    // What its user did to the thread, others shall not wait for; a new one is like whoever makes it.
    if item.uid != 0, kcs_is_scheduled_as_process() == 0 {
      state.withLock { state in
        state.done(for: item.uid)
        state.threads -= 1
      }
      watch.signal()
      return false
    }
    let (stays, hasWork) = state.withLock { state in
      state.done(for: item.uid)
      // What had to wait for this end had its signal when it came.
      let hasWork = state.hasWork
      if hasWork || state.threads - state.busy <= Self.fewest { return (true, hasWork) }
      state.threads -= 1
      return (false, false)
    }
    if hasWork { work.signal() }
    return stays
  }

  /// Makes threads in place of those that left, as far as they are wanted.
  private func replaceThreads() {
    while state.withLock({ $0.threads < Self.fewest || $0.hasWork && $0.threads == $0.busy && $0.threads < Self.most }) {
      // There is none to be had: whoever comes next tries again.
      do { try addThread() } catch { return }
      work.signal()
    }
  }

  private func watchDeadlines() {
    while true {
      replaceThreads()
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
      state.withLock { $0.remove(item) }
      item.late()
    } else if item.advance(from: .running, to: .stuck) {
      item.late()
    }
  }
}
