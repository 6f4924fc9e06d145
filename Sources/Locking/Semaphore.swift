internal import CSystemShims
internal import Glibc

/// A counting semaphore: each wait takes one signal.  It needs no descriptor, so it can be had when those have run out.
@safe public final class Semaphore: @unchecked Sendable {
  private let semaphore: UnsafeMutablePointer<sem_t>

  public init() {
    unsafe semaphore = .allocate(capacity: 1)
    unsafe sem_init(semaphore, 0, 0)
  }

  deinit {
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  public func signal() { unsafe _ = sem_post(semaphore) }

  /// A signal handler that runs meanwhile changes nothing.
  public func wait() {
    while unsafe sem_wait(semaphore) != 0 {}
  }

  /// Waits until a signal or a time of the monotonic clock, in nanoseconds.
  ///
  /// - Returns: whether there was a signal.
  @discardableResult
  public func wait(until deadline: UInt64) -> Bool {
    while true {
      let result = unsafe kcs_semaphore_wait_until(semaphore, deadline)
      if result != -EINTR { return result == 0 }
    }
  }
}
