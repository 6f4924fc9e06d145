internal import Admission
internal import CSystemShims
internal import Glibc
internal import Journal
internal import Locking

/// The answer to one write, which more than one would like to give: the job's acceptance, a deadline, a signal.
public protocol SubmissionReply: Sendable {
  /// Takes the right to answer; true for one only.
  func claim() -> Bool
  /// Answers, after `claim`: with the count of bytes that are taken, or an errno.
  func answer(_ result: Result<Int, Refusal>)
}

/// One open file that records are written to: `jobs/NAME`, `submit` or `check`.
public final class Submission: Sendable {
  /// What becomes of its records.
  public enum Purpose: Sendable, Equatable {
    /// One becomes the job of this name.
    case job(String)
    /// Each becomes a job, whose name can be read back.
    case jobs
    /// Nothing is started; each can be read back as it would be done.
    case check
  }

  private struct State {
    var buffer = RecordBuffer()
    /// The write that is being decided, for the answer of one that came too late changes nothing.
    var deciding: Write?
    var hasJob = false
    /// What good records are answered with, and has not been read yet.
    var answers: [UInt8] = []
    var unfinishedWasRefused = false
  }

  /// How long a batch takes in records, of the 5 s that a write may take; nanoseconds.
  private static let patience: UInt64 = 2_000_000_000
  /// What answers may wait to be read.
  private static let mostAnswers = 4 << 20

  public let purpose: Purpose
  let caller: Caller?
  private let uid: UInt32
  private let gid: UInt32
  /// A thread, as requests carry it.
  private let pid: Int32
  private let jobs: JobService
  /// Whether somebody can read how its records were taken.
  private let isAnswered: Bool
  private let state = Locked(State())

  init(_ jobs: JobService, _ purpose: Purpose, uid: UInt32, gid: UInt32, pid: Int32, isRead: Bool) {
    self.jobs = jobs
    self.purpose = purpose
    self.uid = uid
    self.gid = gid
    self.pid = pid
    isAnswered = if case .job = purpose { false } else { isRead }
    caller = Caller(uid: uid, gid: gid, pid: pid, foreigners: jobs.configuration.foreigners)
  }

  /// The name of the file in `jobs/`.
  public var name: String? { if case .job(let name) = purpose { name } else { nil } }

  /// Takes the bytes of a write; decides at once about what needs no look at a device.
  ///
  /// - Parameters:
  ///   - uid: who writes now, which has to be who opened.
  ///   - write: what `abandon` names it by.
  public func take(_ bytes: [UInt8], as write: Write, uid: UInt32, gid: UInt32) -> Taken {
    guard uid == self.uid, gid == self.gid else {
      let text = "written by uid \(uid) gid \(gid), opened by uid \(self.uid) gid \(self.gid)"
      return .turnedAway(note(Refusal(errno: EPERM, column: 0, text: text), bytes))
    }
    guard state.withLock({ $0.answers.count < Self.mostAnswers }) else {
      let text = "\(Self.mostAnswers) bytes of answers to earlier records wait to be read from this descriptor"
      return .turnedAway(note(Refusal(errno: ENOBUFS, column: 0, text: text), bytes))
    }
    let batch: Batch? = state.withLock { state in
      guard state.deciding == nil else { return nil }
      state.buffer.append(bytes)
      return take(&state, write, count: bytes.count)
    }
    guard let batch else { return .turnedAway(isBusy()) }
    guard !batch.records.isEmpty || batch.endsTooLong else { return .answered(.success(bytes.count)) }
    guard isDecidedAtOnce(batch) else { return .undecided(batch) }
    let answer = Locked<Result<Int, Refusal>?>(nil)
    // Nothing is kept, so nothing is waited for.
    decide(batch, claim: { true }, done: { result in answer.withLock { $0 = result } })
    guard let result = answer.withLock({ $0 }) else { preconditionFailure("a decision that waits for nothing came late") }
    return .answered(result)
  }

  /// Takes what is there as a complete record, as `fsync(2)` asks; `nil` when there is nothing.
  public func finish(as write: Write) -> Taken? {
    let batch: Batch? = state.withLock { state in
      guard state.deciding == nil else { return nil }
      var batch = Batch(write: write, count: 0)
      guard let record = state.buffer.finish() else { return batch }
      state.deciding = write
      batch.records = [written(record, end: 0)]
      return batch
    }
    guard let batch else { return .turnedAway(isBusy()) }
    return batch.records.isEmpty ? nil : .undecided(batch)
  }

  /// Decides about a write on a thread that may wait for a device, and answers it.
  public func decide(_ batch: Batch, reply: any SubmissionReply) {
    jobs.threads.perform(for: uid) { end in
      let done: @Sendable (Result<Int, Refusal>?) -> Void = { result in
        if let result { reply.answer(result) }
        end()
      }
      self.decide(batch, claim: { reply.claim() }, done: done)
    } late: {
      guard reply.claim() else { return }
      self.abandon(batch.write)
      let refusal = Refusal(errno: ETIMEDOUT, column: 0, text: "the paths of the record did not open in time")
      reply.answer(.failure(self.note(refusal, batch.records.first?.bytes ?? [])))
    }
  }

