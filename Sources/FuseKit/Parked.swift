internal import CFuse3
internal import Glibc
internal import Locking

/// A request that waits for its answer, and that a signal to its caller can end.
///
/// Exactly one party gets the token. Three cases:
/// 1. ``take()`` is first: the taker answers, and `onInterrupt` is never called.
/// 2. The kernel's interrupt is first: `onInterrupt` is called, once, then the caller gets EINTR; `take` gives nil.
/// 3. Nobody takes it and the object goes away: the token's own end answers EIO.
///
/// `onInterrupt` runs on a thread of the session, or inside `park`, with no lock of this module held. It is there to
/// strike the waiter off a list; it may call ``take()`` of other requests, but must not wait for somebody who parks.
public final class Parked<Reply: ReplyToken & ~Copyable>: Sendable {
  private let waiter: Waiter<Reply>

  /// - Parameter raw: the libfuse request of `reply`.
  init(_ reply: consuming Reply, raw: OpaquePointer, onInterrupt: @escaping @Sendable () -> Void) {
    waiter = Waiter(reply, raw: raw, onInterrupt: onInterrupt)
    waiter.register()
  }

  /// The token, to the first who asks for it.
  public func take() -> Reply? {
    waiter.take()
  }

  deinit {
    _ = waiter.take()
  }
}

/// What libfuse's interrupt function is given: it can't be told the type of a reply.
private class Interruptible: @unchecked Sendable {
  func interrupted() {}
}

/// The state of a ``Parked``, apart from it so that libfuse's reference does not keep the parked object itself alive.
///
/// The order is the one that is free of races with libfuse 3.14, which calls the interrupt function with the request
/// locked (`req->lock`), and frees the request at its answer:
/// - The function is registered before anybody else can answer. It may be called during the registration, on this
///   thread, which touches the request afterwards: so until then it only leaves a note.
/// - A taker unregisters, which waits for a call in progress, and only then lets libfuse's reference go.
/// - The function itself answers under `req->lock`. That is safe: libfuse holds a count of its own on the request, the
///   answer clears the function, and a ``take()`` that comes too late never touches the request.
private final class Waiter<Reply: ReplyToken & ~Copyable>: Interruptible, @unchecked Sendable {
  private struct Held: ~Copyable {
    let reply: Reply
    let onInterrupt: @Sendable () -> Void
  }

  private struct State: ~Copyable {
    var held: Held?
    var isRegistered = false
    var isInterrupted = false
  }

  private let raw: OpaquePointer
  private let state: Locked<State>

  init(_ reply: consuming Reply, raw: OpaquePointer, onInterrupt: @escaping @Sendable () -> Void) {
    self.raw = raw
    state = Locked(State(held: Held(reply: reply, onInterrupt: onInterrupt)))
  }

  func register() {
    let context = Unmanaged.passRetained(self as Interruptible)
    fuse_req_interrupt_func(raw, interruptFunction, context.toOpaque())
    let held: Held? = state.withLock { state in
      state.isRegistered = true
      return state.isInterrupted ? state.held.take() : nil
    }
    guard let held else { return }
    unregister()
    held.onInterrupt()
    held.reply.fail(EINTR)
  }

  func take() -> Reply? {
    let held: Held? = state.withLock { $0.held.take() }
    guard let held else { return nil }
    unregister()
    return held.reply
  }

  override func interrupted() {
    let held: Held? = state.withLock { state in
      state.isInterrupted = true
      return state.isRegistered ? state.held.take() : nil
    }
    guard let held else { return }
    held.onInterrupt()
    held.reply.fail(EINTR)
    releaseLibfuseReference()
  }

  private func unregister() {
    fuse_req_interrupt_func(raw, nil, nil)
    releaseLibfuseReference()
  }

  private func releaseLibfuseReference() {
    Unmanaged.passUnretained(self as Interruptible).release()
  }
}

private func interruptFunction(_ request: OpaquePointer?, _ context: UnsafeMutableRawPointer?) {
  Unmanaged<Interruptible>.fromOpaque(context!).takeUnretainedValue().interrupted()
}
