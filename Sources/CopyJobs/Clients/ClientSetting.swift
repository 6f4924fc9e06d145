internal import Glibc
internal import KCopy

/// A file of a client that can be written, by its name.
public enum ClientParameter: String, Sendable, CaseIterable {
  case pages, throttle, rate, subjob, slots
  case mostJobs = "max_jobs"
}

/// What the files of a client are set to.
public struct ClientShape: Sendable, Equatable {
  /// 4096-byte pages that are set aside.
  public var pages: Int
  /// Per cent of the time that a device may be kept busy, 1 to 100.
  public var throttle: Int
  /// Bytes per second; `nil` for no limit.
  public var rate: UInt64?
  /// The largest single transfer, in bytes.
  public var subjob: Int
  /// Sub-jobs of one job in flight at once.
  public var slots: Int
  /// Unfinished jobs that there may be.
  public var mostJobs = 100_000

  init(_ configuration: Client.Configuration) {
    pages = configuration.pages
    throttle = configuration.throttle
    rate = configuration.rate
    subjob = configuration.subjob
    slots = configuration.slots
  }
}

/// A value for one file of a client, read and within its range; whether it fits the others is for the client to say.
enum ClientSetting: Sendable, Equatable {
  case pages(Int)
  case throttle(Int)
  case rate(UInt64?)
  case subjob(Int)
  case slots(Int)
  case mostJobs(Int)

  /// No machine has as many; below it no number of bytes overflows.
  private static let mostPages = 1 << 40
  private static let subjobs = 4096...1 << 30

  /// Reads what was written, without its newline; blanks around it don't count.
  ///
  /// Sizes are those of records, and also numbers without a unit, which are bytes: so the files show them, and what was
  /// read can be written back.
  ///
  /// - Throws: `EINVAL`, with the column counted from the beginning of the bytes; `ENOMEM` for pages beyond all measure.
  init(_ parameter: ClientParameter, _ bytes: [UInt8]) throws(Refusal) {
    let isBlank = { (byte: UInt8) in Byte.isBlank(byte) || byte == Byte.carriageReturn }
    guard let first = bytes.firstIndex(where: { !isBlank($0) }), let last = bytes.lastIndex(where: { !isBlank($0) }) else {
      throw Refusal(errno: EINVAL, column: 0, text: "a value is missing")
    }
    let text = FieldText(bytes[first...last], column: first)
    switch parameter {
    case .pages:
      let pages = try Self.number(text, in: 1...Int.max)
      guard pages <= Self.mostPages else { throw Refusal(errno: ENOMEM, column: first, text: "\(pages) pages cannot be had") }
      self = .pages(pages)
    case .throttle: self = .throttle(try Self.number(text, in: 1...100))
    case .rate: self = .rate(try Self.isNumber(text) ? Self.positive(text) : ByteSize.parseRate(text))
    case .subjob:
      let bytes = try Self.isNumber(text) ? Self.positive(text) : ByteSize.parse(text)
      guard Self.subjobs.contains(Int(clamping: bytes)), bytes % 4096 == 0 else {
        throw text.refusal("a sub-job is a multiple of 4096 bytes, from \(Self.subjobs.lowerBound) to \(Self.subjobs.upperBound)")
      }
      self = .subjob(Int(bytes))
    case .slots: self = .slots(try Self.number(text, in: 1...4096))
    case .mostJobs: self = .mostJobs(try Self.number(text, in: 0...1_000_000_000))
    }
  }

  private static func isNumber(_ text: FieldText) -> Bool { text.bytes.allSatisfy(Byte.isDigit) }

  private static func number(_ text: FieldText, in range: ClosedRange<Int>) throws(Refusal) -> Int {
    guard isNumber(text), let number = Int(text.string), range.contains(number) else {
      let end = range.upperBound == .max ? " up" : " to \(range.upperBound)"
      throw text.refusal("a number from \(range.lowerBound)\(end) is wanted, not \"\(text.shown)\"")
    }
    return number
  }

  private static func positive(_ text: FieldText) throws(Refusal) -> UInt64 {
    guard let number = UInt64(text.string), (1...ByteSize.maximum).contains(number) else {
      throw text.refusal("bytes from 1 to 2^63-1 are wanted, not \"\(text.shown)\"")
    }
    return number
  }

  var parameter: ClientParameter {
    switch self {
    case .pages: .pages
    case .throttle: .throttle
    case .rate: .rate
    case .subjob: .subjob
    case .slots: .slots
    case .mostJobs: .mostJobs
    }
  }

  /// Changes what the engine knows of; `mostJobs` is not its business.
  func apply(to configuration: inout Client.Configuration) {
    switch self {
    case .pages(let pages): configuration.pages = pages
    case .throttle(let throttle): configuration.throttle = throttle
    case .rate(let rate): configuration.rate = rate
    case .subjob(let bytes): configuration.subjob = bytes
    case .slots(let slots): configuration.slots = slots
    case .mostJobs: break
    }
  }

  func apply(to shape: inout ClientShape) {
    switch self {
    case .pages(let pages): shape.pages = pages
    case .throttle(let throttle): shape.throttle = throttle
    case .rate(let rate): shape.rate = rate
    case .subjob(let bytes): shape.subjob = bytes
    case .slots(let slots): shape.slots = slots
    case .mostJobs(let jobs): shape.mostJobs = jobs
    }
  }
}
