/// A REGION as a record gives it: `PATH[@START[+COUNT]]`, or an object of a JSON record.
public struct RegionText: Sendable, Equatable {
  /// An absolute path.
  public var path: String

  /// The first byte of the region.
  public var start: UInt64

  /// Bytes, or nil where the record leaves it to the length of the source.
  public var count: UInt64?

  /// The whole word as it was written, quotes aside: if `hasRegion`, it must not be the path of something that exists.
  public var word: String

  /// Whether `@START` was cut off the word, which could also have been meant as part of the path; never true for a JSON object.
  public var hasRegion: Bool

  /// The column of the path in its record.
  public var column: Int

  /// Makes a region without a word, as a JSON object or a resolved record gives it.
  public init(path: String, start: UInt64 = 0, count: UInt64? = nil, column: Int = 0) {
    self.path = path
    self.start = start
    self.count = count
    self.word = path
    self.hasRegion = false
    self.column = column
  }

  /// The region as a record names it, in bytes: `PATH@START+COUNT`.
  ///
  /// START is always written, so that a path that contains `@` is read as one.
  public var text: String {
    let begin = start == 0 ? "0" : "\(start)B"
    guard let count else { return "\(path)@\(begin)" }
    return "\(path)@\(begin)+\(count)B"
  }

  /// Reads a word.
  ///
  /// The region is what matches from the right: what follows the last `@`, unless a `/` follows it, which no region has. If it does
  /// not match there, nobody can tell a region with a slip in it from a path, and it is refused.
  init(_ text: FieldText, key: JobKey) throws(Refusal) {
    guard text.bytes.first == Byte.slash else {
      throw text.refusal("\(key.name) takes an absolute path, PATH[@START[+COUNT]], not \"\(text.shown)\"")
    }
    guard let at = Self.separator(in: text) else {
      self.init(path: text.string, column: text.place())
      return
    }
    let (start, count) = try Self.region(text, from: at)
    self.init(path: text[0..<at].string, start: start, count: count, column: text.place())
    word = text.string
    hasRegion = true
  }

  /// Where the last `@` of the last path component stands.
  private static func separator(in text: FieldText) -> Int? {
    var index = text.count - 1
    while index > 0, text[index] != Byte.slash {
      if text[index] == Byte.at { return index }
      index -= 1
    }
    return nil
  }

  private static func region(_ text: FieldText, from at: Int) throws(Refusal) -> (start: UInt64, count: UInt64?) {
    var index = at + 1
    let start = try number("START", in: text, from: &index, region: at)
    var count: UInt64?
    if index < text.count {
      guard text[index] == Byte.plus else { throw malformed(text, from: at) }
      index += 1
      let first = index
      count = try number("COUNT", in: text, from: &index, region: at)
      guard index == text.count else { throw malformed(text, from: at) }
      guard count != 0 else { throw text.refusal(at: first, "COUNT is 0: leave it away to mean all that follows") }
    }
    guard (count ?? 0) <= ByteSize.maximum - start else {
      throw text.refusal(at: at + 1, "the region ends beyond 2^63-1 bytes")
    }
    return (start, count)
  }

  private static func number(
    _ name: String, in text: FieldText, from index: inout Int, region at: Int
  ) throws(Refusal) -> UInt64 {
    let first = index
    switch ByteSize.read(text.bytes, from: &index) {
    case .value(let value): return value
    case .tooLarge: throw text.refusal(at: first, "\(name) is more than 2^63-1 bytes")
    case .withoutUnit where index == text.count || text[index] == Byte.plus:
      let advice = ByteSize.withoutUnit(text[first..<index].shown)
      throw text.refusal(at: first, "\(advice); if \"\(text.dropFirst(at).shown)\" belongs to the path, append @0")
    case .withoutUnit, .missing: throw malformed(text, from: at)
    }
  }

  private static func malformed(_ text: FieldText, from at: Int) -> Refusal {
    let tail = text.dropFirst(at).shown
    return text.refusal(
      at: at,
      "\"\(tail)\" is not @START or @START+COUNT with units s, B, K, M, G or T (as @0+2048s); if it belongs to the path, append @0")
  }
}
