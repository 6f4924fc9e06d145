internal import CSystemShims
internal import Glibc
internal import KCopy

/// Files that a record names and that aren't copied, but read for what they say.
extension Admission {
  /// Reads a regular file from its start to its end, opened with the caller's rights.
  ///
  /// - Parameters:
  ///   - limit: the most bytes that it may have.
  ///   - take: called with one piece after the other.
  /// - Throws: as for a source; EINVAL for what is no regular file, EFBIG when it is longer; what `take` throws.
  public func read(
    _ path: String, limit: Int, for caller: Caller, _ take: ([UInt8]) throws(Objection) -> Void
  ) throws(Objection) {
    let (found, key) = try find(path, for: caller)
    defer { _ = kcs_close(found) }
    guard case .file = key else { throw Objection(EINVAL, "\(path) is no regular file") }
    let descriptor = try caller.opening(path) { () throws(Objection) in unsafe kcs_open("/proc/self/fd/\(found)", O_RDONLY, 0) }
    guard descriptor >= 0 else { throw Objection(-descriptor, "\(path): \(Self.text(-descriptor))") }
    defer { _ = kcs_close(descriptor) }
    let tooLong = Objection(EFBIG, "\(path) has more than \(limit) bytes")
    guard try facts(of: descriptor, path).size <= UInt64(limit) else { throw tooLong }
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    var offset = 0
    while true {
      let count = unsafe piece.withUnsafeMutableBytes { unsafe kcs_pread(descriptor, $0.baseAddress, UInt64($0.count), UInt64(offset)) }
      guard count >= 0 else { throw Objection(Int32(-count), "\(path) can't be read: \(Self.text(Int32(-count)))") }
      if count == 0 { return }
      offset += Int(count)
      // It may grow meanwhile.
      guard offset <= limit else { throw tooLong }
      try take(Array(piece[..<Int(count)]))
    }
  }
}
