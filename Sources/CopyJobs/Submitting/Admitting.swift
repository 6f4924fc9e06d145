internal import Admission
internal import Glibc
internal import KCopy

/// From a record to a job that can start: everything that may be refused, in one place and with one way back.
///
/// Runs on an admission thread, for opens may hang.
struct Admitting {
  let admission: Admission
  let table: JobTable
  let clients: ClientTable
  let claims: Claims
  let descriptors: DescriptorBudget
  let nextNumber: () throws(Refusal) -> UInt64
  /// Whether somebody still waits for the answer: nothing more is opened for a caller who was interrupted.
  let isAwaited: () -> Bool

  /// Parses, opens, checks and claims.
  ///
  /// - Parameter name: the name of the file in `jobs/`; `nil` for `submit`, where a record can bring one.
  /// - Throws: why not; then nothing is left of it.
  func admit(_ bytes: [UInt8], name: String?, caller: Caller?) throws(Refusal) -> AdmittedJob {
    let record = try JobRecord.parse(bytes, allowingName: name == nil)
    guard let caller else { throw Refusal(errno: EPERM, column: 0, text: "the process that opened the file cannot be seen") }
    if let objection = caller.objection { throw Refusal(errno: EPERM, column: 0, text: objection) }
    try record.checkServed()
    let client = try client(of: record, for: caller)
    let number = try nextNumber()
    let name = name ?? record.name ?? String(number)
    guard table[name] == nil else { throw Self.nameIsTaken(name, record) }
    try descriptors.take(DescriptorBudget.need(of: record))
    do throws(Refusal) {
      return try open(record, name: name, number: number, caller: caller, client: client)
    } catch {
      descriptors.giveBack(DescriptorBudget.need(of: record))
      throw error
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
    descriptors.giveBack(DescriptorBudget.need(of: job.record))
  }

  private func client(of record: JobRecord, for caller: Caller) throws(Refusal) -> CopyClient {
    do throws(Refusal) {
      return try clients.use(record.client, by: caller.uid)
    } catch {
      throw Refusal(errno: error.errno, column: record.column(of: "client"), text: error.text)
    }
  }

  private func open(
    _ record: JobRecord, name: String, number: UInt64, caller: Caller, client: CopyClient
  ) throws(Refusal) -> AdmittedJob {
    var opened: [Endpoint] = []
    do throws(Refusal) {
      var source: Endpoint?
      if let from = record.from {
        try checkWord(from)
        let endpoint = try refusing(from) { () throws(Objection) in try admission.openSource(from.path, for: caller) }
        opened.append(endpoint)
        source = endpoint
      }
      for text in record.to {
        guard isAwaited() else { throw Refusal(errno: EINTR, column: 0, text: "the caller doesn't wait any more") }
        try checkWord(text)
        opened.append(
          try refusing(text) { () throws(Objection) in
            try admission.openDestination(text.path, creates: record.create, for: caller)
          })
      }
      let destinations = Array(opened.suffix(record.to.count))
      let resolution = try Resolution(record, source: source, destinations: destinations)
      let wanted = resolution.claims(source: source, destinations: destinations)
      let owner = try claims.take(wanted, job: name, columns: (record.from.map { [$0.column] } ?? []) + record.to.map(\.column))
      return AdmittedJob(
        record: record, name: name, number: number, caller: caller, client: client, source: source, destinations: destinations,
        regions: resolution.regions, claims: wanted, claimOwner: owner)
    } catch {
      for endpoint in opened.reversed() { admission.undo(endpoint) }
      throw error
    }
  }

  /// A word whose end looks like a region, and which also names something as it stands, can mean both: nobody guesses
  /// which disk to overwrite.
  private func checkWord(_ text: RegionText) throws(Refusal) {
    guard text.hasRegion, admission.exists(text.word) else { return }
    throw Refusal(
      errno: EINVAL, column: text.column,
      text: "\(text.word) exists, and is also a region of \(text.path); write \(text.word)@0 for the first")
  }

  private func refusing<T>(_ text: RegionText, _ body: () throws(Objection) -> T) throws(Refusal) -> T {
    do throws(Objection) {
      return try body()
    } catch {
      throw Refusal(errno: error.errno, column: text.column, text: error.text)
    }
  }
}
