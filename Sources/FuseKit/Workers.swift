internal import CSystemShims
internal import Glibc
internal import Locking

/// The threads that receive and process a connection's requests.
final class Workers: Sendable {
  private struct State {
    var threads: [UInt64] = []
    /// Threads that are still in their loop.
    var serving = 0
    /// Somebody ends the session from inside, and will say so himself.
    var isStopping = false
    var hasEnded = false
    var endHandlers: [@Sendable () -> Void] = []
  }

  private let connection: Connection
  private let state = Locked(State())

  init(_ connection: Connection) {
    self.connection = connection
  }

  /// - Throws: EALREADY when they were started before or the session was stopped, or why a thread could not be made;
  ///   then those made before it are to be ended by ``expel()``.
  func start(count: Int) throws(FuseError) {
    let error: Int32 = state.withLock { state in
      guard state.threads.isEmpty, !state.isStopping else { return EALREADY }
      for _ in 0..<count {
        var thread: UInt64 = 0
        let context = Unmanaged.passRetained(self)
        let result = kcs_thread_start(&thread, workerBody, context.toOpaque())
        guard result == 0 else {
          context.release()
          return -result
        }
        state.threads.append(thread)
        state.serving += 1
      }
      return 0
    }
    if error != 0 { throw FuseError(errno: error, text: "cannot start the session's threads") }
  }

  /// Whether the calling thread is one of them.
  var includeCurrentThread: Bool {
    let current = UInt64(pthread_self())
    return state.withLock { $0.threads.contains(current) }
  }

  fileprivate func run() {
    kcs_name_thread("fuse")
    let hasFailed = !connection.serve()
    let isLast = state.withLock { state in
      state.serving -= 1
      return state.serving == 0
    }
    // /dev/fuse could not be read: half a session would be worse than none.
    if hasFailed { expel() }
    if isLast && !state.withLock({ $0.isStopping }) { endElsewhere() }
  }

  /// Marks the session as being ended by ``Session/stop()``.
  ///
  /// - Returns: false if the threads have ended by themselves.
  func beginStop() -> Bool {
    state.withLock { state in
      state.isStopping = true
      return state.threads.isEmpty || state.serving > 0
    }
  }

  /// Makes every thread leave its loop when it has answered what is waiting, if that is within a second: new requests
  /// may come as fast as they are answered.
  func dismiss() {
    connection.finishQueue()
    let end = ContinuousClock.now + .seconds(1)
    wakeAll { ContinuousClock.now < end }
  }

  /// Makes every thread leave its loop, and returns when all have.
  func expel() {
    connection.requestExit()
    wakeAll { true }
  }

  /// Ends the threads' sleep in read(2) as long as there are any in their loop.
  private func wakeAll(whilst isWanted: () -> Bool) {
    while isWanted() {
      let threads = state.withLock { $0.serving > 0 ? $0.threads : [] }
      if threads.isEmpty { return }
      // Again and again: a signal that comes between the check for an end and the read is lost.
      for thread in threads { _ = kcs_thread_signal(thread, SIGUSR1) }
      usleep(500)
    }
  }

  func join() {
    let threads = state.withLock { state in
      defer { state.threads = [] }
      return state.threads
    }
    for thread in threads { _ = kcs_thread_join(thread) }
  }

  /// Calls the body when the session has ended, at once if it has.
  func whenEnded(_ body: @escaping @Sendable () -> Void) {
    let hasEnded = state.withLock { state in
      if !state.hasEnded { state.endHandlers.append(body) }
      return state.hasEnded
    }
    if hasEnded { body() }
  }

  /// Calls the end handlers, unless that was done.
  func end() {
    let handlers = state.withLock { state in
      state.hasEnded = true
      defer { state.endHandlers = [] }
      return state.endHandlers
    }
    for handler in handlers { handler() }
  }

  /// On a thread of its own, since a handler may want to stop the session, which joins these threads.
  private func endElsewhere() {
    var thread: UInt64 = 0
    let context = Unmanaged.passRetained(self)
    guard kcs_thread_start(&thread, endBody, context.toOpaque()) == 0 else {
      context.release()
      return end()
    }
    _ = kcs_thread_detach(thread)
  }
}

private func workerBody(_ context: UnsafeMutableRawPointer?) {
  Unmanaged<Workers>.fromOpaque(context!).takeRetainedValue().run()
}

private func endBody(_ context: UnsafeMutableRawPointer?) {
  Unmanaged<Workers>.fromOpaque(context!).takeRetainedValue().end()
}
