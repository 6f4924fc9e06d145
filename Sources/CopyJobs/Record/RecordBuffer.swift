/// Assembles records from writes of any size: bash writes by the line, awk by 4096 bytes, a program byte by byte.
///
/// A record is one of two things:
/// 1. A line. A backslash before its newline continues it, unless that backslash is itself taken literally by one before it, as in
///    a shell; a carriage return before a newline is dropped. Blank lines and lines whose first byte is `#` are skipped.
/// 2. A JSON object, from a `{` where a line would begin to the matching `}`.
///
/// Blanks in front of a record are not part of it. How the bytes were split into writes makes no difference to the records.
public struct RecordBuffer: Sendable {
  /// What `next()` found.
  public enum Next: Sendable, Equatable {
    /// A complete record without its newline, and how many bytes of the last append reach to its end.
    case record([UInt8], end: Int)
    /// Nothing more can be said before the next append.
    case incomplete
    /// A record went over the limit. This is said once, as soon as it is known; what follows of the record is swallowed.
    case tooLong(end: Int)
  }

  private enum Phase {
    case blank, comment, line, object, swallowedLine, swallowedObject
  }

  private let limit: Int
  private var phase = Phase.blank
  private var input: [UInt8] = []
  private var position = 0
  /// How many bytes of the input were left over when the last append came.
  private var before = 0
  /// What earlier appends brought of the record that is being assembled.
  private var pending: [UInt8] = []
  /// Where in it the line begins that continues the ones before; looking no further back keeps the work in proportion to the input.
  private var joint = 0
  private var tail = LineTail()
  private var nesting = ObjectNesting()

  /// How many bytes of the last append belong to records handed out, or to blanks and comments: all that are not an unfinished record's.
  public private(set) var consumed = 0

  /// Makes an empty buffer.
  ///
  /// - Parameter limit: The longest record, in bytes, without leading blanks and the newline.
  public init(limit: Int = JobRecord.maximumLength) {
    self.limit = limit
  }

  /// Adds the bytes of one write.
  public mutating func append(_ bytes: [UInt8]) {
    if position == input.count {
      input = bytes
      before = 0
    } else {
      input.removeFirst(position)
      before = input.count
      input += bytes
    }
    position = 0
    consumed = 0
  }

  /// Whether something other than blanks and comments waits for its end, be it a record too long that was reported already.
  public var hasUnfinishedRecord: Bool {
    switch phase {
    case .blank, .comment: false
    case .line: joint > 0 || pending != [Byte.carriageReturn]
    case .object, .swallowedLine, .swallowedObject: true
    }
  }

  /// Takes the unterminated last record as complete, as fsync does; to be called when `next()` has said `incomplete`.
  ///
  /// - Returns: The record, or nil if there is none, or only the rest of one that was reported as too long.
  public mutating func finish() -> [UInt8]? {
    var record: [UInt8]? = nil
    switch phase {
    case .blank, .comment: return nil
    case .swallowedLine, .swallowedObject: break
    case .object: record = pending
    case .line:
      trimCarriageReturn()
      if !pending.isEmpty { record = pending }
    }
    endRecord()
    return record
  }

  /// Forgets everything that was appended, the swallowing of a record too long included.
  public mutating func removeAll() {
    removeUnread()
    endRecord()
    consumed = 0
  }

  /// Forgets what was appended and not looked at yet, for a write that fails after one of its records was refused.
  ///
  /// A record too long whose end has not come goes on being swallowed, so that its rest is never taken for a record of its own.
  public mutating func removeUnread() {
    input = []
    position = 0
    before = 0
  }

  /// Finds the next record in what was appended.
  public mutating func next() -> Next {
    guard position < input.count else {
      removeUnread()
      return .incomplete
    }
    while position < input.count {
      switch phase {
      case .blank: beginRecord()
      case .comment: skipComment()
      case .line: if let found = readLine() { return found }
      case .object: if let found = readObject() { return found }
      case .swallowedLine: swallowLine()
      case .swallowedObject: swallowObject()
      }
    }
    if phase != .line && phase != .object { consumed = max(0, position - before) }
    removeUnread()
    return .incomplete
  }

  private mutating func endRecord() {
    phase = .blank
    pending = []
    joint = 0
  }

  /// Says how far the last append is used, now that a record ends at the position.
  private mutating func reachedEnd() -> Int {
    consumed = max(0, position - before)
    return consumed
  }

  /// Skips blanks and blank lines, and decides by the first other byte what begins there.
  private mutating func beginRecord() {
    while position < input.count {
      switch input[position] {
      case Byte.space, Byte.tab, Byte.newline: position += 1
      case Byte.hash:
        phase = .comment
        return
      case Byte.openBrace:
        consumed = max(0, position - before)
        phase = .object
        nesting = ObjectNesting()
        return
      default:
        consumed = max(0, position - before)
        phase = .line
        return
      }
    }
  }

