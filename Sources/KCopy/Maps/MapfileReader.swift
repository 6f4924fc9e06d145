/// Reads a mapfile of GNU ddrescue that comes in pieces; what it keeps of it is the map and one line.
///
/// It takes what ddrescue takes, measured with its 1.27:
/// 1. Lines that begin with `#`, and blank ones, mean nothing.  Blanks before a line and a carriage return behind it don't count.
/// 2. The first other line says where ddrescue was and what it did, `POS STATUS [PASS]`; before version 1.20 there was no pass.
/// 3. The others are blocks, `POS SIZE STATUS`, each from where the one before ends; the first begins anywhere.  A size of 0 has only
///    the block of a device of which nothing is known, at 0.
///
/// Numbers are C's: decimal, `0x` hexadecimal, `0` octal.  What follows the last field is not looked at, nor what follows the 127th
/// byte of a line.  A block that reaches beyond 2^63-1 ends there, as ddrescue has it.  Only a number beyond that, which it takes for
/// 2^63-1, is an error here, and so is `0x` without a digit.
public struct MapfileReader: Sendable {
  private enum Phase {
    case start, comment, line
  }

  private static let longest = 127
  private static let statuses = "?*/-+"

  private var phase = Phase.start
  private var line: [UInt8] = []
  /// The line that is being read.
  private var number = 1
  private var hasStatus = false
  private var map = Mapfile()

  /// A reader at the start of a file.
  public init() {}

  /// Takes the next bytes of the file.
  ///
  /// - Throws: What is wrong with the first line that ddrescue would not take; the reader is of no use after that.
  public mutating func read(_ bytes: [UInt8]) throws(MapfileError) {
    for byte in bytes { try take(byte) }
  }

  /// Ends the file.
  ///
  /// - Returns: The map; without blocks if the file has none, not even a line.
  /// - Throws: What is wrong with a last line without a newline.
  public mutating func finish() throws(MapfileError) -> Mapfile {
    if phase == .line { try endLine() }
    map.close()
    return map
  }

  @inline(__always)
  private mutating func take(_ byte: UInt8) throws(MapfileError) {
    switch phase {
    case .start where MapfileLine.isSpace(byte): break
    case .start where byte == 0x23: phase = .comment
    case .start:
      phase = .line
      line = [byte]
    case .line where byte != 0x0a:
      if line.count < Self.longest { line.append(byte) }
    case .line: try endLine()
    case .comment: if byte == 0x0a { phase = .start }
    }
    if byte == 0x0a { number += 1 }
  }

  private mutating func endLine() throws(MapfileError) {
    phase = .start
    var fields = MapfileLine(line)
    if hasStatus {
      try addBlock(&fields)
    } else {
      try checkStatus(&fields)
      hasStatus = true
    }
  }

  /// Where ddrescue was is of no use to anybody else.
  private func checkStatus(_ fields: inout MapfileLine) throws(MapfileError) {
    guard try position(&fields) != nil, let status = fields.character(), "\(Self.statuses)FG".utf8.contains(status) else {
      throw error("the first line that is no comment must be POS STATUS [PASS], with a STATUS of \(Self.statuses)FG")
    }
    switch fields.number() {
    case .missing, .value(1...): break
    case .value, .negative, .tooLarge: throw error("PASS must be 1 or more")
    }
  }

  private mutating func addBlock(_ fields: inout MapfileLine) throws(MapfileError) {
    guard let start = try position(&fields), let size = try position(&fields),
      let status = fields.character().flatMap(Mapfile.Status.init), size > 0 || start == 0
    else { throw error("a block must be POS SIZE STATUS, with a SIZE above 0 and a STATUS of \(Self.statuses)") }
    let end = start + min(size, UInt64(Int64.max) - start)
    guard map.append(Mapfile.Block(start..<end, status)) else {
      throw error("a block must begin where the one before it ends, at \(map.blocks.last?.range.upperBound ?? 0)")
    }
  }

  /// - Returns: A number from 0 to 2^63-1, or `nil` where there is none.
  private func position(_ fields: inout MapfileLine) throws(MapfileError) -> UInt64? {
    switch fields.number() {
    case .value(let value): return value
    case .tooLarge: throw error("a number is above 2^63-1")
    case .missing, .negative: return nil
    }
  }

  private func error(_ text: String) -> MapfileError { MapfileError(line: number, text: text) }
}

/// The fields of one line, as scanf(3) takes them: blanks may stand between them, and need not.
private struct MapfileLine {
  enum Number {
    case value(UInt64)
    case missing, negative, tooLarge
  }

  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte = current, Self.isSpace(byte) { position += 1 }
  }

  mutating func character() -> UInt8? {
    skipSpace()
    defer { position += 1 }
    return current
  }

  /// An integer of C with its sign.
  mutating func number() -> Number {
    skipSpace()
    let isNegative = current == 0x2d
    if isNegative || current == 0x2b { position += 1 }
    var radix: UInt64 = 10
    if current == 0x30 {
      radix = 8
      if position + 1 < bytes.count, bytes[position + 1] | 0x20 == 0x78 {
        radix = 16
        position += 2
      }
    }
    let first = position
    var (value, isTooLarge) = (UInt64(0), false)
    while let digit = current.flatMap(Self.digit), digit < radix {
      let (product, overflow) = value.multipliedReportingOverflow(by: radix)
      let (sum, carry) = product.addingReportingOverflow(digit)
      isTooLarge = isTooLarge || overflow || carry || sum > UInt64(Int64.max)
      value = sum
      position += 1
    }
    if position == first { return .missing }
    if isTooLarge { return .tooLarge }
    return isNegative && value > 0 ? .negative : .value(value)
  }

  private static func digit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case 0x30...0x39: UInt64(byte - 0x30)
    case 0x41...0x46, 0x61...0x66: UInt64(byte | 0x20) - 0x57
    default: nil
    }
  }
}
