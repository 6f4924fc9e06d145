internal import CSystemShims
internal import Glibc

/// A system call that failed: the errno, and what was tried.
public struct SystemError: Error, Equatable, CustomStringConvertible {
  public let code: Int32
  public let attempt: String

  public init(_ code: Int32, _ attempt: String) {
    self.code = code
    self.attempt = attempt
  }

  /// The errno's name, `EINVAL`.
  public var name: String { String(cString: kcs_errno_name(code)) }
  public var description: String { "\(attempt): \(name), \(String(cString: strerror(code)))" }
}

/// What a test can't go on without: a tool, a device, a permission, a deadline; the sentence names it.
public struct Missing: Error, CustomStringConvertible {
  public let description: String

  public init(_ description: String) {
    self.description = description
  }
}

/// The result of a system call that returns -1 and sets errno.
func checked(_ result: Int32, _ attempt: @autoclosure () -> String) throws -> Int32 {
  let code = errno
  if result < 0 { throw SystemError(code, attempt()) }
  return result
}

/// The name of the errno that `body` fails with, or "" if it succeeds; any other error is thrown on.
public func errnoName(_ body: () throws -> Void) throws -> String {
  do {
    try body()
    return ""
  } catch let error as SystemError {
    return error.name
  }
}

/// Throws unless the tests may mount, attach loop devices and change credentials.
public func requireRoot() throws {
  if geteuid() != 0 { throw Missing("these tests need root: they mount and attach loop devices") }
}