  private mutating func skipComment() {
    guard let newline = newlineIndex() else {
      position = input.count
      return
    }
    position = newline + 1
    phase = .blank
  }

  private func newlineIndex() -> Int? {
    var index = position
    while index < input.count {
      if input[index] == Byte.newline { return index }
      index += 1
    }
    return nil
  }
}

// Lines.
extension RecordBuffer {
  /// Reads to the end of a physical line, or of the input.
  private mutating func readLine() -> Next? {
    let newline = newlineIndex()
    let end = newline ?? input.count
    // A carriage return and a backslash may still turn out not to belong to the record.
    if pending.count + (end - position) > limit + 2 { return lineTooLong() }
    if pending.isEmpty && newline != nil {
      // The usual case, a record within one write, is copied once.
      var last = end
      if input[last - 1] == Byte.carriageReturn { last -= 1 }
      if last > position && input[last - 1] != Byte.backslash && last - position <= limit {
        let record = Array(input[position..<last])
        position = end + 1
        phase = .blank
        return .record(record, end: reachedEnd())
      }
    }
    pending += input[position..<end]
    position = end
    guard newline != nil else { return nil }

    position += 1
    let continues = trimLineEnd()
    if pending.count > limit {
      position -= 1
      tail = LineTail(odd: continues)
      phase = .swallowedLine
      swallowLine()
      return .tooLong(end: reachedEnd())
    }
    if pending.isEmpty {
      phase = .blank
      return nil
    }
    if continues { return nil }
    let record = pending
    endRecord()
    return .record(record, end: reachedEnd())
  }

  private mutating func trimCarriageReturn() {
    if pending.count > joint && pending[pending.count - 1] == Byte.carriageReturn { pending.removeLast() }
  }

  /// Takes the carriage return and the backslash off a line that met its newline.
  ///
  /// - Returns: Whether the next line continues it.
  private mutating func trimLineEnd() -> Bool {
    trimCarriageReturn()
    var first = pending.count
    while first > joint && pending[first - 1] == Byte.backslash { first -= 1 }
    let continues = (pending.count - first) % 2 == 1
    if continues { pending.removeLast() }
    joint = pending.count
    return continues
  }

  private mutating func lineTooLong() -> Next {
    tail = LineTail()
    for byte in pending[joint...] { tail.take(byte) }
    pending = []
    phase = .swallowedLine
    swallowLine()
    return .tooLong(end: reachedEnd())
  }

  /// Passes over a line too long, with the lines that continue it: their text is no record of its own.
  private mutating func swallowLine() {
    while position < input.count {
      let byte = input[position]
      position += 1
      if byte != Byte.newline {
        tail.take(byte)
      } else if tail.odd {
        tail = LineTail()
      } else {
        endRecord()
        return
      }
    }
  }
}

// Objects.
extension RecordBuffer {
  private mutating func readObject() -> Next? {
    let start = position
    while position < input.count {
      let ended = nesting.take(input[position])
      position += 1
      if pending.count + (position - start) > limit {
        phase = .swallowedObject
        pending = []
        if ended { endRecord() } else { swallowObject() }
        return .tooLong(end: reachedEnd())
      }
      if ended {
        let record = pending + input[start..<position]
        endRecord()
        return .record(record, end: reachedEnd())
      }
    }
    pending += input[start..<position]
    return nil
  }

  private mutating func swallowObject() {
    while position < input.count {
      let ended = nesting.take(input[position])
      position += 1
      if ended {
        endRecord()
        return
      }
    }
  }
}

/// What the end of a swallowed line says about its newline.
private struct LineTail: Sendable {
  /// An odd number of backslashes stands at the end, with at most one carriage return behind them.
  var odd = false
  private var carriageReturn = false

  init(odd: Bool = false) {
    self.odd = odd
  }

  mutating func take(_ byte: UInt8) {
    switch byte {
    case Byte.backslash:
      odd = carriageReturn ? true : !odd
      carriageReturn = false
    case Byte.carriageReturn:
      odd = odd && !carriageReturn
      carriageReturn = true
    default:
      odd = false
      carriageReturn = false
    }
  }
}

/// Where a JSON object ends, as far as braces and strings tell.
private struct ObjectNesting: Sendable {
  private var depth = 0
  private var inString = false
  private var escaped = false

  /// - Returns: Whether the byte is the brace that ends the object.
  mutating func take(_ byte: UInt8) -> Bool {
    if inString {
      if escaped {
        escaped = false
      } else if byte == Byte.backslash {
        escaped = true
      } else if byte == Byte.quote {
        inString = false
      }
      return false
    }
    switch byte {
    case Byte.quote: inString = true
    case Byte.openBrace: depth += 1
    case Byte.closeBrace: depth -= 1
    default: break
    }
    return depth == 0
  }
}
