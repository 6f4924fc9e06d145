internal import Glibc

/// A line that is written to `ctl`.
public enum JobCommand: Sendable, Equatable {
  case cancel, pause, resume, retry
  /// Bytes per second; `nil`: as fast as the client lets it.
  case rate(UInt64?)
  /// 0 (first) to 9.
  case priority(Int)

  /// Reads one line, without its newline; blanks around its word don't count.
  ///
  /// - Throws: `EINVAL`, for a line without a word too.
  public init(line: [UInt8]) throws(Refusal) {
    let words = line.split { $0 == Byte.space || $0 == Byte.tab || $0 == Byte.carriageReturn }
    guard let word = words.first, words.count == 1 else { throw Self.unknown(line) }
    let parts = word.split(separator: Byte.equals, maxSplits: 1, omittingEmptySubsequences: false)
    let value = parts.count == 2 ? FieldText(parts[1], column: parts[1].startIndex) : nil
    switch (String(decoding: parts[0], as: UTF8.self), value) {
    case ("cancel", nil): self = .cancel
    case ("pause", nil): self = .pause
    case ("resume", nil): self = .resume
    case ("retry", nil): self = .retry
    case ("rate", let value?): self = .rate(try ByteSize.parseRate(value))
    case ("priority", let value?):
      guard value.count == 1, Byte.isDigit(value[0]) else {
        throw value.refusal("priority takes 0 (first) to 9, not \"\(value.shown)\"")
      }
      self = .priority(Int(value[0] - Byte.zero))
    default: throw Self.unknown(line)
    }
  }

  /// The word that it is written with.
  var name: String {
    switch self {
    case .cancel: "cancel"
    case .pause: "pause"
    case .resume: "resume"
    case .retry: "retry"
    case .rate: "rate"
    case .priority: "priority"
    }
  }

  private static func unknown(_ line: [UInt8]) -> Refusal {
    Refusal(
      errno: EINVAL, column: 0,
      text: "ctl takes cancel, pause, resume, retry, rate=SIZE, rate=max or priority=N, not \"\(Words.printable(line, limit: 64))\"")
  }
}
