internal import Locking

/// A few threads that do what may hang, for one device: flushes, closes, and transfers through the page cache.
///
/// Threads come as they are needed.  Work that is given after `finish` is refused, so that nothing waits for a thread that
/// has gone.
final class BlockingThreads: Sendable {
  private struct Queue {
    var work: [@Sendable () -> Void] = []
    var next = 0
    var threads = 0
    var idle = 0
    var isFinished = false
    /// What the last thread does before it goes.
    var last: (@Sendable () -> Void)?
  }

  private let name: String
  private let most: Int
  private let queue = Locked(Queue())
  private let pending = Semaphore()

  init(_ name: String, most: Int) {
    self.name = name
    self.most = most
  }

  /// Makes a thread now, unless there are as many as there may be.
  ///
  /// - Throws: `DeviceError` with EAGAIN when the limit of threads is reached.
  func startOne() throws(DeviceError) {
    // Counted before it runs, so that `finish` knows whom to end.
    let isWanted = queue.withLock { queue in
      guard !queue.isFinished, queue.threads < most else { return false }
      queue.threads += 1
      return true
    }
    guard isWanted else { return }
    do throws(DeviceError) {
      try SpareThreads.shared.run(name) { [self] in run() }
    } catch {
      leave()
      throw error
    }
  }

  /// Gives the threads a piece of work.
  ///
  /// - Returns: whether it was taken: not after `finish`, and not when there is no thread and none to be had.
  func perform(_ work: @escaping @Sendable () -> Void) -> Bool {
    let wantsThread = queue.withLock { queue in
      !queue.isFinished && queue.idle <= queue.work.count - queue.next && queue.threads < most
    }
    // More than one thread is for speed, and can be done without.
    if wantsThread { try? startOne() }
    let taken = queue.withLock { queue in
      guard !queue.isFinished, queue.threads > 0 else { return false }
      queue.work.append(work)
      return true
    }
    if taken { pending.signal() }
    return taken
  }

  /// Ends the threads, if there are any, once they have done what they were given.
  func finish() {
    let threads = queue.withLock { queue in
      queue.isFinished = true
      return queue.threads
    }
    for _ in 0..<threads { pending.signal() }
  }

  /// The same, and the last of them does this; where there was none, one is made for it.
  ///
  /// - Returns: whether there is a thread to do it.
  func finish(last: @escaping @Sendable () -> Void) -> Bool {
    if queue.withLock({ $0.threads == 0 }) { try? startOne() }
    let isTaken = queue.withLock { queue in
      guard !queue.isFinished, queue.threads > 0 else { return false }
      queue.last = last
      return true
    }
    if isTaken { finish() }
    return isTaken
  }

  private func run() {
    while true {
      queue.withLock { $0.idle += 1 }
      pending.wait()
      let next: (@Sendable () -> Void)? = queue.withLock { queue in
        queue.idle -= 1
        guard queue.next < queue.work.count else { return nil }
        defer {
          queue.next += 1
          if queue.next == queue.work.count {
            queue.work.removeAll(keepingCapacity: true)
            queue.next = 0
          }
        }
        return queue.work[queue.next]
      }
      // A signal without work is one of `finish`, which come after those of all work.
      guard let next else { return leave() }
      next()
    }
  }

  private func leave() {
    let last: (@Sendable () -> Void)? = queue.withLock { queue in
      queue.threads -= 1
      guard queue.threads == 0 else { return nil }
      // What it holds may hold this.
      defer { queue.last = nil }
      return queue.last
    }
    last?()
  }
}
