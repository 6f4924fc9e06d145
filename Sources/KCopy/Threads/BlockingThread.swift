internal import Locking

/// One thread that does what may hang, in order: flushes and closes of one device, the opens of one admission.
///
/// Work that is given to it after `finish` is refused, so that nothing waits for a thread that has gone.
public final class BlockingThread: Sendable {
  private struct Queue {
    var work: [@Sendable () -> Void] = []
    var isFinished = false
  }

  private let queue = Locked(Queue())
  private let pending = Semaphore()

  /// - Throws: `DeviceError` when the limit of threads is reached.
  public init(_ name: String) throws(DeviceError) {
    let thread = try SystemThread(name) { [self] in run() }
    thread.detach()
  }

  /// Gives the thread a piece of work.
  ///
  /// - Returns: whether it was taken; never after `finish`.
  @discardableResult
  public func perform(_ work: @escaping @Sendable () -> Void) -> Bool {
    let taken = queue.withLock { queue in
      guard !queue.isFinished else { return false }
      queue.work.append(work)
      return true
    }
    if taken { pending.signal() }
    return taken
  }

  /// Ends the thread once it has done what it was given.
  public func finish() {
    queue.withLock { $0.isFinished = true }
    pending.signal()
  }

  private func run() {
    while true {
      pending.wait()
      let next: (@Sendable () -> Void)? = queue.withLock { queue in
        queue.work.isEmpty ? nil : queue.work.removeFirst()
      }
      // A signal without work is the one of `finish`, which comes after those of all work.
      guard let next else { return }
      next()
    }
  }
}
