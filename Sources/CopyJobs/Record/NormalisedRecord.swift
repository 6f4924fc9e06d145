internal import Glibc

extension JobRecord {
  /// The record as one line without newline, in the order of the contract's table: only what is not the default, sizes in bytes.
  ///
  /// Written to `submit` it makes the same job again; so `name`, `mode` and `after`, which belong to one submission, are left out.
  ///
  /// - Parameters:
  ///   - from: The source, resolved as far as is known.
  ///   - to: The destinations, likewise.
  public func normalised(from: RegionText?, to: [RegionText]) -> String {
    var text: [UInt8] = []
    if let from { Words.appendWord(JobKey.from.name, from.text, to: &text) }
    for region in to { Words.appendWord(JobKey.to.name, region.text, to: &text) }
    let standard = JobRecord()
    func append(_ key: JobKey, _ value: String, unless isStandard: Bool) {
      if !isStandard { Words.appendWord(key.name, value, to: &text) }
    }
    append(.op, op.rawValue, unless: op == standard.op)
    append(.client, client, unless: client == standard.client)
    append(.errors, errors.rawValue, unless: errors == standard.errors)
    append(.order, order.rawValue, unless: order == standard.order)
    append(.retries, String(retries), unless: retries == standard.retries)
    append(.sync, sync.rawValue, unless: sync == standard.sync)
    append(.verify, "yes", unless: !verify)
    if let hash { append(.hash, hash, unless: false) }
    append(.create, "yes", unless: !create)
    append(.sparse, "yes", unless: !sparse)
    append(.clone, clone.rawValue, unless: clone == standard.clone)
    append(.tail, "zero", unless: !tailZero)
    if let domain { append(.domain, domain, unless: false) }
    if let rate { append(.rate, "\(rate)B", unless: false) }
    append(.priority, String(priority), unless: priority == standard.priority)
    append(.context, context, unless: context.isEmpty)
    return String(decoding: text, as: UTF8.self)
  }

  /// Refuses what would be longer than a record when it is written out, with the sizes that its regions can come to: a restart could
  /// not read it again.
  ///
  /// - Parameter length: as it was written, in bytes.  A byte becomes four at most, a quote; so few need a look.
  func checkLength(writtenIn length: Int) throws(Refusal) {
    guard length > Self.maximumLength / 8 else { return }
    func whole(_ region: RegionText) -> RegionText { RegionText(path: region.path, start: region.start, count: ByteSize.maximum) }
    let count = normalised(from: from.map(whole), to: to.map(whole)).utf8.count
    guard count <= Self.maximumLength else {
      throw Refusal(
        errno: E2BIG, column: 0,
        text: "a record has at most \(Self.maximumLength) bytes, this one \(count) with its sizes and quotes written out")
    }
  }
}
