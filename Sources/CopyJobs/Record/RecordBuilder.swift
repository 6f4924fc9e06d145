internal import Glibc

/// Collects the values of one record, whatever it was written in, and refuses what the table of keys does not allow.
struct RecordBuilder {
  private(set) var record = JobRecord()
  private let allowingName: Bool
  private var seen: UInt32 = 0

  init(allowingName: Bool) {
    self.allowingName = allowingName
  }

  /// Notes that a key is given.
  ///
  /// - Parameter repeats: Whether `to` may have been there before, as in a line.
  mutating func begin(_ text: FieldText, repeats: Bool) throws(Refusal) -> JobKey {
    guard let key = JobKey(text.bytes) else {
      let nearest = JobKey.nearest(to: text.bytes, allowingName: allowingName)
      let advice = nearest.map { ", did you mean \"\($0.name)\"?" } ?? ""
      throw text.refusal("unknown key \"\(text.shown)\"\(advice)")
    }
    guard allowingName || !key.isForSubmitOnly else {
      throw text.refusal("the key \"\(key.name)\" is for the file submit, where no file name says it")
    }
    let bit: UInt32 = 1 << key.rawValue
    if seen & bit == 0 {
      seen |= bit
      record.setColumn(text.place(), of: key)
    } else if key != .to || !repeats {
      let advice = key == .to ? ": write the destinations as one list" : ""
      throw text.refusal("the key \"\(key.name)\" is given twice\(advice)")
    }
    return key
  }

  /// Reads the value of a key.
  mutating func set(_ key: JobKey, _ text: FieldText) throws(Refusal) {
    switch key {
    case .from: record.from = try RegionText(text, key: key)
    case .to: try addDestination(try RegionText(text, key: key))
    case .op: record.op = try choice(key, text)
    case .client:
      guard !text.isEmpty else { throw text.refusal("client takes the name of a directory of clients/") }
      record.client = text.string
    case .errors: record.errors = try choice(key, text)
    case .order: record.order = try choice(key, text)
    case .sync: record.sync = try choice(key, text)
    case .clone: record.clone = try choice(key, text)
    case .verify: record.verify = try oneOfTwo(key, text, no: "no", yes: "yes")
    case .create: record.create = try oneOfTwo(key, text, no: "no", yes: "yes")
    case .sparse: record.sparse = try oneOfTwo(key, text, no: "no", yes: "yes")
    case .tail: record.tailZero = try oneOfTwo(key, text, no: "refuse", yes: "zero")
    case .hash: record.hash = try oneOfTwo(key, text, no: "none", yes: "sha256") ? "sha256" : nil
    case .retries, .priority: try set(key, try wholeNumber(key, text), at: text.place())
    case .rate: record.rate = try ByteSize.parseRate(text)
    case .domain: record.domain = try mapfile(text)
    case .after: record.after = try names(text)
    case .context:
      guard text.count <= JobRecord.maximumContext else {
        throw text.refusal(
          at: JobRecord.maximumContext, "context has at most \(JobRecord.maximumContext) bytes, this one \(text.count)")
      }
      record.context = text.string
    case .name: record.name = try newName(text)
    case .mode: record.mode = try modeBits(text)
    }
  }

  /// Takes a number: those of a JSON record that are not in quotes come here at once.
  mutating func set(_ key: JobKey, _ number: UInt64, at column: Int) throws(Refusal) {
    switch key {
    case .retries:
      guard let retries = Int32(exactly: number) else {
        throw Refusal(errno: EINVAL, column: column, text: "retries is at most \(Int32.max), not \(number)")
      }
      record.retries = Int(retries)
    case .priority:
      guard number <= 9 else {
        throw Refusal(errno: EINVAL, column: column, text: "priority takes 0 (first) to 9, not \(number)")
      }
      record.priority = Int(number)
    case .rate:
      guard number > 0, number <= ByteSize.maximum else {
        throw Refusal(errno: EINVAL, column: column, text: "rate takes 1 to 2^63-1 bytes per second or \"max\", not \(number)")
      }
      record.rate = number
    default:
      throw Refusal(errno: EINVAL, column: column, text: "\(key.name) takes a string, not a number")
    }
  }

  /// Takes the source of a JSON record that is written as an object.
  mutating func setSource(_ region: RegionText) {
    record.from = region
  }

  mutating func addDestination(_ region: RegionText) throws(Refusal) {
    guard record.to.count < JobRecord.maximumDestinations else {
      throw Refusal(errno: EINVAL, column: region.column, text: "a job has at most \(JobRecord.maximumDestinations) destinations")
    }
    record.to.append(region)
  }

