internal import Admission
internal import Glibc
internal import KCopy

/// Jobs that come after others: all of theirs is open and claimed, and they hold no turn with their client.
extension JobService {
  /// Has a job wait for others; it then begins, or ends without having begun.
  func wait(_ job: Job, for predecessors: [UInt64], _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?) {
    let waiting = Waiting(for: predecessors.count, turns) { waiting, end in
      for (id, observer) in waiting.observers { self.table[id]?.stopObserving(observer) }
      self.endWait(of: job, end, admitted, ticket, again)
    }
    job.waits(waiting)
    for id in predecessors { follow(id, waiting) }
  }

  private func follow(_ id: UInt64, _ waiting: Waiting) {
    let observer = table[id]?.observe { [weak self] event in
      // At the stop nobody is told how it ends.
      if case .shutdown = event { return }
      guard let self else { return }
      waiting.predecessorEnded(isDone: isDone(id))
    }
    if let observer { waiting.observes(id, observer) } else { waiting.predecessorEnded(isDone: isDone(id)) }
  }

  /// Whether a job is done, of which it is known that an attempt has ended: then in the next one it isn't.
  private func isDone(_ id: UInt64) -> Bool { table[id]?.isDone ?? (succession.end(of: id) == .done) }

  /// Whether one of those that a job comes after has failed or was cancelled.
  func isHopeless(_ job: Job) -> Bool {
    job.predecessors?.ids.contains { id in table[id]?.isFinal != false && !isDone(id) } == true
  }

  private func endWait(of job: Job, _ end: Waiting.End, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?) {
    switch end {
    case .due:
      // Those that it comes after may have written it: it is to stay as it is from here on.
      guard admitted.source?.device.isBlockDevice == false else { return begin(job, admitted, ticket, again, reading: nil) }
      admitted.source?.device.version { version in
        self.turns.perform { self.begin(job, admitted, ticket, again, reading: version) }
      }
    case .hopeless: endUnbegun(job, .failed, ECANCELED, admitted, ticket)
    case .cancelled: endUnbegun(job, .cancelled, 0, admitted, ticket)
    case .suspended:
      close(admitted) {
        self.giveBack(admitted)
        self.countEnd()
      }
    }
  }

  private func begin(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?, reading version: FileVersion?) {
    job.isDue()
    do throws(Refusal) {
      try work(job, admitted, ticket, again, reading: version)
    } catch {
      refusals.add(error, record: Array(job.plan.spec.utf8), job: job.facts.name, uid: job.facts.uid, pid: job.caller?.process ?? 0)
      endUnbegun(job, .failed, error.errno, admitted, ticket)
    }
    if isStopping { stop(job) }
  }

  /// Ends a job that has begun nothing.
  private func endUnbegun(_ job: Job, _ state: JobState, _ errno: Int32, _ admitted: AdmittedJob, _ ticket: UInt64) {
    close(admitted) {
      job.concludeArrival(state, errno)
      self.keepEnd(of: job, admitted, ticket)
    }
  }
}
