internal import Glibc

/// A descriptor with errors that throw.
public final class OpenFile {
  public let path: String
  private var descriptor: Int32

  public init(_ path: String, _ flags: Int32, mode: UInt32 = 0o644) throws {
    self.path = path
    descriptor = try checked(open(path, flags | O_CLOEXEC, mode), "open \(path)")
  }

  deinit { if descriptor >= 0 { _ = Glibc.close(descriptor) } }

  public func close() throws {
    let closing = descriptor
    descriptor = -1
    _ = try checked(Glibc.close(closing), "close \(path)")
  }

  /// One read(2) at the file's position.
  public func read(_ count: Int = 65536) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let got = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
    if got < 0 { throw SystemError(errno, "read \(path)") }
    return Array(bytes.prefix(got))
  }

  public func readToEnd() throws -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let more = try read(1 << 20)
      if more.isEmpty { return bytes }
      bytes += more
    }
  }

  /// One write(2) at the file's position: the bytes taken.
  public func write(_ bytes: [UInt8]) throws -> Int {
    let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    if written < 0 { throw SystemError(errno, "write \(path)") }
    return written
  }

  public func writeAll(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty { rest = rest.dropFirst(try write(Array(rest))) }
  }

  public func rewind() throws { try seek(to: 0) }

  public func seek(to offset: Int) throws {
    if lseek(descriptor, offset, SEEK_SET) < 0 { throw SystemError(errno, "lseek \(path)") }
  }

  public func synchronise() throws {
    _ = try checked(fsync(descriptor), "fsync \(path)")
  }
}
