internal import CSystemShims
internal import KCopy
internal import Locking

/// The jobs of an earlier daemon on their way back to their devices: a few at a time, of each uid those that came first before
/// the others, and the uids in turns: paths of one that hang keep nobody else's jobs waiting.
///
/// A predecessor that was killed still holds what its last writes are on their way to (measured: for more than a second, and
/// as long as the device takes), so who finds a device busy tries again for a while.
final class Resuming: Sendable {
  private struct Item {
    var due: UInt64
    let uid: UInt32
    let body: @Sendable (_ isOver: @escaping @Sendable () -> Void) -> Void
  }

  /// What waits of one uid: those that were never tried in their order, and those that are to be tried again.
  private struct Queue {
    var fresh: [Item] = []
    var next = 0
    var again: [Item] = []
    var underWay = 0

    var isEmpty: Bool { next == fresh.count && again.isEmpty }

    /// The next one whose time has come.
    mutating func take(_ now: UInt64) -> Item? {
      if let due = again.firstIndex(where: { $0.due <= now }) { return again.remove(at: due) }
      guard next < fresh.count else { return nil }
      defer { next += 1 }
      return fresh[next]
    }
  }

  private struct State {
    var queues: [UInt32: Queue] = [:]
    /// The uids that have a queue; the first is the next to have its turn.
    var turns: [UInt32] = []
    var underWay = 0
  }

  private let state = Locked(State())
  private let change = Semaphore()

  private static let most = 8
  private static let mostOfUid = 4
  private static let pause: UInt64 = 50_000_000
  /// How long a device may be busy before its job is parked; nanoseconds.
  static let patience: UInt64 = 10_000_000_000

  init() {}

  /// Adds one more.
  ///
  /// - Parameters:
  ///   - uid: whose it is.
  ///   - later: whether it was tried just now.
  ///   - body: begins it; what it is handed is to be called when it isn't under way any more.
  func add(for uid: UInt32, later: Bool = false, _ body: @escaping @Sendable (_ isOver: @escaping @Sendable () -> Void) -> Void) {
    let item = Item(due: later ? kcs_monotonic() + Self.pause : 0, uid: uid, body: body)
    state.withLock { state in
      if state.queues[uid] == nil { state.turns.append(uid) }
      if later { state.queues[uid, default: Queue()].again.append(item) } else { state.queues[uid, default: Queue()].fresh.append(item) }
    }
    change.signal()
  }

  /// Begins what there is, one after the other, until nothing is left or somebody says that it is enough.
  ///
  /// - Throws: `DeviceError` at the limit of threads.
  func start(until isEnough: @escaping @Sendable () -> Bool) throws(DeviceError) {
    guard !isDone else { return }
    try SystemThread("kcopy-resume") { [self] in
      while !isDone, !isEnough() {
        let (item, next) = take(kcs_monotonic())
        if let item {
          begin(item)
        } else if let next {
          change.wait(until: next)
        } else {
          change.wait()
        }
      }
    }.detach()
  }

  private var isDone: Bool { state.withLock { $0.queues.isEmpty && $0.underWay == 0 } }

  private func take(_ now: UInt64) -> (item: Item?, next: UInt64?) {
    state.withLock { state in
      guard state.underWay < Self.most else { return (nil, nil) }
      for (place, uid) in state.turns.enumerated() {
        guard state.queues[uid, default: Queue()].underWay < Self.mostOfUid, let item = state.queues[uid]?.take(now) else { continue }
        state.queues[uid]?.underWay += 1
        state.underWay += 1
        state.turns.append(state.turns.remove(at: place))
        return (item, nil)
      }
      let waiting = state.queues.values.filter { $0.underWay < Self.mostOfUid }
      return (nil, waiting.lazy.flatMap(\.again).map(\.due).min())
    }
  }

  private func begin(_ item: Item) {
    let isCounted = Locked(false)
    item.body { [self] in
      // An open that hangs is over when its time is, and once more when it comes back.
      let isFirst = isCounted.withLock { counted in
        defer { counted = true }
        return !counted
      }
      guard isFirst else { return }
      state.withLock { state in
        state.underWay -= 1
        state.queues[item.uid]?.underWay -= 1
        guard let queue = state.queues[item.uid], queue.isEmpty, queue.underWay == 0 else { return }
        state.queues[item.uid] = nil
        state.turns.removeAll { $0 == item.uid }
      }
      change.signal()
    }
  }
}
