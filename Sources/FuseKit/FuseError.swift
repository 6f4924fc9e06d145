internal import CSystemShims

/// Why a session could not be mounted or started.
public struct FuseError: Error, Sendable, CustomStringConvertible {
  /// A positive errno.
  public let errno: Int32
  /// What was tried, without the errno.
  public let text: String

  public init(errno: Int32, text: String) {
    self.errno = errno
    self.text = text
  }

  public var description: String { "\(text): \(String(cString: kcs_errno_name(errno)))" }
}
