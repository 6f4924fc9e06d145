internal import Glibc

/// Bytes that can be told from other bytes, and comparisons that say where they differ.
public enum Pattern {
  /// Random bytes, the same for the same seed (xorshift64*).
  public static func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    let words = [UInt64](unsafeUninitializedCapacity: (count + 7) / 8) { buffer, filled in
      for index in buffer.indices {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        buffer[index] = state &* 0x2545_F491_4F6C_DD1D
      }
      filled = buffer.count
    }
    return words.withUnsafeBytes { [UInt8]($0.prefix(count)) }
  }

  /// `before` with the bytes of `patch` from `offset` on, longer if need be (a gap reads as zeroes): what a right copy leaves.
  public static func patched(_ before: [UInt8], at offset: Int, with patch: some Collection<UInt8>) -> [UInt8] {
    var after = before
    let end = offset + patch.count
    if after.count < end { after += [UInt8](repeating: 0, count: end - after.count) }
    after.replaceSubrange(offset..<end, with: patch)
    return after
  }

  /// Where two byte strings differ first, as a sentence; nil if they are equal.
  public static func difference(_ found: [UInt8], from expected: [UInt8]) -> String? {
    if found.count != expected.count { return "\(found.count) bytes instead of \(expected.count)" }
    let equal = found.withUnsafeBytes { a in
      expected.withUnsafeBytes { b in a.isEmpty || memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0 }
    }
    if equal { return nil }
    let first = zip(found, expected).enumerated().first { $1.0 != $1.1 }!.offset
    let last = zip(found, expected).enumerated().reduce(first) { $1.element.0 != $1.element.1 ? $1.offset : $0 }
    return "differs first at byte \(first) (sector \(first / 512)), last at byte \(last), of \(found.count)"
  }
}
