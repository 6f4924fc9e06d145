internal import Admission
internal import Glibc
internal import KCopy

/// From a record to a job that can start: everything that may be refused, in one place and with one way back.
///
/// What opens paths runs on an admission thread, for opens may hang.
struct Admitting {
  let admission: Admission
  let table: JobTable
  let clients: ClientTable
  let claims: Claims
  let descriptors: DescriptorBudget
  let domains: DomainBudget
  let succession: Succession
  let nextNumber: () throws(Refusal) -> UInt64
  /// Whether a restart has to know the devices again.
  let keeps: Bool
  /// Whether somebody still waits for the answer: nothing more is opened for a caller who was interrupted.
  let isAwaited: () -> Bool
  /// What the records before this one, of the same write, have open.
  let places = OpenPlaces()
  /// Their names.
  let earlier = EarlierRecords()

  /// A record that may become a job, as far as that can be said without looking at a device.
  struct Candidate {
    var record: JobRecord
    let name: String
    let number: UInt64
    let client: CopyClient
    /// The jobs that it comes after.
    let predecessors: Predecessors?

    func claimant(of uid: UInt32) -> Claims.Claimant {
      Claims.Claimant(id: number, job: name, uid: uid, predecessors: predecessors?.ids ?? [])
    }
  }

  /// Checks what needs no device, and gives the job its number and name.
  ///
  /// - Parameter name: the name of the file in `jobs/`; `nil` for `submit`, where a record can bring one.
  func candidate(_ record: JobRecord, name: String?, caller: Caller?) throws(Refusal) -> Candidate {
    let client = try check(record, caller: caller)
    // Before its own number, so that theirs are lower.
    let predecessors = try predecessors(of: record, name: name ?? record.name, caller: caller)
    let number = try nextNumber()
    let name = name ?? record.name ?? String(number)
    guard !table.isTaken(name) else { throw Self.nameIsTaken(name, record) }
    return Candidate(record: record, name: name, number: number, client: client, predecessors: predecessors)
  }

  /// The jobs that a record names in `after`: those that there are, and such as records before it in the same write are to become.
  ///
  /// - Throws: ENOENT for a name that no job has, EACCES for a job that the caller may not read, EINVAL for its own name.
  func predecessors(of record: JobRecord, name: String?, caller: Caller?) throws(Refusal) -> Predecessors? {
    guard !record.after.isEmpty, let caller else { return nil }
    func refusal(_ errno: Int32, _ text: String) -> Refusal { Refusal(errno: errno, column: record.column(of: .after), text: text) }
    let reader = JobReader(caller)
    var jobs: [Job] = []
    var ids: [UInt64] = []
    for other in record.after {
      if other == name { throw refusal(EINVAL, "the job \(other) can't come after itself") }
      if let id = earlier.ids[other] {
        ids.append(id)
        continue
      }
      guard let job = table[other] else { throw refusal(ENOENT, "there is no job \(other) to come after") }
      guard job.isReadable(by: reader) else { throw refusal(EACCES, "the job \(other) may not be read, and so nothing can come after it") }
      jobs.append(job)
      ids.append(job.facts.id)
    }
    let predecessors = succession.hold(ids)
    // One that goes from here on is remembered.
    if let gone = jobs.first(where: \.isRemoved) { throw refusal(ENOENT, "there is no job \(gone.facts.name) to come after") }
    return predecessors
  }

  /// The client that the record may use.
  func check(_ record: JobRecord, caller: Caller?) throws(Refusal) -> CopyClient {
    guard let caller else { throw Refusal(errno: EPERM, column: 0, text: "the process that opened the file cannot be seen") }
    if let objection = caller.objection { throw Refusal(errno: EPERM, column: 0, text: objection) }
    do throws(Refusal) {
      return try clients.use(record.client, by: caller.uid)
    } catch {
      throw Refusal(errno: error.errno, column: record.column(of: "client"), text: error.text)
    }
  }

  /// Opens, checks and claims.
  ///
  /// - Throws: why not; then nothing is left of it.
  func admit(_ candidate: Candidate, caller: Caller) throws(Refusal) -> AdmittedJob {
    let record = candidate.record
    let need = DescriptorBudget.need(of: record)
    try descriptors.take(need, for: caller.uid)
    do throws(Refusal) {
      return try opening { (opened) throws(Refusal) in
        let source = try record.from.map { (text) throws(Refusal) in
          try open(text, caller, &opened) { () throws(Objection) in
            try places.source(text.path, admission) { () throws(Objection) in try admission.openSource(text.path, for: caller) }
          }
        }
        var destinations: [Endpoint] = []
        for text in record.to {
          destinations.append(
            try open(text, caller, &opened) { () throws(Objection) in try openDestination(text.path, creates: record.create, caller) })
        }
        let job = try claim(candidate, source: source, destinations: destinations, uid: caller.uid) { (regions) throws(Refusal) in
          try domain(record, regions, for: caller)
        }
        do throws(Refusal) {
          try refuseUsed(destinations, job.claims.suffix(destinations.count), columns: record.to.map(\.column))
        } catch {
          claims.release(job.claimOwner, job.claims)
          throw error
        }
        descriptors.charge(source, destinations, to: caller.uid, taken: need)
        earlier.ids[job.name] = job.number
        return job
      }
    } catch {
      places.removeAll()
      let refusal = explained(error, candidate, caller)
      descriptors.giveBack(need, for: caller.uid)
      throw refusal
    }
  }

  private func openDestination(_ path: String, creates: Bool, _ caller: Caller) throws(Objection) -> Endpoint {
    if creates { return try admission.openDestination(path, creates: true, for: caller) }
    return try places.destination(path, admission) { () throws(Objection) in
      try admission.openDestination(path, creates: false, for: caller)
    }
  }

