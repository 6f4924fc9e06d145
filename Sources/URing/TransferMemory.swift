internal import CSystemShims
internal import Glibc

/// Memory that transfers go through: one range, aligned to 2 MiB, in huge pages where the kernel has them.
///
/// The bytes are addressed by their offset in the range; every access is checked against its length, so a wrong offset
/// ends the program instead of overwriting somebody's memory.  Sendable because whoever uses a part of it owns that
/// part: `PagePool` gives a run of pages to one sub-job at a time.
@safe public final class TransferMemory: @unchecked Sendable {
  /// The length of the range, in bytes.
  public let bytes: Int
  let base: UnsafeMutableRawPointer

  /// Maps a range of memory.
  ///
  /// - Parameter bytes: the length, a multiple of 4096.
  /// - Returns: `nil` when the kernel has no memory for it.
  public init?(bytes: Int) {
    precondition(bytes > 0 && bytes % 4096 == 0)
    guard let base = kcs_map_pages(UInt64(bytes)) else { return nil }
    self.bytes = bytes
    self.base = base
  }

  deinit { kcs_unmap_pages(base, UInt64(bytes)) }

  func address(of offset: Int, count: Int) -> UnsafeMutableRawPointer {
    precondition(offset >= 0 && count >= 0 && offset <= bytes - count, "transfer outside of its memory")
    return base + offset
  }

  /// Gives a part to a body as it is.
  func withBytes<R>(_ offset: Int, count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> R) rethrows -> R {
    try body(UnsafeMutableRawBufferPointer(start: address(of: offset, count: count), count: count))
  }

  /// Gives a part to a body that reads it.
  public func withUnsafeBytes<R>(_ offset: Int, count: Int, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try withBytes(offset, count: count) { try body(UnsafeRawBufferPointer($0)) }
  }

  /// Fills a part with zeroes.
  public func zero(_ offset: Int, count: Int) {
    withBytes(offset, count: count) { _ = $0.initializeMemory(as: UInt8.self, repeating: 0) }
  }

  /// The runs of zeroes in a part, looked at in units; what is left of the last one is not looked at.
  ///
  /// - Returns: ascending, in bytes from `offset`.
  public func blanks(_ offset: Int, count: Int, unit: Int) -> [Range<Int>] {
    var found: [Range<Int>] = []
    for start in stride(from: 0, to: count - count % unit, by: unit) where firstNonZero(offset + start, count: unit) == nil {
      if let last = found.last, last.upperBound == start {
        found[found.count - 1] = last.lowerBound..<start + unit
      } else {
        found.append(start..<start + unit)
      }
    }
    return found
  }

  /// Reads into a part from a file, as `pread(2)` does.
  ///
  /// - Returns: the number of bytes read, or the negative errno.
  public func read(from descriptor: Int32, at position: UInt64, into offset: Int, count: Int) -> Int64 {
    kcs_pread(descriptor, address(of: offset, count: count), UInt64(count), position)
  }

  /// Writes a part to a file, as `pwrite(2)` does.
  ///
  /// - Returns: the number of bytes written, or the negative errno.
  public func write(to descriptor: Int32, at position: UInt64, from offset: Int, count: Int) -> Int64 {
    kcs_pwrite(descriptor, address(of: offset, count: count), UInt64(count), position)
  }

  /// Compares two parts.
  ///
  /// - Returns: where the first byte that differs lies in both; `nil` when they are equal.
  public func firstDifference(_ first: Int, _ second: Int, count: Int) -> Int? {
    withBytes(first, count: count) { one in
      withBytes(second, count: count) { other in
        Self.firstBlock(of: count) { memcmp(one.baseAddress! + $0, other.baseAddress! + $0, $1) != 0 }
          .flatMap { block in block.first { one[$0] != other[$0] } }
      }
    }
  }

  /// Looks for the first byte of a part that is not zero; `nil` when there is none.
  public func firstNonZero(_ offset: Int, count: Int) -> Int? {
    withBytes(offset, count: count) { bytes in
      // All are zero if the first is and each equals the one before it.
      Self.firstBlock(of: count) { bytes[$0] != 0 || memcmp(bytes.baseAddress! + $0, bytes.baseAddress! + $0 + 1, $1 - 1) != 0 }
        .flatMap { block in block.first { bytes[$0] != 0 } }
    }
  }

  /// Where to look for a byte: the library compares many of them at a time, but tells not where.
  private static func firstBlock(of count: Int, _ isInteresting: (_ offset: Int, _ count: Int) -> Bool) -> Range<Int>? {
    for offset in stride(from: 0, to: count, by: 4096) {
      let length = min(4096, count - offset)
      if isInteresting(offset, length) { return offset..<offset + length }
    }
    return nil
  }
}
