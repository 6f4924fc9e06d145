internal import CopyJobs
internal import Locking

/// An open file: what it needs to remember between two requests.
final class Handle: Sendable {
  enum Kind: Sendable {
    /// A rendered text; a read at 0 renders anew, later reads see the same.
    case text
    /// `status`: a text that also tells who polls it that the state has changed since it was read.
    case status(Job, StatusReader)
    /// `events`.
    case events(EventReader)
    /// A draft, and who opened it.
    case draft(UInt64, uid: UInt32, gid: UInt32)
    /// `wait` or `result`: a stream of one text, which comes when the job is final.
    case waiting(Job, isResult: Bool)
    /// `jobs/NAME`, `submit` or `check`.
    case submission(Submission)
    /// `ctl`.
    case control(Job, Line)
    /// A file of a client that can be written; read, it is a text.
    case value(CopyClient, ClientParameter, Line)
    /// `wait` of a client.
    case turn(ClientTurn)
    case directory(Listing)
  }

  let kind: Kind
  /// A rendered text, or the rest of a stream's text.
  let bytes: Locked<[UInt8]?> = Locked(nil)

  /// Who wakes those who poll this open file, and how they are struck off: the last poll's, in place of the one before.
  private let poller = Locked<(observer: UInt64, stop: @Sendable (UInt64) -> Void)?>(nil)

  init(_ kind: Kind) { self.kind = kind }

  /// Remembers whom a job or a client tells for this open file; the one before is told no more.
  func setPoller(_ observer: UInt64?, stop: @escaping @Sendable (UInt64) -> Void) {
    replacePoller(observer.map { ($0, stop) })
  }

  private func replacePoller(_ next: (observer: UInt64, stop: @Sendable (UInt64) -> Void)?) {
    let before = poller.withLock { poller in
      defer { poller = next }
      return poller
    }
    if let before { before.stop(before.observer) }
  }

  /// The next bytes of a stream's one text, which is rendered when it is first read.
  func take(_ size: Int, of text: () -> [UInt8]) -> ArraySlice<UInt8> {
    bytes.withLock { rest in
      let text = rest ?? text()
      rest = Array(text.dropFirst(size))
      return text.prefix(size)
    }
  }

  /// The next bytes of a stream's text that was begun; `nil` when none was.
  func takeRest(_ size: Int) -> ArraySlice<UInt8>? {
    bytes.withLock { rest in
      guard let text = rest else { return nil }
      rest = Array(text.dropFirst(size))
      return text.prefix(size)
    }
  }

  /// The last descriptor is closed.
  func close() { replacePoller(nil) }
}

/// The open files, by the number that the kernel names them by; a number is checked, never trusted.
final class Handles: Sendable {
  private struct State {
    var open: [UInt64: Handle] = [:]
    var next: UInt64 = 1
  }

  private let state = Locked(State())

  func add(_ handle: Handle) -> UInt64 {
    state.withLock { state in
      defer { state.next += 1 }
      state.open[state.next] = handle
      return state.next
    }
  }

  subscript(number: UInt64) -> Handle? { state.withLock { $0.open[number] } }

  func remove(_ number: UInt64) -> Handle? { state.withLock { $0.open.removeValue(forKey: number) } }
}