  /// Whether the descriptor is being closed in the middle of a record; the first time it is taken down in `errors`.
  ///
  /// - Parameter thread: who closes; `nil` after the last close.  Every process that inherits the descriptor flushes it
  ///   at its own end, so only the one that opened it can be told.
  public func closesUnfinished(byThread thread: Int32?) -> Refusal? {
    guard state.withLock({ $0.buffer.hasUnfinishedRecord }) else { return nil }
    if let thread, thread != pid, Caller.process(ofThread: thread) != caller?.process { return nil }
    let unfinished: [UInt8]? = state.withLock { state in
      guard state.buffer.hasUnfinishedRecord, state.deciding == nil else { return nil }
      defer { state.unfinishedWasRefused = true }
      var copy = state.buffer
      return state.unfinishedWasRefused ? [] : copy.finish()
    }
    guard let unfinished else { return nil }
    let refusal = Refusal(errno: EINVAL, column: unfinished.count, text: "the record has no newline at its end, so it may be half of one")
    return unfinished.isEmpty ? refusal : note(refusal, unfinished)
  }

  /// A signal or the deadline ended a write while it was being decided: what comes of it later is undone.
  public func abandon(_ write: Write) {
    state.withLock { state in
      guard state.deciding === write else { return }
      state.deciding = nil
      state.buffer.removeAll()
    }
  }

  /// Whether a record of this file became a job.
  public var hasJob: Bool { state.withLock { $0.hasJob } }

  /// The next bytes of the answers to good records, a line each; none when all are read.
  public func takeAnswers(_ limit: Int) -> [UInt8] {
    state.withLock { state in
      defer { state.answers.removeFirst(min(limit, state.answers.count)) }
      return Array(state.answers.prefix(limit))
    }
  }

  // MARK: Taking

  private func take(_ state: inout State, _ write: Write, count: Int) -> Batch {
    var batch = Batch(write: write, count: count)
    records: while true {
      switch state.buffer.next() {
      case .record(let bytes, let end): batch.records.append(written(bytes, end: end))
      case .incomplete: break records
      case .tooLong:
        batch.endsTooLong = true
        break records
      }
    }
    if !batch.records.isEmpty || batch.endsTooLong { state.deciding = write }
    return batch
  }

  private func written(_ bytes: [UInt8], end: Int) -> Written {
    do throws(Refusal) {
      return Written(bytes: bytes, record: .success(try JobRecord.parse(bytes, allowingName: name == nil)), end: end)
    } catch {
      return Written(bytes: bytes, record: .failure(error), end: end)
    }
  }

  /// Jobs that open nothing, and of which nothing has to be kept, need no thread that may wait.
  private func isDecidedAtOnce(_ batch: Batch) -> Bool {
    jobs.keepsNothing
      && batch.records.allSatisfy { written in
        if case .success(let record) = written.record { record.op == .none } else { true }
      }
  }

  // MARK: Deciding

  /// What one batch has come to so far.
  private struct Decision: Sendable {
    var admitted: [AdmittedJob] = []
    var answers: [String] = []
    var bad: (refusal: Refusal, bytes: [UInt8])?
    /// Time is up; what is left comes again.
    var isCut = false
    /// Records that are good.
    var count = 0
  }

  /// Decides about the records up to the first bad one: has them all kept and starts them or, when nobody waits any more, none.
  ///
  /// - Parameter done: called with the answer; with `nil` when the right to it was not to be had.
  private func decide(
    _ batch: Batch, claim: @escaping @Sendable () -> Bool, done: @escaping @Sendable (Result<Int, Refusal>?) -> Void
  ) {
    var decision = purpose == .check ? check(batch) : admit(batch)
    if decision.bad == nil, !decision.isCut, batch.endsTooLong {
      decision.bad = (Refusal(errno: E2BIG, column: 0, text: "a record has at most \(JobRecord.maximumLength) bytes"), [])
    }
    let candidacies = prepare(&decision, batch)
    guard !candidacies.isEmpty else { return done(conclude(decision, batch, candidacies, claim)) }
    jobs.journal.write(.accept(jobs.keepsNothing ? [] : candidacies.map(\.job.row))) { [decision] error in
      guard let error else { return done(self.conclude(decision, batch, candidacies, claim)) }
      var decision = decision
      for candidacy in candidacies.reversed() { self.jobs.withdraw(candidacy) }
      decision.count = 0
      decision.answers = []
      decision.bad = (JobService.refusal(error), batch.records[0].bytes)
      done(self.conclude(decision, batch, [], claim))
    }
  }

