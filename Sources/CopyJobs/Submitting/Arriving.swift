internal import Admission
internal import Glibc
internal import KCopy
internal import Locking

/// Jobs that are accepted before their paths are open: what the devices say comes as the job's failure.
extension JobService {
  /// Makes a job of a draft, without looking at a device: the rename that asks for it holds the lock of its directory.
  ///
  /// - Throws: EBADMSG for what is not one good record; EPERM, EINVAL for a bad name, EBUSY for one that is taken, EDQUOT
  ///   and ENOBUFS as for a record that is written.
  public func accept(draft: [UInt8], name: String, for asker: Asker) throws(Refusal) -> Job {
    guard !isStopping else { throw Refusal(errno: ESHUTDOWN, column: 0, text: "the daemon is stopping") }
    let record = try JobRecord.only(in: draft)
    let caller = Caller(uid: asker.uid, gid: asker.gid, pid: asker.pid)
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
      destinations: record.to.map { Job.Destination(path: $0.path, identity: "") }, isResolved: false)
    let job = makeJob(record, name, candidate.number, plan, for: caller)
    let client = candidate.client
    let ticket = try ticket(of: client, for: record)
    let arrival = arrival(at: client, ticket)
    job.awaits(arrival)
    do throws(Refusal) {
      try insert(job, record)
    } catch {
      client.leave(ticket)
      throw error
    }
    arrive(job, arrival, ticket) { admitting throws(Refusal) in (try admitting.admit(candidate, caller: caller), nil) }
    return job
  }

  /// Begins the next attempt of a job that failed or was cancelled: it is queued when this returns.
  ///
  /// What lacks nothing is left alone; for the others their maps hold, unless another device stands under the path now.
  ///
  /// - Throws: EINVAL in another state; ENOENT when its client was removed, ENOBUFS when that has its `max_jobs`.
  func retry(_ job: Job) throws(Refusal) {
    guard !isStopping else { throw Refusal(errno: ESHUTDOWN, column: 0, text: "the daemon is stopping") }
    guard let caller = job.caller else { throw Refusal(errno: EPERM, column: 0, text: "nobody knows as whom") }
    let record = try JobRecord.parse(Array(job.plan.spec.utf8), allowingName: false)
    let client = try clients.use(record.client, by: job.facts.uid)
    try Job.check(.retry, job.life.withLock { $0 })
    let ticket = try ticket(of: client, for: record)
    let arrival = arrival(at: client, ticket)
    // Before the job is unfinished for others, so that a stop waits for it.
    unfinished.withLock { $0 += 1 }
    do throws(Refusal) {
      try job.beginAgain(arrival)
    } catch {
      arrival.left()
      throw error
    }
    let candidate = Admitting.Candidate(record: record, name: job.facts.name, number: job.facts.id, client: client)
    arrive(job, arrival, ticket) { admitting throws(Refusal) in
      if !job.plan.isResolved { return (try admitting.admit(candidate, caller: caller), nil) }
      return try admitting.reopen(candidate, of: job, caller: caller)
    }
    if isStopping { try? job.cancel() }
  }

  private func arrival(at client: CopyClient, _ ticket: UInt64) -> Arrival {
    Arrival { [self] in
      client.leave(ticket)
      countEnd()
    }
  }

  private func arrive(
    _ job: Job, _ arrival: Arrival, _ ticket: UInt64,
    _ open: @escaping @Sendable (Admitting) throws(Refusal) -> (AdmittedJob, Reattempt?)
  ) {
    threads.perform { [self] in
      arrival.start()
      do throws(Refusal) {
        let admitting = admitting { arrival.isAwaited }
        let (admitted, again) = try open(admitting)
        guard arrival.claim(), !arrival.isCancelled else {
          admitting.undo(admitted)
          // Never before what was opened is closed.
          if arrival.isCancelled { job.cancelArrival() }
          return
        }
        do throws(Refusal) {
          try beginArrived(job, admitted, ticket, again)
        } catch {
          admitting.undo(admitted)
          fail(job, error)
        }
      } catch {
        guard arrival.claim() else { return }
        if arrival.isCancelled { job.cancelArrival() } else { fail(job, error) }
      }
    } late: { [self] in
      // A cancelled one ends when what is being opened is closed again; unless nobody has begun to.
      if arrival.isCancelled {
        if !arrival.hasStarted, arrival.claim() { job.cancelArrival() }
        return
      }
      guard arrival.claim() else { return }
      fail(job, Refusal(errno: ETIMEDOUT, column: 0, text: "the paths of the record did not open in time"))
    }
  }

  private func beginArrived(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?) throws(Refusal) {
    let growth = try Growth(admitted, claims)
    let before = job.plan
    if again == nil { job.life.withLock { $0.plan = admitted.plan } }
    do throws(Refusal) {
      try begin(job, admitted, ticket, again)
    } catch {
      // What create=yes made goes again, and the next attempt has to make it anew.
      job.life.withLock { $0.plan = before }
      growth.undo(admitted, claims)
      throw error
    }
  }

  private func fail(_ job: Job, _ refusal: Refusal) {
    let process = job.caller?.process ?? 0
    refusals.add(refusal, record: Array(job.plan.spec.utf8), job: job.facts.name, uid: job.facts.uid, pid: process)
    job.failArrival(refusal.errno)
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
