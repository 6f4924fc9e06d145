internal import CopyJobs
internal import FuseKit
internal import Locking

/// One open `events`: its place among what has happened, and the rest of a record that was read in part.
final class EventReader: Sendable {
  private struct State {
    var place: UInt64
    var rest: ArraySlice<UInt8> = []
  }

  private let events: EventLog
  private let reader: JobReader
  private let state: Locked<State>
  /// Records that are rendered at once, so that a small read of a long log takes a short time.
  private static let most = 512

  init(_ events: EventLog, for requester: Requester) {
    self.events = events
    reader = JobReader(requester)
    state = Locked(State(place: events.open()))
  }

  func close() { events.close() }

  /// The next bytes, of records about jobs that the reader may read; `nil` when nothing has happened.
  func take(_ size: Int) -> ArraySlice<UInt8>? {
    state.withLock { state in
      fill(&state, size)
      guard !state.rest.isEmpty else { return nil }
      defer { state.rest = state.rest.dropFirst(size) }
      return state.rest.prefix(size)
    }
  }

  /// Gives back what nobody took.
  func putBack(_ bytes: ArraySlice<UInt8>) { state.withLock { $0.rest = bytes + $0.rest } }

  /// Whether a read would find something.
  var hasNews: Bool {
    state.withLock { state in
      fill(&state, 1)
      return !state.rest.isEmpty
    }
  }

  /// Calls `body` once something more happens; it need not be for this reader.
  ///
  /// - Returns: what to give to `stopWaiting`; `nil` when it has happened already.
  func wait(_ body: @escaping @Sendable () -> Void) -> UInt64? {
    events.wait(at: state.withLock { $0.place }, body)
  }

  func stopWaiting(_ waiter: UInt64) { events.stopWaiting(waiter) }

  private func fill(_ state: inout State, _ size: Int) {
    guard state.rest.count < size else { return }
    var text = Array(state.rest)
    var count = 0
    while text.count < size, count < Self.most, let next = events.next(&state.place) {
      switch next {
      case .lost(let lost): Words.appendLine("lost", lost, to: &text)
      case .event(let event):
        guard event.job.isReadable(by: reader) else { continue }
        EventText.append(event, to: &text)
      }
      count += 1
    }
    state.rest = text[...]
  }
}

extension JobReader {
  init(_ requester: Requester) { self.init(uid: requester.uid, gid: requester.gid, pid: requester.pid) }
}
