import FaultKit
import Glibc

/// Random bytes that all simulated devices begin with, each at another offset: made once.
enum CommonPattern {
  static let count = 16 << 20

  private struct Bytes: @unchecked Sendable {
    // Nobody writes it after it was made.
    let base: UnsafeRawPointer
  }

  private static let pattern: Bytes = {
    let bytes = Pattern.bytes(count, seed: 7)
    let base = malloc(count)!
    bytes.withUnsafeBytes { _ = memcpy(base, $0.baseAddress!, count) }
    return Bytes(base: base)
  }()

  static func bytes(at offset: Int, count: Int) -> UnsafeRawPointer {
    precondition(offset >= 0 && offset + count <= Self.count, "outside of the pattern")
    return pattern.base + offset
  }

  private static let zeroes: Bytes = Bytes(base: calloc(1 << 20, 1)!)

  /// Zeroes to compare with.
  static func zeroes(_ count: Int) -> UnsafeRawPointer {
    precondition(count <= 1 << 20, "more zeroes than there are")
    return zeroes.base
  }
}
