internal import CSystemShims
internal import Glibc

/// Transfers that pass the page cache by: what the medium holds.
enum DirectTransfer {
  static func read(_ path: String, count: Int, offset: Int = 0) throws -> [UInt8] {
    try withFile(path, O_RDONLY, count) { file, buffer in
      try transfer(count, "direct read of \(path)") { kcs_pread(file, buffer + $0, UInt64(count - $0), UInt64(offset + $0)) }
      return [UInt8](UnsafeRawBufferPointer(start: buffer, count: count))
    }
  }

  static func write(_ path: String, _ bytes: [UInt8], offset: Int = 0) throws {
    try withFile(path, O_WRONLY, bytes.count) { file, buffer in
      bytes.withUnsafeBytes { buffer.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
      try transfer(bytes.count, "direct write of \(path)") {
        kcs_pwrite(file, buffer + $0, UInt64(bytes.count - $0), UInt64(offset + $0))
      }
      if kcs_fsync(file) < 0 { throw SystemError(EIO, "fsync \(path)") }
    }
  }

  private static func transfer(_ count: Int, _ attempt: String, _ step: (Int) -> Int64) throws {
    var moved = 0
    while moved < count {
      let step = step(moved)
      if step < 0 { throw SystemError(Int32(-step), attempt) }
      if step == 0 { throw Missing("\(attempt): end at byte \(moved) of \(count)") }
      moved += Int(step)
    }
  }

  private static func withFile<R>(
    _ path: String, _ flags: Int32, _ count: Int, _ body: (Int32, UnsafeMutableRawPointer) throws -> R
  ) throws -> R {
    let file = kcs_open(path, flags | kcs_O_DIRECT | O_CLOEXEC, 0)
    if file < 0 { throw SystemError(-file, "open \(path) with O_DIRECT") }
    defer { _ = kcs_close(file) }
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: 4096)
    defer { buffer.deallocate() }
    return try body(file, buffer)
  }
}