  /// What was decided is kept, or nothing is to be: starts the jobs, and finds the answer.
  private func conclude(_ decision: Decision, _ batch: Batch, _ candidacies: [Candidacy], _ claim: () -> Bool) -> Result<Int, Refusal>? {
    var decision = decision
    guard claim() else {
      withdraw(candidacies[...])
      settle(batch.write, [], .removeAll)
      return nil
    }
    start(candidacies, &decision, batch)
    let isWhole = decision.bad == nil && !decision.isCut
    settle(batch.write, decision.answers, isWhole ? .keep : decision.count == 0 ? .removeUnread : .removeAll)
    if isWhole { return .success(batch.count) }
    // The good ones stand: the rest is written again by whoever gets a short count, and that write gets the errno.
    if decision.count > 0 { return .success(batch.records[decision.count - 1].end) }
    guard let bad = decision.bad else { preconditionFailure("a batch is cut only behind a good record") }
    return .failure(note(bad.refusal, bad.bytes))
  }

  private func admit(_ batch: Batch) -> Decision {
    let admitting = jobs.admitting { self.isDeciding(batch.write) }
    return decideEach(batch) { (record, decision) throws(Refusal) in
      if name != nil, hasJob || !decision.admitted.isEmpty {
        throw Refusal(errno: EBUSY, column: 0, text: "one file in jobs/ is one job; submit takes many")
      }
      try jobs.checkRoom(for: uid)
      let candidate = try admitting.candidate(record, name: name, caller: caller)
      guard let caller else { preconditionFailure("who cannot be seen has no candidate") }
      decision.admitted.append(try admitting.admit(candidate, caller: caller))
    }
  }

  private func check(_ batch: Batch) -> Decision {
    let admitting = jobs.admitting { self.isDeciding(batch.write) }
    return decideEach(batch) { (record, decision) throws(Refusal) in
      decision.answers.append(try jobs.check(record, caller: caller, admitting))
    }
  }

  private func decideEach(_ batch: Batch, _ body: (JobRecord, inout Decision) throws(Refusal) -> Void) -> Decision {
    var decision = Decision()
    let enough = kcs_monotonic() + Self.patience
    for written in batch.records {
      // The rest comes again, in a write of its own with all its time.
      if decision.count > 0, kcs_monotonic() > enough {
        decision.isCut = true
        break
      }
      do throws(Refusal) {
        guard isDeciding(batch.write) else { throw Refusal(errno: EINTR, column: 0, text: "the caller doesn't wait any more") }
        try body(try written.record.get(), &decision)
        decision.count += 1
      } catch {
        decision.bad = (error, written.bytes)
        break
      }
    }
    return decision
  }

  /// Gives what was admitted its name, its place and its length, up to the first that can't have them.
  private func prepare(_ decision: inout Decision, _ batch: Batch) -> [Candidacy] {
    guard let caller, purpose != .check else { return [] }
    var candidacies: [Candidacy] = []
    for (index, admitted) in decision.admitted.enumerated() {
      do throws(Refusal) {
        candidacies.append(try jobs.prepare(admitted, for: caller))
      } catch {
        for job in decision.admitted[(index + 1)...].reversed() { jobs.undo(job) }
        decision.bad = (error, batch.records[index].bytes)
        decision.count = index
        break
      }
    }
    return candidacies
  }

  private func start(_ candidacies: [Candidacy], _ decision: inout Decision, _ batch: Batch) {
    for (index, candidacy) in candidacies.enumerated() {
      do throws(Refusal) {
        try jobs.start(candidacy)
        decision.answers.append(candidacy.job.facts.name)
      } catch {
        withdraw(candidacies[(index + 1)...])
        decision.bad = (error, batch.records[index].bytes)
        decision.count = index
        break
      }
    }
  }

  /// Takes back jobs that are kept already, and that nobody has seen.
  private func withdraw(_ candidacies: ArraySlice<Candidacy>) {
    for candidacy in candidacies.reversed() {
      jobs.withdraw(candidacy)
      jobs.journal.write(.remove(candidacy.job.facts.id))
    }
  }

  private func isDeciding(_ write: Write) -> Bool { state.withLock { $0.deciding === write } }

  /// What becomes of the bytes after the last record that was looked at.
  private enum Rest {
    /// All went well: the beginning of the next record stays.
    case keep
    /// The write fails: what it brought is gone, and a record that is too long is swallowed to its end.
    case removeUnread
    /// The writer is told of the good records only, and brings the rest again.
    case removeAll
  }

  private func settle(_ write: Write, _ answers: [String], _ rest: Rest) {
    state.withLock { state in
      guard state.deciding === write else { return }
      state.deciding = nil
      switch rest {
      case .keep: break
      case .removeUnread: state.buffer.removeUnread()
      case .removeAll: state.buffer.removeAll()
      }
      if !answers.isEmpty, purpose != .check { state.hasJob = true }
      guard isAnswered else { return }
      for answer in answers {
        state.answers += answer.utf8
        state.answers.append(Byte.newline)
      }
    }
  }

  // MARK: Refusing

  private func isBusy() -> Refusal {
    note(Refusal(errno: EBUSY, column: 0, text: "another write to the same open file is being decided"), [])
  }

  /// Takes a refusal down in `errors`.
  private func note(_ refusal: Refusal, _ record: [UInt8]) -> Refusal {
    jobs.refusals.add(refusal, record: record, job: name, uid: uid, pid: caller?.process ?? pid)
    return refusal
  }
}
