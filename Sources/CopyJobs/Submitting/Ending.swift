internal import Admission
internal import CSystemShims
internal import Glibc
internal import Journal
internal import KCopy
internal import Locking
internal import Synchronization

/// The end of an attempt: closed, then written down, then seen.
extension JobService {
  /// Closes what the job had open, and only then lets its end be seen: after `result` a disk can be mounted.
  func close(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?, _ notification: KCopy.Notification) {
    let end: @Sendable () -> Void = { self.close(admitted, notification) { self.finish(job, admitted, ticket, again, $0) } }
    guard let source = admitted.source, job.sourceVersion != nil else { return end() }
    source.device.version { version in
      job.hasRead(version)
      end()
    }
  }

  /// Closes what a job of which not a byte was moved had open.
  func close(_ admitted: AdmittedJob, _ done: @escaping @Sendable () -> Void) {
    let progress = CopyProgress(destinations: admitted.destinations.map { _ in DestinationProgress() })
    close(admitted, KCopy.Notification(wasCancelled: false, wasSuspended: true, progress: progress)) { _ in done() }
  }

  private func close(_ admitted: AdmittedJob, _ notification: KCopy.Notification, _ end: @escaping @Sendable (KCopy.Notification) -> Void) {
    // Nothing is open: nobody would tell of the last close.
    if admitted.endpoints.isEmpty { return end(notification) }
    let closing = Closing(notification, waiting: admitted.endpoints.count, end: end)
    if let source = admitted.source { admission.close(source) { _ in closing.closed() } }
    for (index, endpoint) in admitted.destinations.enumerated() {
      admission.close(endpoint) { closing.closed(index, region: admitted.regions.destinations[index], $0) }
    }
  }

  func finish(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?, _ notification: KCopy.Notification) {
    var notification = again?.whole(notification) ?? notification
    if admitted.record.op == .none, isStopping {
      // At the stop nobody is waited for any more: whose turn comes by that has not had its turn.
      if keepsNothing { notification.wasCancelled = true } else { notification.wasSuspended = true }
    }
    guard !notification.wasSuspended else {
      job.leave(notification)
      return journal.write(.standing(job.facts.id, job.standing)) { _ in
        self.giveBack(admitted)
        self.countEnd()
      }
    }
    job.conclude(notification)
    keepEnd(of: job, admitted, ticket)
  }

  /// Has the end of a job written down whose paths were open, and then seen.
  func keepEnd(of job: Job, _ admitted: AdmittedJob, _ ticket: UInt64) {
    keepEnd(of: job) {
      self.giveBack(admitted)
    } isVisible: {
      // Before those who wait are told, for the next that they do may be to remove the client.
      admitted.client.leave(ticket)
      self.countEnd()
    }
  }

  /// Whoever takes the place of a job is written down after its end: a restart never finds two of them.
  func giveBack(_ admitted: AdmittedJob) {
    claims.release(admitted.claimOwner, admitted.claims)
    descriptors.giveBack(admitted.endpoints)
  }

  /// A job whose paths never were open ends, or one that nobody waits to go on with.
  func endArrival(_ job: Job, _ state: JobState, _ errno: Int32 = 0) {
    job.concludeArrival(state, errno)
    keepEnd(of: job) {
    } isVisible: {
    }
  }

  /// Has the end written down, and then seen.
  ///
  /// - Parameter isDurable: called in between.
  private func keepEnd(of job: Job, isDurable: @escaping @Sendable () -> Void, isVisible: @escaping @Sendable () -> Void) {
    if keepsNothing {
      isDurable()
      return job.end(isVisible)
    }
    journal.write(.standing(job.facts.id, job.standing)) { _ in
      isDurable()
      job.end(isVisible)
    }
  }

  func countEnd() {
    unfinished.withLock { $0 -= 1 }
    someEnded.signal()
  }

  // MARK: The stop

  /// Takes no more records, leaves what runs to the next daemon (or cancels it where there is none), and ends all waiting.
  ///
  /// - Parameter seconds: how long it waits for devices that still have something in flight; the journal has one more.
  /// - Returns: the number of jobs that still have something in flight even so.
  public func stop(within seconds: UInt64) -> Int {
    stopping.store(true, ordering: .sequentiallyConsistent)
    let deadline = kcs_monotonic() + seconds * 1_000_000_000
    let running = table.all.filter { !$0.isFinal }
    for job in running { job.tell(.shutdown) }
    for job in running { stop(job) }
    clients.endWaits()
    changes.events.endWaits()
    while unfinished.withLock({ $0 }) > 0, kcs_monotonic() < deadline { someEnded.wait(until: deadline) }
    // What isn't written by then comes back as it was before.  A device that doesn't answer has taken all of the time, and
    // the journal is on another one.
    isClosed.store(journal.close(until: max(deadline, kcs_monotonic() + 1_000_000_000)), ordering: .relaxed)
    return unfinished.withLock { $0 }
  }

  /// Lets the next daemon have the state, after `stop`; it needs no more of us than that, whatever a device still has in flight.
  public func release() {
    // A journal whose disk doesn't answer is still being written.
    if isClosed.load(ordering: .relaxed) { journal.release() }
  }

  /// Stops a job; whatever it is at, it is counted as ended once.
  func stop(_ job: Job) {
    guard !keepsNothing else {
      // It can become final in between, and then there is nothing to cancel.
      try? job.cancel()
      return
    }
    if job.suspend() { countEnd() }
  }
}
