internal import Admission
internal import CSystemShims
internal import Glibc
internal import Journal
public import KCopy
internal import Locking

/// What outlives the daemon.
extension JobService {
  /// All that is kept, as it stands in memory.
  var contents: Contents {
    // The client that is always there is kept like the others, for what it was set to.
    Contents(jobs: table.all.map(\.row), clients: clients.all.map(\.row), ends: succession.rows)
  }

  /// Why nothing can be accepted at this moment, for people; `nil` when all is well.
  public var trouble: String? { journal.trouble?.text }

  /// Commits of the journal that failed since the daemon began.
  public var journalFailures: UInt64 { journal.failureCount }

  /// Calls the body when the journal can't be written any more, with the reason, and with `nil` when it can again.
  public func followTrouble(_ body: @escaping @Sendable (String?) -> Void) { journal.follow { body($0?.text) } }

  // MARK: What an earlier daemon has left

  /// - Throws: `JournalError` for what this program can't have written.
  func restore(_ contents: Contents) throws(JournalError) {
    for row in contents.jobs {
      do throws(Refusal) {
        let record = try JobRecord.parse(Array(row.spec.utf8), allowingName: false)
        let predecessors = try Predecessors.ids(kept: row.predecessors, of: row.id)
        restore(try Job(row, record, changes, domains), after: predecessors)
      } catch {
        throw JournalError(
          errno: EINVAL, "the journal is damaged: job \(row.name) (number \(row.id)): \(error.text); it is left as it is")
      }
    }
    do throws(Refusal) {
      try succession.restore(contents.ends)
    } catch {
      throw JournalError(errno: EINVAL, "the journal is damaged: \(error.text); it is left as it is")
    }
  }

  private func restore(_ job: Job, after predecessors: [UInt64]) {
    if !predecessors.isEmpty, !job.isDone { job.life.withLock { $0.predecessors = succession.hold(predecessors) } }
    table.insert(job)
    job.reappeared()
    if job.isFinal { return }
    unfinished.withLock { $0 += 1 }
    // Its client is there: it was written down before it.
    let client = clients[job.facts.client] ?? clients.standard
    let ticket = client.enterAgain(for: job.facts.uid)
    let arrival = arrival(at: client, ticket)
    job.awaits(arrival)
    guard !job.life.withLock({ $0.isCancelRequested }) else {
      return resuming.add(for: job.facts.uid) { isOver in
        if arrival.claim() { self.endArrival(job, .cancelled) }
        isOver()
      }
    }
    let deadline = Locked<UInt64>(0)
    resuming.add(for: job.facts.uid) { isOver in
      let begun = deadline.withLock { deadline in
        if deadline == 0 { deadline = kcs_monotonic() + Resuming.patience }
        return deadline
      }
      self.goOn(job, arrival, ticket, until: begun, isOver)
    }
  }

  /// Goes on with what an earlier daemon has left unfinished; once, and before the first record is taken.
  ///
  /// - Throws: `DeviceError` at the limit of threads.
  public func goOn() throws(DeviceError) {
    try resuming.start { self.isStopping }
  }

  /// - Parameter deadline: until when a device that is busy is tried again.
  private func goOn(
    _ job: Job, _ arrival: Arrival, _ ticket: UInt64, until deadline: UInt64, parked: Bool = false, _ isOver: @escaping @Sendable () -> Void
  ) {
    var arriving = Arriving(job, arrival, ticket)
    arriving.parks = true
    arriving.isOver = isOver
    arriving.triesAgain = { [self] refusal in
      guard refusal.errno == EBUSY, kcs_monotonic() < deadline else { return false }
      resuming.add(for: job.facts.uid, later: true) { self.goOn(job, arrival, ticket, until: deadline, parked: parked, $0) }
      return true
    }
    do throws(Refusal) {
      // Its devices need not be there for that.
      if isHopeless(job) { throw Refusal(errno: ECANCELED, column: 0, text: "a job that it comes after has not ended well") }
      reopen(arriving, try candidate(job), .restart(parked: parked))
    } catch {
      isOver()
      if arrival.claim() { endArrival(job, .failed, error.errno) }
    }
  }

  // MARK: Jobs that wait for somebody to say so

  /// Tries again to go on with a parked job.
  ///
  /// - Returns: whether it was one.
  func resume(_ job: Job) -> Bool {
    guard let ticket = job.life.withLock({ $0.parked?.ticket }) else { return false }
    let arrival = job.unpark { left in Arrival(left: left) }
    guard let arrival else { return false }
    journal.write(job.control)
    goOn(job, arrival, ticket, until: 0, parked: true) {}
    return true
  }

  /// Ends a job that was cancelled and has nothing open.
  func endParked(_ job: Job) {
    if job.unpark({ left in Arrival(left: left) }) != nil { endArrival(job, .cancelled) }
  }
}

extension CopyClient {
  /// The client as the journal keeps it.
  var row: ClientRow {
    let shape = shape
    return ClientRow(
      name: name, uid: uid, gid: gid, mode: permissions, madeAt: madeAt, pages: UInt64(shape.pages), throttle: UInt64(shape.throttle),
      rate: shape.rate, subjob: UInt64(shape.subjob), slots: UInt64(shape.slots), maxJobs: UInt64(shape.mostJobs))
  }
}