  /// Checks what the keys say together.
  func finish() throws(Refusal) -> JobRecord {
    try checkRegions()
    if record.verify && record.sync == .none {
      throw refusal(at: .verify, "verify=yes reads back what was flushed: it does not go with sync=none")
    }
    if record.domain != nil, record.op != .copy {
      throw refusal(at: .domain, "op=\(record.op.rawValue) has no source, and so no domain of one: leave domain away")
    }
    return record
  }

  private func checkRegions() throws(Refusal) {
    let op = record.op.rawValue
    if record.op == .copy {
      guard record.from != nil else { throw refusal(at: .from, "from=REGION is missing: op=copy needs a source") }
    } else if record.from != nil {
      throw refusal(at: .from, "op=\(op) has no source: leave from away")
    }
    if record.op == .none {
      guard record.to.isEmpty else { throw refusal(at: .to, "op=none has no destination: leave to away") }
    } else if record.to.isEmpty {
      throw refusal(at: .to, "to=REGION is missing: op=\(op) needs a destination")
    }
    if record.op == .zero, let endless = record.to.first(where: { $0.count == nil }) {
      throw Refusal(errno: EINVAL, column: endless.column, text: "op=zero needs the COUNT of each destination: to=PATH@START+COUNT")
    }
    guard let count = record.from?.count else { return }
    for region in record.to {
      guard let own = region.count, own != count else { continue }
      throw Refusal(
        errno: EINVAL, column: region.column,
        text: "the COUNT of a destination (\(own) bytes) must equal the source's (\(count) bytes), or be left away")
    }
  }

  private func refusal(at key: JobKey, _ text: String) -> Refusal {
    Refusal(errno: EINVAL, column: record.column(of: key), text: text)
  }
}

// The values.
extension RecordBuilder {
  private func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ key: JobKey, _ text: FieldText
  ) throws(Refusal) -> Choice {
    if let choice = Choice(rawValue: text.string) { return choice }
    throw notOneOf(Choice.allCases.map(\.rawValue), key, text)
  }

  private func oneOfTwo(_ key: JobKey, _ text: FieldText, no: String, yes: String) throws(Refusal) -> Bool {
    if text.isEqual(yes) { return true }
    if text.isEqual(no) { return false }
    throw notOneOf([yes, no], key, text)
  }

  private func notOneOf(_ allowed: [String], _ key: JobKey, _ text: FieldText) -> Refusal {
    let list = allowed.dropLast().joined(separator: ", ") + " or " + allowed[allowed.count - 1]
    return text.refusal("\(key.name) takes \(list), not \"\(text.shown)\"")
  }

  private func wholeNumber(_ key: JobKey, _ text: FieldText) throws(Refusal) -> UInt64 {
    guard !text.isEmpty, text.bytes.allSatisfy(Byte.isDigit), let number = UInt64(text.string) else {
      let range = key == .priority ? "0 (first) to 9" : "a whole number"
      throw text.refusal("\(key.name) takes \(range), not \"\(text.shown)\"")
    }
    return number
  }

  private func mapfile(_ text: FieldText) throws(Refusal) -> String? {
    if text.isEqual("all") { return nil }
    guard text.bytes.first == Byte.slash else {
      throw text.refusal("domain takes the absolute path of a ddrescue mapfile, or all, not \"\(text.shown)\"")
    }
    return text.string
  }

  private func names(_ text: FieldText) throws(Refusal) -> [String] {
    var names: [String] = []
    var known: Set<String> = []
    var start = 0
    for index in 0...text.count where index == text.count || text[index] == Byte.comma {
      let name = try checkedName(text[start..<index])
      // One of the two was probably meant to be another, and that one would not be waited for.
      guard known.insert(name).inserted else { throw text.refusal(at: start, "the job \"\(name)\" is named twice") }
      names.append(name)
      start = index + 1
    }
    return names
  }

  private func newName(_ text: FieldText) throws(Refusal) -> String {
    let name = try checkedName(text)
    guard !JobName.isReserved(name) else {
      throw text.refusal("the name \"\(name)\" is made of digits only: those are given by the daemon")
    }
    guard !JobName.isDraft(name) else {
      throw text.refusal("the name \"\(name)\" is a draft's, as it begins with \".\" or ends in \"~\"")
    }
    return name
  }

  /// Checks a name, and counts the column of a refusal from the beginning of the record.
  private func checkedName(_ text: FieldText) throws(Refusal) -> String {
    let name = text.string
    do throws(Refusal) {
      try JobName.check(name)
    } catch {
      throw text.refusal(at: error.column, error.text)
    }
    return name
  }

  private func modeBits(_ text: FieldText) throws(Refusal) -> UInt32 {
    guard !text.isEmpty, text.bytes.allSatisfy(Byte.isDigit), let mode = UInt32(text.string, radix: 8), mode <= 0o777 else {
      throw text.refusal("mode takes octal digits, 0 to 0777, not \"\(text.shown)\"")
    }
    return mode
  }
}
