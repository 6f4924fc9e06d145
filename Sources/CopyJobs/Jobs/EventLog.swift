internal import CSystemShims
internal import Locking
internal import Synchronization

/// The last changes of state, for those who follow them: each reader has a place of its own, and nobody waits for another.
///
/// As `/dev/kmsg` has it, a reader who is too slow is told how many it has missed, and goes on with the oldest that is kept.
/// While there is no reader nothing is kept.
public final class EventLog: Sendable {
  /// One change of one job.
  public struct Event: Sendable {
    public var sequence: UInt64
    /// Nanoseconds since the epoch.
    public var time: UInt64
    public var job: Job
    public var state: JobState
    public var readError: Bool
    public var writeErrors: UInt64
  }

  /// What a reader finds.
  public enum Next: Sendable {
    case event(Event)
    /// So many were overwritten before it came to read them.
    case lost(UInt64)
  }

  /// Events that are kept for slow readers.
  static let kept = 65536

  private struct State {
    /// A ring once it is full.
    var ring: [Event] = []
    /// The number of the event that came first into it.
    var first: UInt64 = 1
    var next: UInt64 = 1
    var readers = 0
    var waiting: [UInt64: @Sendable () -> Void] = [:]
    var lastWaiter: UInt64 = 0

    func index(_ sequence: UInt64) -> Int { Int((sequence - first) % UInt64(EventLog.kept)) }
    var oldest: UInt64 { next - UInt64(ring.count) }
  }

  private let state = Locked(State())
  /// Whether somebody waits: asked at every change, and mostly nobody does.
  private let hasWaiters = Atomic(false)

  func append(_ job: Job, _ jobState: JobState, readError: Bool, writeErrors: UInt64) {
    state.withLock { state in
      defer { state.next += 1 }
      guard state.readers > 0 else { return }
      let event = Event(
        sequence: state.next, time: kcs_realtime(), job: job, state: jobState, readError: readError, writeErrors: writeErrors)
      if state.ring.isEmpty { state.first = state.next }
      if state.ring.count < Self.kept {
        state.ring.append(event)
      } else {
        state.ring[state.index(state.next)] = event
      }
    }
  }

  /// Calls those who wait, each once.
  func wake() {
    guard hasWaiters.load(ordering: .acquiring) else { return }
    let waiting = state.withLock { state in
      hasWaiters.store(false, ordering: .releasing)
      defer { state.waiting = [:] }
      return state.waiting.values
    }
    for body in waiting { body() }
  }

  /// One more reader.
  ///
  /// - Returns: its place: behind what has happened so far.
  public func open() -> UInt64 {
    state.withLock { state in
      state.readers += 1
      return state.next
    }
  }

  /// A reader has gone.
  public func close() {
    state.withLock { state in
      state.readers -= 1
      if state.readers == 0 { state.ring = [] }
    }
  }

  /// What is at a place, which is moved on; `nil` when nothing has happened since.
  public func next(_ place: inout UInt64) -> Next? {
    state.withLock { state in
      guard place < state.next else { return nil }
      if place < state.oldest {
        defer { place = state.oldest }
        return .lost(state.oldest - place)
      }
      defer { place += 1 }
      return .event(state.ring[state.index(place)])
    }
  }

  /// Calls `body` once, when something happens that is not before a place.
  ///
  /// - Returns: what to give to `stopWaiting`; `nil`, and no call, when it has happened already.
  public func wait(at place: UInt64, _ body: @escaping @Sendable () -> Void) -> UInt64? {
    state.withLock { state in
      guard place >= state.next else { return nil }
      state.lastWaiter += 1
      state.waiting[state.lastWaiter] = body
      hasWaiters.store(true, ordering: .releasing)
      return state.lastWaiter
    }
  }

  public func stopWaiting(_ waiter: UInt64) {
    state.withLock { _ = $0.waiting.removeValue(forKey: waiter) }
  }

  /// The daemon stops: nobody waits any longer.
  func endWaits() { wake() }
}
