internal import Admission
internal import CSystemShims
internal import Glibc
internal import Journal
internal import KCopy
internal import Locking

/// A job whose acceptance is being made durable: it has its name, its place with its client and its files, and nobody sees it.
struct Candidacy: Sendable {
  let job: Job
  let admitted: AdmittedJob
  let ticket: UInt64
  let growth: Growth
}

/// From what was admitted to a job that runs.
extension JobService {
  /// Makes a job of what was admitted; next it is kept, and then started or withdrawn.
  ///
  /// - Throws: EEXIST or EBUSY when its name was taken meanwhile, EDQUOT when others took the last place; ENOBUFS when its
  ///   client has as many jobs as it may, ENOENT when that was removed; the errno of `ftruncate(2)`.  Then it is undone.
  func prepare(_ admitted: AdmittedJob, for caller: Caller) throws(Refusal) -> Candidacy {
    do throws(Refusal) {
      let job = makeJob(
        admitted.record, admitted.name, admitted.number, admitted.plan, for: caller, after: admitted.predecessors)
      job.life.withLock { $0.warnings = admitted.warnings }
      let ticket = try enter(job, admitted.client, admitted.record)
      do throws(Refusal) {
        return Candidacy(job: job, admitted: admitted, ticket: ticket, growth: try Growth(admitted, claims))
      } catch {
        leave(job, admitted.client, ticket)
        throw error
      }
    } catch {
      undo(admitted)
      throw error
    }
  }

  /// Takes back what `prepare` did: the job never was one.
  func withdraw(_ candidacy: Candidacy) {
    candidacy.growth.undo(candidacy.admitted, claims)
    leave(candidacy.job, candidacy.admitted.client, candidacy.ticket)
    undo(candidacy.admitted)
  }

  /// Starts a job whose acceptance is durable.
  ///
  /// - Throws: what the engine refuses; then it is withdrawn, and no restart knows it.
  func start(_ candidacy: Candidacy) throws(Refusal) {
    let (job, admitted, ticket) = (candidacy.job, candidacy.admitted, candidacy.ticket)
    appear(job)
    if admitted.record.op == .none, admitted.predecessors == nil, admitted.client.haveLeft(through: ticket - 1) {
      // Nothing is before it: its turn has come already, and no thread need be woken for that.
      return finish(job, admitted, ticket, nil, Barrier.reached)
    }
    do throws(Refusal) {
      try begin(job, admitted, ticket, nil)
    } catch {
      forget(job)
      withdraw(candidacy)
      countEnd()
      throw error
    }
    // Nobody else stops a job that starts while the others are being stopped.
    if isStopping { stop(job) }
  }

  func makeJob(
    _ record: JobRecord, _ name: String, _ number: UInt64, _ plan: Job.Plan, for caller: Caller, after predecessors: Predecessors?
  ) -> Job {
    let facts = Job.Facts(
      id: number, name: name, uid: caller.uid, gid: caller.gid, operation: record.op.rawValue, client: record.client,
      context: record.context, queuedAt: kcs_realtime())
    return Job(facts, plan, caller: caller, permissions: record.mode ?? 0o755 & ~caller.umask, after: predecessors, changes)
  }

  /// Takes the name of a job and its place with its client.
  ///
  /// - Returns: its ticket.
  func enter(_ job: Job, _ client: CopyClient, _ record: JobRecord) throws(Refusal) -> UInt64 {
    let ticket = try ticket(of: client, for: record, of: job.facts.uid)
    do throws(Refusal) {
      let mostOfUid = job.facts.uid == 0 ? Int.max : configuration.mostJobsPerUid
      switch table.reserve(job, most: configuration.mostJobs, mostOfUid: mostOfUid) {
      case .done: return ticket
      case .nameIsTaken: throw Admitting.nameIsTaken(job.facts.name, record)
      // Those admitted before it, in this write or another, were not jobs yet when it was looked at.
      case .full: throw tooMany
      case .fullForUid: throw tooManyOfUid
      }
    } catch {
      client.leave(ticket)
      throw error
    }
  }

  func leave(_ job: Job, _ client: CopyClient, _ ticket: UInt64) {
    table.giveUp(job)
    client.leave(ticket)
  }

  func ticket(of client: CopyClient, for record: JobRecord, of uid: UInt32) throws(Refusal) -> UInt64 {
    do throws(Refusal) {
      return try client.enter(for: uid)
    } catch {
      throw Refusal(errno: error.errno, column: record.column(of: "client"), text: error.text)
    }
  }

  /// From here on others see the job.
  func appear(_ job: Job) {
    table.insert(job)
    unfinished.withLock { $0 += 1 }
    job.appeared()
  }

  /// Gives the job its work, or has it wait for those that it comes after.
  ///
  /// - Parameter again: what is left to do of an earlier attempt, or after a restart.
  /// - Throws: what the engine refuses; then nothing has begun.
  func begin(_ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?) throws(Refusal) {
    guard let predecessors = admitted.predecessors else {
      return try work(job, admitted, ticket, again, reading: admitted.source?.device.versionAtOpen)
    }
    wait(job, for: predecessors.ids, admitted, ticket, again)
  }

  /// - Parameter version: of the source, if that is a file.
  func work(
    _ job: Job, _ admitted: AdmittedJob, _ ticket: UInt64, _ again: Reattempt?, reading version: FileVersion?
  ) throws(Refusal) {
    job.reads(admitted.isCopyWithinFile ? nil : version)
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
    let (engine, regions) = (admitted.client.engine, admitted.regions)
    var options = admitted.record.options
    // Whoever has many jobs, or gives them the first priority, takes no more from others than who has one.
    options.share = UInt64(job.facts.uid)
    // Asked for before it begins, or before a restart: then not a byte is moved.
    job.life.withLock { life in
      options.startsPaused = life.isPauseRequested
      life.settings.apply(to: &options)
    }
    let maps = again?.startingMaps ?? admitted.startingMaps
    let changed: @Sendable () -> Void = { job.lookAgain() }
    var checkpointed: (@Sendable () -> Void)?
    if !keepsNothing {
      checkpointed = { [journal] in journal.write(.checkpoint(job.facts.id) { job.isFinal ? nil : job.standing }) }
    }
    let notify: @Sendable (KCopy.Notification) -> Void = { self.close(job, admitted, ticket, again, $0) }
    guard let source = regions.source else {
      return try engine.zero(
        regions.destinations, options: options, maps: maps, changed: changed, checkpointed: checkpointed, notify: notify)
    }
    return try engine.copy(
      from: source, to: regions.destinations, options: options, maps: maps, changed: changed, checkpointed: checkpointed,
      notify: notify)
  }
}
