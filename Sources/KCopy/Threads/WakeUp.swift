internal import CSystemShims
internal import Glibc

/// Wakes a thread that waits: an event descriptor, so that a ring can wait for it as for any file.
public final class WakeUp: Sendable {
  let descriptor: Int32

  /// - Parameter semaphore: each `wait` takes one signal; otherwise it takes all that there were.
  /// - Throws: `DeviceError` at the limit of descriptors.
  public init(semaphore: Bool = false) throws(DeviceError) {
    let result = kcs_eventfd(semaphore ? 1 : 0)
    guard result >= 0 else { throw DeviceError(errno: -result, call: "eventfd") }
    descriptor = result
  }

  deinit { _ = kcs_close(descriptor) }

  /// Can fail only when 2^64 signals are pending, and then the thread wakes anyway.
  public func signal() { _ = kcs_eventfd_signal(descriptor) }

  public func wait() { _ = kcs_eventfd_wait(descriptor) }

  /// Waits until a signal or a time of the monotonic clock, in nanoseconds.
  ///
  /// - Returns: whether there was a signal.
  @discardableResult
  public func wait(until deadline: UInt64) -> Bool {
    while true {
      let now = kcs_monotonic()
      // Rounded up, or the last millisecond would be spun away.
      let milliseconds = now < deadline ? (deadline - now) / 1_000_000 + 1 : 0
      var interest = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      if unsafe poll(&interest, 1, Int32(min(milliseconds, 1 << 30))) > 0 {
        wait()
        return true
      }
      if now >= deadline { return false }
    }
  }
}
