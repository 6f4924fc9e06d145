internal import CSystemShims

/// Wakes a client's thread: an event descriptor, so that a ring can wait for it as for any file.
final class WakeUp: Sendable {
  let descriptor: Int32

  /// - Throws: `DeviceError` at the limit of descriptors.
  init() throws(DeviceError) {
    let result = kcs_eventfd()
    guard result >= 0 else { throw DeviceError(errno: -result, call: "eventfd") }
    descriptor = result
  }

  deinit { _ = kcs_close(descriptor) }

  /// Can fail only when 2^64 signals are pending, and then the thread wakes anyway.
  func signal() { _ = kcs_eventfd_signal(descriptor) }

  /// Waits for a signal, and takes all that there were.
  func wait() { _ = kcs_eventfd_wait(descriptor) }

  /// The same, until a moment of the monotonic clock at the latest, in nanoseconds.
  func wait(until deadline: UInt64) { _ = kcs_eventfd_wait_until(descriptor, deadline) }
}
