internal import Admission
internal import Glibc
internal import Journal
internal import KCopy
internal import Locking

/// Jobs as rows of the journal, and back.
extension Job {
  /// All that a restart has to know of it.
  var row: JobRow { life.withLock { row(of: $0) } }

  /// How far it is, for a restart to go on from.
  var standing: Standing { life.withLock { $0.standing } }

  private func row(of life: JobLife) -> JobRow {
    JobRow(
      id: facts.id, name: facts.name, uid: facts.uid, gid: facts.gid, mode: life.permissions, caller: caller?.kept ?? "",
      spec: life.plan.spec, source: life.plan.source?.kept ?? "", bytesTotal: life.plan.isResolved ? life.plan.count : nil,
      ctl: life.settings.text, queuedAt: facts.queuedAt, standing: life.standing, devices: life.plan.destinations.map(\.device.kept),
      predecessors: life.predecessors?.kept ?? "")
  }

  /// What `ctl` and `chmod` have changed of it.
  var control: Change { life.withLock { .control(facts.id, ctl: $0.settings.text, mode: $0.permissions) } }

  /// A job that an earlier daemon has left: final, or with nothing open yet.
  ///
  /// - Throws: EINVAL for what only a damaged journal holds.
  convenience init(_ row: JobRow, _ record: JobRecord, _ changes: JobChanges, _ domains: DomainBudget) throws(Refusal) {
    guard let caller = Caller(kept: row.caller, uid: row.uid, gid: row.gid) else {
      throw Refusal(errno: EINVAL, column: 0, text: "the caller is \"\(row.caller)\"")
    }
    guard record.to.count == row.devices.count else {
      throw Refusal(errno: EINVAL, column: 0, text: "there are \(row.devices.count) devices for \(record.to.count) destinations")
    }
    guard record.to.count == row.standing.destinations.count else {
      let count = row.standing.destinations.count
      throw Refusal(errno: EINVAL, column: 0, text: "there are \(count) standings for \(record.to.count) destinations")
    }
    // It is shown as it is kept.
    guard !row.spec.utf8.contains(Byte.tab) else { throw Refusal(errno: EINVAL, column: 0, text: "the record holds a tab") }
    let last = ([record.from].compactMap { $0 } + record.to).map(\.start).max() ?? 0
    guard row.bytesTotal ?? 0 <= ByteSize.maximum - last else {
      throw Refusal(errno: EINVAL, column: 0, text: "the region ends beyond 2^63-1 bytes")
    }
    var plan = Plan(spec: row.spec, count: row.bytesTotal ?? 0, isResolved: row.bytesTotal != nil)
    if !row.source.isEmpty { plan.source = try Identified(kept: row.source) }
    for (text, device) in zip(record.to, row.devices) {
      plan.destinations.append(
        Destination(path: text.path, device: try Identified(kept: device), mapStart: (record.from ?? text).start))
    }
    let facts = Facts(
      id: row.id, name: row.name, uid: row.uid, gid: row.gid, operation: record.op.rawValue, client: record.client,
      context: record.context, queuedAt: row.queuedAt)
    self.init(facts, plan, caller: caller, permissions: row.mode, changes)
    let restored = try JobLife(plan, row, domains)
    life.withLock { $0 = restored }
  }
}

extension Job.Identified {
  var kept: String {
    var words = KeptWords()
    words.add("id", identity)
    words.add("birth", birth)
    // One value, quoted: what a disk says of itself may hold quotes.
    words.add("fingerprint", fingerprint)
    return words.text
  }

  init(kept: String) throws(Refusal) {
    let words = try KeptWords(kept)
    self.init(identity: words["id"], birth: try words.number("birth"), fingerprint: words["fingerprint"])
  }
}

extension JobLife {
  /// What there is to be known of it after a restart; of what is running nothing that isn't on the media.
  var standing: Standing {
    let progress = progress
    let end = state ?? ending
    var words = KeptProgress.words(progress, refusal: refusal)
    keep(sourceIn: &words)
    return Standing(
      state: end?.rawValue ?? Self.unfinished, attempt: attempt, progress: words.text,
      startedAt: progress.startedAt, finishedAt: finishedAt,
      destinations: progress.destinations.indices.map { index in
        Standing.Destination(progress: KeptProgress.text(progress.destinations[index]), map: MapCode.encode(map(of: index)))
      })
  }

  private static let unfinished = "unfinished"

  /// - Throws: EINVAL for what only a damaged journal holds.
  init(_ plan: Job.Plan, _ row: JobRow, _ domains: DomainBudget) throws(Refusal) {
    self.init(plan, permissions: row.mode)
    let standing = row.standing
    attempt = standing.attempt
    finishedAt = standing.finishedAt
    settings = try ControlSettings(row.ctl)
    let destinations = try standing.destinations.map { (kept) throws(Refusal) in try KeptProgress.destination(kept.progress) }
    var (progress, refusal) = try KeptProgress.progress(standing.progress, destinations)
    progress.startedAt = standing.startedAt
    self.refusal = refusal
    try takeSource(from: standing.progress)
    maps = try standing.destinations.map { (kept) throws(Refusal) in try MapCode.decode(kept.map, count: plan.count) }
    if let first = maps.first {
      self.plan.domain = Domain(keptIn: first, copies: maps.count, of: row.uid, domains)
      guard maps.allSatisfy({ $0.runs(of: .outside) == first.runs(of: .outside) }) else {
        throw Refusal(errno: EINVAL, column: 0, text: "the maps of the destinations leave out different ranges")
      }
    }
    if standing.state != Self.unfinished {
      guard let end = JobState(rawValue: standing.state), end.isFinal else {
        throw Refusal(errno: EINVAL, column: 0, text: "the state is \"\(standing.state)\"")
      }
      state = end
      shown = end
      last = progress
      if end == .done { maps = [] }
    } else {
      // What was written and is in no map counts no more; what had failed stays so.
      let resumed = Job.resumed(progress, self)
      last = resumed
      doneBefore = resumed.bytesDone
      isPauseRequested = settings.isPaused
      isCancelRequested = settings.isCancelled
      early = settings.commands
    }
  }
}
