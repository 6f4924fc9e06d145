internal import Admission
internal import Glibc
internal import Journal
internal import KCopy
internal import Locking

/// Jobs whose paths are opened after they were accepted: of drafts, of retries, and after a restart.
extension JobService {
  /// Makes a job of a draft, without looking at a device: the rename that asks for it holds the lock of its directory.
  ///
  /// - Parameter reply: answered with 0 once the job is kept; only the journal is waited for.
  /// - Throws: EBADMSG for what is not one good record; EPERM, EINVAL for a bad name, EBUSY for one that is taken, EDQUOT
  ///   and ENOBUFS as for a record that is written.
  public func accept(draft: [UInt8], name: String, for asker: Asker, reply: any SubmissionReply) throws(Refusal) {
    guard !isStopping else { throw Refusal(errno: ESHUTDOWN, column: 0, text: "the daemon is stopping") }
    let record = try JobRecord.only(in: draft)
    let caller = Caller(uid: asker.uid, gid: asker.gid, pid: asker.pid, foreigners: configuration.foreigners)
    let candidate: Admitting.Candidate
    do throws(Refusal) {
      candidate = try admitting { true }.candidate(record, name: name, caller: caller)
    } catch {
      // mv(1) has a sentence of its own for EINVAL, which fits nothing here.
      let isRecord = error.errno == EINVAL || error.errno == ENOENT || error.errno == EACCES
      throw Refusal(errno: isRecord ? EBADMSG : error.errno, column: error.column, text: error.text)
    }
    guard let caller else { throw Refusal(errno: EPERM, column: 0, text: "the caller cannot be seen") }
    let plan = Job.Plan(
      spec: record.normalised(from: record.from, to: record.to), source: nil,
      destinations: record.to.map { Job.Destination(path: $0.path, device: Job.Identified(identity: "", birth: 0)) }, isResolved: false)
    let job = makeJob(record, name, candidate.number, plan, for: caller, after: candidate.predecessors)
    let client = candidate.client
    let ticket = try enter(job, client, record)
    let arrival = arrival(at: client, ticket)
    job.awaits(arrival)
    let end = threads.watch {
      guard reply.claim() else { return }
      reply.answer(.failure(Refusal(errno: ETIMEDOUT, column: 0, text: "the journal doesn't answer")))
    }
    journal.write(.accept([job.row])) { error in
      defer { end() }
      if let error {
        self.leave(job, client, ticket)
        if reply.claim() { reply.answer(.failure(Self.refusal(error))) }
      } else if !reply.claim() {
        self.leave(job, client, ticket)
        self.journal.write(.remove(job.facts.id))
      } else {
        self.appear(job)
        reply.answer(.success(0))
        self.arrive(Arriving(job, arrival, ticket)) { admitting throws(Refusal) in (try admitting.admit(candidate, caller: caller), nil) }
        if self.isStopping { self.stop(job) }
      }
    }
  }

  /// Begins the next attempt of a job that failed or was cancelled: it is queued when this returns.
  ///
  /// What lacks nothing is left alone; for the others their maps hold, unless another device stands under the path now.
  ///
  /// - Throws: EINVAL in another state; ENOENT when its client was removed, ENOBUFS when that has its `max_jobs`.
  func retry(_ job: Job) throws(Refusal) {
    guard !isStopping else { throw Refusal(errno: ESHUTDOWN, column: 0, text: "the daemon is stopping") }
    let candidate = try candidate(job)
    try Job.check(.retry, job.life.withLock { $0 })
    let ticket = try ticket(of: candidate.client, for: candidate.record, of: job.facts.uid)
    let arrival = arrival(at: candidate.client, ticket)
    // Before the job is unfinished for others, so that a stop waits for it.
    unfinished.withLock { $0 += 1 }
    do throws(Refusal) {
      try job.beginAgain(arrival)
    } catch {
      arrival.left()
      throw error
    }
    journal.write(.replace(job.row))
    if isHopeless(job) {
      if arrival.claim() { endArrival(job, .failed, ECANCELED) }
    } else {
      reopen(Arriving(job, arrival, ticket), candidate, .retry)
    }
    if isStopping { stop(job) }
  }

  /// What a job was accepted as, with its client.
  func candidate(_ job: Job) throws(Refusal) -> Admitting.Candidate {
    let record = try JobRecord.parse(Array(job.plan.spec.utf8), allowingName: false)
    let client = try clients.use(record.client, by: job.facts.uid)
    return Admitting.Candidate(
      record: record, name: job.facts.name, number: job.facts.id, client: client, predecessors: job.predecessors)
  }

  func arrival(at client: CopyClient, _ ticket: UInt64) -> Arrival {
    Arrival { [self] in
      client.leave(ticket)
      countEnd()
    }
  }

  /// Opens again what a job needs, and goes on with it.
  func reopen(_ arriving: Arriving, _ candidate: Admitting.Candidate, _ cause: Admitting.Cause) {
    let job = arriving.job
    arrive(arriving) { admitting throws(Refusal) in
      guard let caller = job.caller else { throw Refusal(errno: EPERM, column: 0, text: "nobody knows as whom") }
      if let objection = caller.objection { throw Refusal(errno: EPERM, column: 0, text: objection) }
      if !job.plan.isResolved { return (try admitting.admit(candidate, caller: caller), nil) }
      return try admitting.reopen(candidate, of: job, caller: caller, cause)
    }
  }

