import CSystemShims
import Glibc
import Testing

/// A file without a name, gone with its descriptor.
final class ScratchFile {
  let descriptor: Int32
  private let writable: Int32

  /// - Parameter flags: how `descriptor` is open.
  init(_ count: Int, seed: UInt64, flags: Int32 = O_RDWR) throws {
    let writable = kcs_open("/tmp", kcs_O_TMPFILE | O_RDWR, 0o600)
    self.writable = writable
    descriptor = kcs_open("/proc/self/fd/\(writable)", flags, 0)
    try #require(writable >= 0 && descriptor >= 0)
    let written = Self.pattern(count, seed: seed).withUnsafeBytes { kcs_pwrite(writable, $0.baseAddress, UInt64(count), 0) }
    try #require(written == count)
  }

  deinit {
    _ = kcs_close(descriptor)
    _ = kcs_close(writable)
  }

  func bytes(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    try #require(bytes.withUnsafeMutableBytes { kcs_pread(writable, $0.baseAddress, UInt64(count), 0) } == count)
    return bytes
  }

  /// Bytes that differ from place to place and from seed to seed.
  static func pattern(_ count: Int, seed: UInt64) -> [UInt8] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      for index in buffer.indices {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        buffer[index] = UInt8(truncatingIfNeeded: state >> 56)
      }
      filled = count
    }
  }
}