  /// A name is only taken when the job starts: an open that hangs keeps it from nobody.
  static func nameIsTaken(_ name: String, _ record: JobRecord) -> Refusal {
    // Through a file of jobs/ it is the second record into one placeholder.
    Refusal(errno: record.name == nil ? EBUSY : EEXIST, column: record.column(of: "name"), text: "there is a job \(name) already")
  }

  /// Gives everything back, in the order opposite to `admit`.
  func undo(_ job: AdmittedJob) {
    claims.release(job.claimOwner, job.claims)
    for endpoint in job.endpoints.reversed() { admission.undo(endpoint) }
    descriptors.giveBack(job.endpoints)
  }

  // MARK: Steps

  /// Runs the body; when it fails, what it has opened by then is undone.
  func opening<R>(_ body: (inout [Endpoint]) throws(Refusal) -> R) throws(Refusal) -> R {
    var opened: [Endpoint] = []
    do throws(Refusal) {
      return try body(&opened)
    } catch {
      for endpoint in opened.reversed() { admission.undo(endpoint) }
      throw error
    }
  }

  func openSource(_ record: JobRecord, _ caller: Caller, _ opened: inout [Endpoint]) throws(Refusal) -> Endpoint? {
    guard let from = record.from else { return nil }
    return try open(from, caller, &opened) { () throws(Objection) in try admission.openSource(from.path, for: caller) }
  }

  /// Opens what a word of the record names.
  func open(
    _ text: RegionText, _ caller: Caller, _ opened: inout [Endpoint], _ body: () throws(Objection) -> Endpoint
  ) throws(Refusal) -> Endpoint {
    guard isAwaited() else { throw Refusal(errno: EINTR, column: 0, text: "the caller doesn't wait any more") }
    try checkWord(text, caller)
    do throws(Objection) {
      let endpoint = try body()
      opened.append(endpoint)
      return endpoint
    } catch {
      throw Refusal(errno: error.errno, column: text.column, text: error.text)
    }
  }

  /// Resolves the regions of what is open, and claims them.
  ///
  /// - Parameter domain: what of the regions is copied.
  func claim(
    _ candidate: Candidate, source: Endpoint?, destinations: [Endpoint], uid: UInt32,
    domain: (Regions) throws(Refusal) -> Domain?
  ) throws(Refusal) -> AdmittedJob {
    let record = candidate.record
    let resolution = try Resolution(record, source: source, destinations: destinations)
    let domain = try domain(resolution.regions)
    let wanted = resolution.claims(source: source, destinations: destinations)
    let owner = try claims.take(wanted, for: candidate.claimant(of: uid), columns: columns(of: record))
    let fingerprints = keeps ? ((source.map { [$0] } ?? []) + destinations).map { places.fingerprint(of: $0, admission) } : []
    return AdmittedJob(
      record: record, name: candidate.name, number: candidate.number, client: candidate.client, source: source,
      destinations: destinations, fingerprints: fingerprints, regions: resolution.regions, domain: domain, claims: wanted,
      claimOwner: owner, predecessors: candidate.predecessors, warnings: source.map(warnings) ?? [])
  }

  /// What is to be said of an open source.
  func warnings(_ source: Endpoint) -> JobWarnings { places.isMountedForWriting(source, admission) ? [.sourceInUse] : [] }

  /// What a record is really to blame for whose destination is held: the kernel keeps a disk and its partition apart by who has opened
  /// them, and so it tells of another destination of the same record, or of another job, as of any other program.
  func explained(_ refusal: Refusal, _ candidate: Candidate, _ caller: Caller) -> Refusal {
    guard refusal.errno == EBUSY else { return refusal }
    let record = candidate.record
    var reason = refusal
    // What can't be looked at leaves it as it is.
    try? opening { (opened) throws(Refusal) in
      func look(_ text: RegionText) throws(Refusal) -> Endpoint {
        try open(text, caller, &opened) { () throws(Objection) in try admission.openSource(text.path, for: caller) }
      }
      let source = try record.from.map { (text) throws(Refusal) in try look(text) }
      let destinations = try record.to.map { (text) throws(Refusal) in try look(text) }
      let wanted = try Resolution(record, source: source, destinations: destinations).claims(source: source, destinations: destinations)
      do throws(Refusal) {
        try claims.check(wanted, for: candidate.claimant(of: caller.uid), columns: columns(of: record))
      } catch {
        reason = error
      }
      for endpoint in opened.reversed() { admission.undo(endpoint) }
      opened = []
    }
    return reason
  }

  func columns(of record: JobRecord) -> [Int] { (record.from.map { [$0.column] } ?? []) + record.to.map(\.column) }

  /// Refuses destinations that others use by ways which their being open says nothing of.
  ///
  /// - Parameter wanted: the claims on them, in their order.
  func refuseUsed(_ destinations: [Endpoint], _ wanted: some Sequence<Claims.Claim>, columns: [Int]) throws(Refusal) {
    for ((endpoint, claim), column) in zip(zip(destinations, wanted), columns) where !endpoint.wasMade {
      if let objection = places.uses(of: endpoint, admission).objection(to: endpoint.path, claim.start..<claim.end) {
        throw Refusal(errno: objection.errno, column: column, text: objection.text)
      }
    }
  }

  /// A word whose end looks like a region, and which also names something as it stands, can mean both: nobody guesses
  /// which disk to overwrite.
  private func checkWord(_ text: RegionText, _ caller: Caller) throws(Refusal) {
    guard text.hasRegion, admission.exists(text.word, for: caller) else { return }
    throw Refusal(
      errno: EINVAL, column: text.column,
      text: "\(text.word) exists, and is also a region of \(text.path); write \(text.word)@0 for the first")
  }
}
