internal import Glibc

/// Something a test made that must go again.
public protocol Resource {
  /// Undoes it; once.
  func release() throws
}

/// A directory of its own for one test.
public struct TemporaryDirectory: Resource {
  public let path: String

  /// - Parameter mode: its mode bits; 0755 lets other uids of a test in.
  public init(mode: UInt32 = 0o755) throws {
    var template = Array("/tmp/kcopyfs-test.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemError(errno, "mkdtemp in /tmp") }
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    _ = try checked(chmod(path, mode), "chmod \(path)")
  }

  public func release() throws {
    try run("rm", "-rf", "--one-file-system", path).orThrow()
  }
}

/// A file system mounted for one test.
public struct Mount: Resource {
  public let path: String

  /// Mounts `device` (or `none`) on `path`, which is made if it isn't there.
  public init(type: String, device: String = "none", on path: String, options: String = "defaults") throws {
    try requireRoot()
    if mkdir(path, 0o755) != 0 && errno != EEXIST { throw SystemError(errno, "mkdir \(path)") }
    try run("mount", "-t", type, "-o", options, device, path).orThrow()
    self.path = path
  }

  public func release() throws {
    // A process that another test starts holds all of our files until its exec.
    var outcome = try run("umount", path)
    for _ in 0..<20 where !outcome.succeeded {
      pause(.milliseconds(50))
      outcome = try run("umount", path)
    }
    if outcome.succeeded { return }
    // Whatever holds it, nothing may be left behind; and it's an error all the same.
    try run("umount", "-l", path).orThrow()
    throw Missing("\(path) was still in use: \(outcome)")
  }
}
