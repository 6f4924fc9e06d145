internal import CopyJobs
internal import Locking

/// An open file: what it needs to remember between two requests.
final class Handle: Sendable {
  enum Kind: Sendable {
    /// A rendered text; a read at 0 renders anew, later reads see the same.
    case text
    /// `wait` or `result`: a stream of one text, which comes when the job is final.
    case waiting(Job, isResult: Bool)
    /// `jobs/NAME` or `submit`.
    case submission(Submission)
    /// `ctl`.
    case control(Job)
    case directory([(name: String, node: Node)])
  }

  let kind: Kind
  /// A rendered text, the rest of a stream's text, or the beginning of a command.
  let bytes: Locked<[UInt8]?> = Locked(nil)

  /// Who wakes those who poll this open file: the last poll's, in place of the one before.
  private let poller = Locked<(job: Job, observer: UInt64)?>(nil)

  init(_ kind: Kind) { self.kind = kind }

  /// Remembers whom a job tells for this open file; the one before is told no more.
  func setPoller(_ job: Job, _ observer: UInt64?) {
    let before = poller.withLock { poller in
      defer { poller = observer.map { (job, $0) } }
      return poller
    }
    before?.job.stopObserving(before?.observer ?? 0)
  }

  /// The last descriptor is closed.
  func close() {
    if case .waiting(let job, _) = kind { setPoller(job, nil) }
  }
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
