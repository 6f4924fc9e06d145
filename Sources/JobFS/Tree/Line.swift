internal import CopyJobs
internal import FuseKit
internal import Locking

/// What was written to a file that takes lines, and has no newline yet.
///
/// Programs write by the line, by the buffer or byte by byte, and some leave the last newline out: then the end of the
/// file is where who opened it closes it.  Others that inherited the descriptor flush it at their own end, in the middle.
final class Line: Sendable {
  /// Who writes more means another file.
  static let longest = 4096

  private let bytes = Locked<[UInt8]>([])
  private let opener: Int32?

  init(openedBy requester: Requester) { opener = JobService.process(ofThread: requester.pid) }

  /// Takes the bytes of a write.
  ///
  /// - Returns: the lines that are complete by it, without their newlines; `nil` when one would be too long, and then
  ///   nothing is kept.
  func append(_ more: [UInt8]) -> [[UInt8]]? {
    bytes.withLock { bytes in
      bytes += more
      guard bytes.count <= Self.longest else {
        bytes = []
        return nil
      }
      var lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false).map(Array.init)
      bytes = lines.removeLast()
      return lines
    }
  }

  /// Whether a close by this thread is the end of what is written.
  func ends(by requester: Requester) -> Bool {
    if bytes.withLock({ $0.isEmpty }) { return false }
    return opener == nil || JobService.process(ofThread: requester.pid) == opener
  }

  /// Takes what has no newline; `nil` when there is nothing.
  func takeRest() -> [UInt8]? {
    bytes.withLock { bytes in
      defer { bytes = [] }
      return bytes.isEmpty ? nil : bytes
    }
  }
}
