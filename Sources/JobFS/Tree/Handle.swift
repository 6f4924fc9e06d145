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
  /// Who opened it.
  let uid: UInt32
  /// Bytes that its uid is charged for.
  let charged = Locked(0)
  /// A rendered text, or the rest of a stream's text.
  let bytes: Locked<[UInt8]?> = Locked(nil)

  /// Who wakes those who poll this open file, and how they are struck off: the last poll's, in place of the one before.
  private let poller = Locked<(observer: UInt64, stop: @Sendable (UInt64) -> Void)?>(nil)

  init(_ kind: Kind, openedBy uid: UInt32) {
    self.kind = kind
    self.uid = uid
  }

  var isSubmission: Bool { if case .submission = kind { true } else { false } }

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
///
/// What is kept for each is memory of the daemon's: a uid has so much of it and no more, root aside.
final class Handles: Sendable {
  private struct Account {
    var files = 0
    var submissions = 0
    var bytes = 0
  }

  private struct State {
    var open: [UInt64: Handle] = [:]
    var next: UInt64 = 1
    var accounts: [UInt32: Account] = [:]
  }

  private let state = Locked(State())

  /// Open files of a uid; those that records are written to, of which each may hold 64 KiB and more; and the bytes of the texts
  /// and lists that it has begun to read.
  static let mostFiles = 16384
  static let mostSubmissions = 1024
  static let mostBytes = 256 << 20

  /// - Returns: the number; `nil` when the uid has as many open as it may.
  func add(_ handle: Handle) -> UInt64? {
    state.withLock { state in
      var account = state.accounts[handle.uid] ?? Account()
      account.files += 1
      if handle.isSubmission { account.submissions += 1 }
      guard handle.uid == 0 || account.files <= Self.mostFiles && account.submissions <= Self.mostSubmissions else { return nil }
      state.accounts[handle.uid] = account
      defer { state.next += 1 }
      state.open[state.next] = handle
      return state.next
    }
  }

  subscript(number: UInt64) -> Handle? { state.withLock { $0.open[number] } }

  /// Charges an open file for what is kept of it from now on, in place of what was.
  ///
  /// - Returns: whether its uid may have so much.
  func charge(_ handle: Handle, bytes: Int) -> Bool {
    state.withLock { state in
      let known = state.accounts[handle.uid]?.bytes ?? 0
      let before = handle.charged.withLock { $0 }
      guard handle.uid == 0 || known - before + bytes <= Self.mostBytes else { return false }
      state.accounts[handle.uid]?.bytes = known - before + bytes
      handle.charged.withLock { $0 = bytes }
      return true
    }
  }

  func remove(_ number: UInt64) -> Handle? {
    state.withLock { state in
      guard let handle = state.open.removeValue(forKey: number), var account = state.accounts[handle.uid] else { return nil }
      account.files -= 1
      if handle.isSubmission { account.submissions -= 1 }
      account.bytes -= handle.charged.withLock { $0 }
      state.accounts[handle.uid] = account.files == 0 ? nil : account
      return handle
    }
  }
}
