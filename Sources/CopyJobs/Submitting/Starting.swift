internal import Admission
internal import CSystemShims
internal import Glibc
internal import KCopy
internal import Locking

/// From what was admitted to a job that runs, and to its end.
extension JobService {
  /// Makes a job of what was admitted and gives it to its client.
  ///
  /// - Throws: EEXIST or EBUSY when its name was taken meanwhile, EDQUOT when others took the last place; ENOBUFS when its
  ///   client has as many jobs as it may, ENOENT when that was removed; the errno of `ftruncate(2)`, or the engine's.  Then it
  ///   is still to be undone.
  func start(_ admitted: AdmittedJob, for caller: Caller) throws(Refusal) -> Job {
    let job = makeJob(admitted.record, admitted.name, admitted.number, admitted.plan, for: caller)
    let ticket = try ticket(of: admitted.client, for: admitted.record)
    do throws(Refusal) {
      let growth = try Growth(admitted, claims)
      do throws(Refusal) {
        try insert(job, admitted.record)
        try beginNew(job, admitted, ticket)
      } catch {
        growth.undo(admitted, claims)
        throw error
      }
    } catch {
      admitted.client.leave(ticket)
      throw error
    }
    // Nobody else cancels a job that starts while the others are being cancelled, unless it is final already.
    if isStopping { try? job.cancel() }
    return job
  }

  func makeJob(_ record: JobRecord, _ name: String, _ number: UInt64, _ plan: Job.Plan, for caller: Caller) -> Job {
    let facts = Job.Facts(
      id: number, name: name, uid: caller.uid, gid: caller.gid, operation: record.op.rawValue, client: record.client,
      context: record.context, queuedAt: kcs_realtime())
    return Job(facts, plan, caller: caller, permissions: record.mode ?? 0o755 & ~caller.umask, changes)
  }

  func ticket(of client: CopyClient, for record: JobRecord) throws(Refusal) -> UInt64 {
    do throws(Refusal) {
      return try client.enter()
    } catch {
      throw Refusal(errno: error.errno, column: record.column(of: "client"), text: error.text)
    }
  }

  /// From here on others see the job.
  func insert(_ job: Job, _ record: JobRecord) throws(Refusal) {
    let mostOfUid = job.facts.uid == 0 ? Int.max : configuration.mostJobsPerUid
    switch table.insert(job, most: configuration.mostJobs, mostOfUid: mostOfUid) {
    case .done: break
    case .nameIsTaken: throw Admitting.nameIsTaken(job.facts.name, record)
    // Those admitted before it, in this write or another, were not jobs yet when it was looked at.
    case .full: throw tooMany
    case .fullForUid: throw tooManyOfUid
    }
    unfinished.withLock { $0 += 1 }
    job.appeared()
  }

  /// Gives a new job its work; if the engine refuses that, it never was a job.
  private func beginNew(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64) throws(Refusal) {
    if admitted.record.op == .none, admitted.client.haveLeft(through: ticket - 1) {
      // Nothing is before it: its turn has come already, and no thread need be woken for that.
      return finish(job, admitted, ticket, nil, Barrier.reached)
    }
    do throws(Refusal) {
      try begin(job, admitted, ticket, nil)
    } catch {
      forget(job)
      countEnd()
      throw error
    }
  }

  /// Gives the job its work.
  ///
  /// - Parameter again: what is left to do of an earlier attempt.
  /// - Throws: what the engine refuses; then nothing has begun.
  func begin(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?) throws(Refusal) {
    if admitted.record.op == .none {
      let barrier = Barrier(admitted.client, turns) { self.finish(job, admitted, ticket, nil, $0) }
      job.began(barrier)
      return barrier.wait(for: ticket)
    }
    // Nothing that is lacking could be opened: then this is the end.
    if admitted.destinations.isEmpty {
      var progress = CopyProgress(destinations: [])
      progress.startedAt = kcs_realtime()
      return close(job, admitted, ticket, again, KCopy.Notification(wasCancelled: false, progress: progress))
    }
    do throws(DeviceError) {
      job.began(CopyWork(try copy(job, admitted, ticket, again), of: admitted.client.engine, again))
    } catch {
      let place = admitted.record.to.first?.column ?? 0
      throw Refusal(errno: error.errno, column: place, text: "the engine refuses it: \(error.call)")
    }
  }

  private func copy(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?) throws(DeviceError) -> Copy {
    let (engine, regions, options) = (admitted.client.engine, admitted.regions, admitted.record.options)
    let maps = again?.startingMaps ?? []
    let changed: @Sendable () -> Void = { job.lookAgain() }
    let notify: @Sendable (KCopy.Notification) -> Void = { self.close(job, admitted, ticket, again, $0) }
    guard let source = regions.source else {
      return try engine.zero(regions.destinations, options: options, maps: maps, changed: changed, notify: notify)
    }
    return try engine.copy(from: source, to: regions.destinations, options: options, maps: maps, changed: changed, notify: notify)
  }

  /// Closes what the job had open, and only then lets its end be seen: after `result` a disk can be mounted.
  private func close(
    _ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?, _ notification: KCopy.Notification
  ) {
    // Nothing is open: nobody would tell of the last close.
    if admitted.endpoints.isEmpty { return finish(job, admitted, ticket, again, notification) }
    let closing = Closing(notification, waiting: admitted.endpoints.count) { self.finish(job, admitted, ticket, again, $0) }
    if let source = admitted.source { admission.close(source) { _ in closing.closed() } }
    for (index, endpoint) in admitted.destinations.enumerated() {
      admission.close(endpoint) { closing.closed(index, region: admitted.regions.destinations[index], $0) }
    }
  }

  private func finish(
    _ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?, _ notification: KCopy.Notification
  ) {
    claims.release(admitted.claimOwner, admitted.claims)
    descriptors.giveBack(admitted.descriptors)
    var notification = again?.whole(notification) ?? notification
    // At the stop nobody is waited for any more: whose turn comes by that has not had its turn.
    if admitted.record.op == .none, isStopping { notification.wasCancelled = true }
    job.end(notification) {
      // Before those who wait are told, for the next that they do may be to remove the client.
      admitted.client.leave(ticket)
      countEnd()
    }
  }

  func countEnd() {
    unfinished.withLock { $0 -= 1 }
    someEnded.signal()
  }
}
