internal import Glibc

/// Reads a record that is a JSON object (RFC 8259), as strictly as a line: decoders at hand drop the first of two equal keys.
struct ObjectReader {
  private var json: JSONReader

  private init(_ record: [UInt8]) {
    json = JSONReader(record)
  }

  static func read(_ record: [UInt8], into builder: inout RecordBuilder) throws(Refusal) {
    var reader = ObjectReader(record)
    try reader.json.expect(Byte.openBrace, "{")
    var first = true
    while let key = try reader.json.nextMember(&first) {
      let key = try builder.begin(key, repeats: false)
      try reader.readValue(of: key, into: &builder)
    }
    try reader.json.expectEnd()
  }

  private mutating func readValue(of key: JobKey, into builder: inout RecordBuilder) throws(Refusal) {
    let kind = try json.peek()
    switch (key, kind) {
    case (.from, .object): builder.setSource(try regionObject(of: key))
    case (.to, .list): try readDestinations(into: &builder)
    case (.to, .object): try builder.addDestination(try regionObject(of: key))
    case (.retries, .number), (.priority, .number), (.rate, .number):
      let column = json.position
      try builder.set(key, try json.wholeNumber(for: key.name), at: column)
    case (_, .string): try builder.set(key, try json.string())
    default: throw json.refusal("\(key.name) takes \(Self.taken(by: key)), not \(kind.rawValue)")
    }
  }

  private mutating func readDestinations(into builder: inout RecordBuilder) throws(Refusal) {
    try json.expect(Byte.openBracket, "[")
    var first = true
    while try json.nextElement(&first) {
      let kind = try json.peek()
      switch kind {
      case .string: try builder.set(.to, try json.string())
      case .object: try builder.addDestination(try regionObject(of: .to))
      default: throw json.refusal("a destination is a string or an object, not \(kind.rawValue)")
      }
    }
  }

  /// Reads `{"path":..,"start":..,"count":..}`, START and COUNT in bytes. Nothing in it can be mistaken: the path is the path.
  private mutating func regionObject(of key: JobKey) throws(Refusal) -> RegionText {
    let column = json.position
    var path: FieldText?
    var start: UInt64?
    var count: UInt64?
    try json.expect(Byte.openBrace, "{")
    var first = true
    while let member = try json.nextMember(&first) {
      switch member.string {
      case "path" where path == nil: path = try absolutePath()
      case "start" where start == nil: start = try offset("start")
      case "count" where count == nil:
        let column = json.position
        count = try offset("count")
        guard count != 0 else {
          throw Refusal(errno: EINVAL, column: column, text: "count is 0: leave it away to mean all that follows")
        }
      case "path", "start", "count": throw member.refusal("the key \"\(member.shown)\" is given twice")
      default: throw member.refusal("unknown key \"\(member.shown)\" in a region, which has \"path\", \"start\" and \"count\"")
      }
    }
    guard let path else { throw Refusal(errno: EINVAL, column: column, text: "\(key.name) has no \"path\"") }
    guard (count ?? 0) <= ByteSize.maximum - (start ?? 0) else {
      throw Refusal(errno: EINVAL, column: column, text: "the region ends beyond 2^63-1 bytes")
    }
    return RegionText(path: path.string, start: start ?? 0, count: count, column: path.place())
  }

  private mutating func absolutePath() throws(Refusal) -> FieldText {
    let kind = try json.peek()
    guard kind == .string else { throw json.refusal("path takes a string, not \(kind.rawValue)") }
    let path = try json.string()
    guard path.bytes.first == Byte.slash else { throw path.refusal("path takes an absolute path, not \"\(path.shown)\"") }
    return path
  }

  private mutating func offset(_ name: String) throws(Refusal) -> UInt64 {
    let kind = try json.peek()
    guard kind == .number else { throw json.refusal("\(name) takes a number of bytes, not \(kind.rawValue)") }
    let column = json.position
    let number = try json.wholeNumber(for: name)
    guard number <= ByteSize.maximum else {
      throw Refusal(errno: EINVAL, column: column, text: "\(name) is more than 2^63-1 bytes")
    }
    return number
  }

  private static func taken(by key: JobKey) -> String {
    switch key {
    case .from: "a string or an object"
    case .to: "a string, an object or a list of them"
    case .verify, .create, .sparse: "\"yes\" or \"no\""
    case .retries, .priority, .rate: "a number or a string"
    case .mode: "a string of octal digits, as \"0755\""
    case .after: "a string of names with commas between them"
    default: "a string"
    }
  }
}
