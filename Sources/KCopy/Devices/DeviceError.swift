internal import CSystemShims

/// A system call on a device, or for the engine itself, that failed.
public struct DeviceError: Error, Sendable, Equatable {
  /// The errno, positive.
  public let errno: Int32
  /// The call or the step, for a text: "open", "statx".
  public let call: String

  /// Whether a thread is lacking, and nothing is wrong with the device.
  ///
  /// The errno, EAGAIN, is none for whoever doesn't block: they would wait until they can write or read.
  public var isForWantOfThread: Bool { call == Self.threadCall }
  static let threadCall = "pthread_create"

  /// An error with a positive errno.
  public init(errno: Int32, call: String) {
    self.errno = errno
    self.call = call
  }
}

/// The names of errno values, as `errno(3)` lists them.
public enum ErrnoName {
  /// The name, "EIO"; "E1234" for a number that has none.
  public static func of(_ errno: Int32) -> String {
    unsafe String(cString: kcs_errno_name(errno))
  }
}