  /// A job on its way to its devices.
  struct Arriving: Sendable {
    let job: Job
    let arrival: Arrival
    let ticket: UInt64
    /// Says whether it is to be tried once more after this refusal, and then sees to it; asked by nobody who has given up.
    var triesAgain: @Sendable (Refusal) -> Bool = { _ in false }
    /// A refusal doesn't end the job: it is parked.
    var parks = false
    /// Called when nothing is being opened any more, or nobody waits for that.
    var isOver: @Sendable () -> Void = {}

    init(_ job: Job, _ arrival: Arrival, _ ticket: UInt64) {
      self.job = job
      self.arrival = arrival
      self.ticket = ticket
    }
  }

  private func arrive(
    _ arriving: Arriving, _ open: @escaping @Sendable (Admitting) throws(Refusal) -> (AdmittedJob, Reattempt?)
  ) {
    let (job, arrival) = (arriving.job, arriving.arrival)
    threads.perform(for: job.facts.uid) { [self] in
      defer { arriving.isOver() }
      arrival.start()
      do throws(Refusal) {
        let admitting = admitting { arrival.isAwaited }
        let (admitted, again) = try open(admitting)
        guard arrival.claim(), !arrival.isCancelled else {
          admitting.undo(admitted)
          // Never before what was opened is closed.
          if arrival.isCancelled { endArrival(job, .cancelled) }
          return
        }
        do throws(Refusal) {
          try beginArrived(arriving, admitted, again)
        } catch {
          admitting.undo(admitted)
          refuse(arriving, error)
        }
      } catch {
        if !arrival.isCancelled, arriving.triesAgain(error) { return }
        guard arrival.claim() else { return }
        if arrival.isCancelled { endArrival(job, .cancelled) } else { refuse(arriving, error) }
      }
    } late: { [self] in
      defer { arriving.isOver() }
      // A cancelled one ends when what is being opened is closed again; unless nobody has begun to.
      if arrival.isCancelled {
        if !arrival.hasStarted, arrival.claim() { endArrival(job, .cancelled) }
        return
      }
      guard arrival.claim() else { return }
      refuse(arriving, Refusal(errno: ETIMEDOUT, column: 0, text: "the paths of the record did not open in time"))
    }
  }

  private func beginArrived(_ arriving: Arriving, _ admitted: AdmittedJob, _ again: Reattempt?) throws(Refusal) {
    let job = arriving.job
    let growth = try Growth(admitted, claims)
    let before = job.plan
    job.warns(admitted.warnings)
    job.life.withLock { $0.plan = again.map { before.updated(by: admitted, $0.indices) } ?? admitted.plan }
    // Before any checkpoint that is about these devices.
    if job.plan != before { journal.write(.replace(job.row)) }
    do throws(Refusal) {
      try begin(job, admitted, arriving.ticket, again)
    } catch {
      // What create=yes made goes again, and the next attempt has to make it anew.
      job.life.withLock { $0.plan = before }
      growth.undo(admitted, claims)
      throw error
    }
    if isStopping { stop(job) }
  }

  private func refuse(_ arriving: Arriving, _ refusal: Refusal) {
    let job = arriving.job
    let process = job.caller?.process ?? 0
    refusals.add(refusal, record: Array(job.plan.spec.utf8), job: job.facts.name, uid: job.facts.uid, pid: process)
    guard arriving.parks else { return endArrival(job, .failed, refusal.errno) }
    switch refusal.errno {
    case EBUSY: job.park(.busy, arriving.ticket)
    case ESTALE: job.park(.identity, arriving.ticket)
    default: job.park(.unusable(refusal.errno), arriving.ticket)
    }
    if isStopping { stop(job) }
  }
}

extension Job.Plan {
  /// The plan with what is known of the devices now.
  ///
  /// - Parameter indices: the destinations of the job that were opened.
  fileprivate func updated(by admitted: AdmittedJob, _ indices: [Int]) -> Job.Plan {
    var plan = self
    let now = admitted.plan
    if let source = now.source { plan.source = source }
    for (place, index) in indices.enumerated() { plan.destinations[index].device = now.destinations[place].device }
    return plan
  }
}

extension JobRecord {
  /// The one record of a file; its last line need not have a newline, for the file is complete.
  fileprivate static func only(in bytes: [UInt8]) throws(Refusal) -> JobRecord {
    func bad(_ error: Refusal) -> Refusal { Refusal(errno: EBADMSG, column: error.column, text: error.text) }
    var buffer = RecordBuffer()
    buffer.append(bytes)
    var records: [[UInt8]] = []
    search: while true {
      switch buffer.next() {
      case .record(let record, _): records.append(record)
      case .tooLong: throw Refusal(errno: EBADMSG, column: 0, text: "a record has at most \(JobRecord.maximumLength) bytes")
      case .incomplete: break search
      }
    }
    if let rest = buffer.finish() { records.append(rest) }
    guard records.count == 1 else {
      let what = records.isEmpty ? "there is no record in it" : "one file in jobs/ is one job; submit takes many"
      throw Refusal(errno: EBADMSG, column: 0, text: what)
    }
    do throws(Refusal) {
      return try parse(records[0], allowingName: false)
    } catch {
      throw bad(error)
    }
  }
}
