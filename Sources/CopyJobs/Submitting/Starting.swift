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
  func start(_ admitted: AdmittedJob) throws(Refusal) -> Job {
    let job = Job(facts(of: admitted), permissions: admitted.record.mode ?? 0o755 & ~admitted.caller.umask)
    let ticket = try ticket(for: admitted)
    do throws(Refusal) {
      try start(job, admitted, ticket)
    } catch {
      admitted.client.leave(ticket)
      throw error
    }
    // Nobody else cancels a job that starts while the others are being cancelled, unless it is final already.
    if isStopping { try? job.cancel() }
    return job
  }

  private func facts(of admitted: AdmittedJob) -> Job.Facts {
    let (record, regions) = (admitted.record, admitted.regions)
    return Job.Facts(
      id: admitted.number, name: admitted.name, uid: admitted.caller.uid, gid: admitted.caller.gid, spec: admitted.spec,
      operation: record.op.rawValue, client: record.client, context: record.context, bytesTotal: admitted.bytesTotal,
      destinations: zip(admitted.destinations, regions.destinations).map { endpoint, region in
        Job.Destination(path: endpoint.path, identity: endpoint.identity, mapStart: (regions.source ?? region).start)
      }, queuedAt: kcs_realtime())
  }

  private func ticket(for admitted: AdmittedJob) throws(Refusal) -> UInt64 {
    do throws(Refusal) {
      return try admitted.client.enter()
    } catch {
      throw Refusal(errno: error.errno, column: admitted.record.column(of: "client"), text: error.text)
    }
  }

  private func start(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64) throws(Refusal) {
    let growth = try Growth(admitted, claims)
    do throws(Refusal) {
      switch table.insert(job, most: configuration.mostJobs) {
      case .done: break
      case .nameIsTaken: throw Admitting.nameIsTaken(admitted.name, admitted.record)
      // Those admitted before it, in this write or another, were not jobs yet when it was looked at.
      case .full: throw tooMany
      }
      unfinished.withLock { $0 += 1 }
      try begin(job, admitted, ticket)
    } catch {
      growth.undo(admitted, claims)
      throw error
    }
  }

  /// Gives the job its work; if the engine refuses that, it never was a job.
  private func begin(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64) throws(Refusal) {
    if admitted.record.op == .none {
      let barrier = Barrier(admitted.client, turns) { self.finish(job, admitted, ticket, $0) }
      job.began(barrier)
      return barrier.wait(for: ticket)
    }
    do throws(DeviceError) {
      job.began(CopyWork(try copy(job, admitted, ticket), of: admitted.client.engine))
    } catch {
      table.remove(job)
      job.tell(.removed)
      countEnd()
      let place = admitted.record.to.first?.column ?? 0
      throw Refusal(errno: error.errno, column: place, text: "the engine refuses it: \(error.call)")
    }
  }

  private func copy(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64) throws(DeviceError) -> Copy {
    let (engine, regions, options) = (admitted.client.engine, admitted.regions, admitted.record.options)
    let notify: @Sendable (KCopy.Notification) -> Void = { self.close(job, admitted, ticket, $0) }
    guard let source = regions.source else { return try engine.zero(regions.destinations, options: options, notify: notify) }
    return try engine.copy(from: source, to: regions.destinations, options: options, notify: notify)
  }

  /// Closes what the job had open, and only then lets its end be seen: after `result` a disk can be mounted.
  private func close(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ notification: KCopy.Notification) {
    let closing = Closing(notification, waiting: admitted.endpoints.count) { self.finish(job, admitted, ticket, $0) }
    if let source = admitted.source { admission.close(source) { _ in closing.closed() } }
    for (index, endpoint) in admitted.destinations.enumerated() {
      admission.close(endpoint) { closing.closed(index, region: admitted.regions.destinations[index], $0) }
    }
  }

  private func finish(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ notification: KCopy.Notification) {
    claims.release(admitted.claimOwner, admitted.claims)
    descriptors.giveBack(DescriptorBudget.need(of: admitted.record))
    var notification = notification
    // At the stop nobody is waited for any more: whose turn comes by that has not had its turn.
    if admitted.record.op == .none, isStopping { notification.wasCancelled = true }
    job.end(notification) {
      // Before those who wait are told, for the next that they do may be to remove the client.
      admitted.client.leave(ticket)
      countEnd()
    }
  }

  private func countEnd() {
    unfinished.withLock { $0 -= 1 }
    someEnded.signal()
  }
}
