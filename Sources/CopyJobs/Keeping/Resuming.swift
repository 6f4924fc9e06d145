internal import CSystemShims
internal import KCopy
internal import Locking

/// The jobs of an earlier daemon on their way back to their devices: a few at a time, those that came first before the others.
///
/// A predecessor that was killed still holds what its last writes are on their way to (measured: for more than a second, and
/// as long as the device takes), so who finds a device busy tries again for a while.
final class Resuming: Sendable {
  private struct Item {
    var due: UInt64
    let body: @Sendable (_ isOver: @escaping @Sendable () -> Void) -> Void
  }

  private struct State {
    var items: [Item] = []
    var underWay = 0
  }

  private let state = Locked(State())
  private let change = Semaphore()

  private static let most = 4
  private static let pause: UInt64 = 50_000_000
  /// How long a device may be busy before its job is parked; nanoseconds.
  static let patience: UInt64 = 10_000_000_000

  init() {}

  /// Adds one more.
  ///
  /// - Parameters:
  ///   - later: whether it was tried just now.
  ///   - body: begins it; what it is handed is to be called when it isn't under way any more.
  func add(later: Bool = false, _ body: @escaping @Sendable (_ isOver: @escaping @Sendable () -> Void) -> Void) {
    let due = later ? kcs_monotonic() + Self.pause : 0
    state.withLock { $0.items.append(Item(due: due, body: body)) }
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

  private var isDone: Bool { state.withLock { $0.items.isEmpty && $0.underWay == 0 } }

  private func take(_ now: UInt64) -> (item: Item?, next: UInt64?) {
    state.withLock { state in
      guard state.underWay < Self.most else { return (nil, nil) }
      guard let index = state.items.firstIndex(where: { $0.due <= now }) else { return (nil, state.items.map(\.due).min()) }
      state.underWay += 1
      return (state.items.remove(at: index), nil)
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
      state.withLock { $0.underWay -= 1 }
      change.signal()
    }
  }
}
