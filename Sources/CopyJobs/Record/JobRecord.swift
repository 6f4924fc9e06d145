internal import Glibc

/// What one record asks for, as it was written: nothing has been looked up, opened or resolved yet.
public struct JobRecord: Sendable, Equatable {
  /// The longest record, in bytes.
  public static let maximumLength = 65536

  /// The most destinations of one job.
  public static let maximumDestinations = 64

  /// The longest context, in bytes.
  public static let maximumContext = 256

  /// `op`: what is done with the destinations.
  public enum Operation: String, Sendable, CaseIterable {
    case copy, zero
    /// No I/O: a barrier.
    case none
  }

  /// `errors`: what an error does to the rest of the job.
  public enum ErrorPolicy: String, Sendable, CaseIterable {
    case drop, stop, ignore, pause
  }

  /// `order`: in which order a destination is written.
  public enum Order: String, Sendable, CaseIterable {
    case any, sequential
  }

  /// `sync`: whether done means flushed.
  public enum Sync: String, Sendable, CaseIterable {
    case end, none
  }

  /// `clone`: whether blocks may be shared instead of copied.
  public enum Clone: String, Sendable, CaseIterable {
    case auto, no
  }

  /// The source, nil unless `op=copy`.
  public var from: RegionText?
  /// The destinations; bit i of a job's write errors is the i-th.
  public var to: [RegionText]
  /// What is done.
  public var op: Operation
  /// The name of the client whose pages and limits the job uses; not looked up yet.
  public var client = "default"
  /// What an error does to the rest of the job.
  public var errors = ErrorPolicy.drop
  /// In which order destinations are written.
  public var order = Order.any
  /// Times that a failed transfer is tried again before it counts.
  public var retries = 0
  /// Whether done means flushed.
  public var sync = Sync.end
  /// Whether every destination is read back and compared; never with `sync=none`.
  public var verify = false
  /// `sha256`, or nil for none.
  public var hash: String?
  /// Whether a destination that does not exist is made as a regular file.
  public var create = false
  /// Whether holes and zeroes of the source become holes or zeroed ranges.
  public var sparse = false
  /// Whether blocks may be shared instead of copied.
  public var clone = Clone.auto
  /// `tail=zero`: a source that ends inside the destination's last block is filled up.
  public var tailZero = false
  /// The path of a ddrescue mapfile, or nil for all of the source.
  public var domain: String?
  /// Bytes per second, or nil for no limit.
  public var rate: UInt64?
  /// From 0, which is first, to 9.
  public var priority = 5
  /// The names of the jobs that must be done before; not looked up yet.
  public var after: [String] = []
  /// Text for the submitter, at most 256 bytes.
  public var context = ""
  /// The name that a record written to `submit` asks for.
  public var name: String?
  /// The mode bits that a record written to `submit` asks for, 0 to 0777.
  public var mode: UInt32?

  /// The columns of the keys, by the keys' numbers; a record's length fits.
  private var columns = SIMD32<UInt16>()

  /// Makes a record with the defaults of the contract's table.
  public init(op: Operation = .copy, from: RegionText? = nil, to: [RegionText] = []) {
    self.op = op
    self.from = from
    self.to = to
  }

  /// Reads a record as a `RecordBuffer` gives it, a line or a JSON object.
  ///
  /// - Parameter allowingName: Whether `name` and `mode` are accepted, as only `submit` and `check` do.
  /// - Throws: `EINVAL`, or `E2BIG` for a record over `maximumLength`.
  public static func parse(_ record: [UInt8], allowingName: Bool) throws(Refusal) -> JobRecord {
    guard record.count <= maximumLength else {
      throw Refusal(errno: E2BIG, column: maximumLength, text: "a record has at most \(maximumLength) bytes, this one \(record.count)")
    }
    var builder = RecordBuilder(allowingName: allowingName)
    if record.first(where: { !Byte.isSpace($0) }) == Byte.openBrace {
      try PlainText.check(record, allowing: Byte.isSpace)
      try ObjectReader.read(record, into: &builder)
    } else {
      try PlainText.check(record, allowing: Byte.isBlank)
      try LineReader.read(record, into: &builder)
    }
    let parsed = try builder.finish()
    try parsed.checkLength(writtenIn: record.count)
    return parsed
  }

  /// The byte of the record at which a key stands (the first of them, for `to`), or 0 if it does not.
  public func column(of key: String) -> Int {
    JobKey(Array(key.utf8)[...]).map(column) ?? 0
  }

  func column(of key: JobKey) -> Int {
    Int(columns[Int(key.rawValue)])
  }

  mutating func setColumn(_ column: Int, of key: JobKey) {
    columns[Int(key.rawValue)] = UInt16(clamping: column)
  }
}
