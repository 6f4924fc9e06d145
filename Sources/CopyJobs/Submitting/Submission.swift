internal import Admission
internal import CSystemShims
internal import Glibc
internal import Locking

/// The answer to one write, which more than one would like to give: the job's acceptance, a deadline, a signal.
public protocol SubmissionReply: Sendable {
  /// Takes the right to answer; true for one only.
  func claim() -> Bool
  /// Answers, after `claim`: with the count of bytes that are taken, or an errno.
  func answer(_ result: Result<Int, Refusal>)
}

/// One open file that records are written to: `jobs/NAME` or `submit`.
public final class Submission: Sendable {
  private struct State {
    var buffer = RecordBuffer()
    /// The write that is being decided, for the answer of one that came too late changes nothing.
    var deciding: Write?
    var hasJob = false
    /// Names of accepted jobs that have not been read back.
    var names: [UInt8] = []
    var unfinishedWasRefused = false
  }

  /// How long a batch takes in records, of the 5 s that a write may take; nanoseconds.
  private static let patience: UInt64 = 2_000_000_000

  /// The name of the file in `jobs/`; `nil` for `submit`.
  public let name: String?
  private let caller: Caller?
  private let uid: UInt32
  private let gid: UInt32
  /// A thread, as requests carry it.
  private let pid: Int32
  private let jobs: JobService
  private let state = Locked(State())

  init(_ jobs: JobService, name: String?, uid: UInt32, gid: UInt32, pid: Int32) {
    self.jobs = jobs
    self.name = name
    self.uid = uid
    self.gid = gid
    self.pid = pid
    caller = Caller(uid: uid, gid: gid, pid: pid)
  }

  /// One write, for telling it from those before and after it.
  public final class Write: Sendable {
    public init() {}
  }

  /// What one write brought: its complete records, and where in it each of them ends.
  private struct Batch: Sendable {
    var write: Write
    var records: [(bytes: [UInt8], end: Int)] = []
    /// The record after them is too long.
    var endsTooLong = false
    /// Bytes that the write takes when all goes well.
    var count: Int
  }

  private enum Taken {
    case nothing
    case busy
    case batch(Batch)
  }

  /// Takes the bytes of a write; answers at once unless they complete a record.
  ///
  /// - Parameters:
  ///   - uid: who writes now, which has to be who opened.
  ///   - write: what `abandon` names it by.
  public func write(_ bytes: [UInt8], as write: Write, uid: UInt32, gid: UInt32, reply: any SubmissionReply) {
    guard uid == self.uid, gid == self.gid else {
      return refuse(
        Refusal(errno: EPERM, column: 0, text: "written by uid \(uid) gid \(gid), opened by uid \(self.uid) gid \(self.gid)"), bytes, reply)
    }
    let taken: Taken = state.withLock { state in
      guard state.deciding == nil else { return .busy }
      state.buffer.append(bytes)
      return take(&state, write, count: bytes.count)
    }
    decide(taken, count: bytes.count, reply)
  }

  /// Takes what is there as a complete record, as `fsync(2)` asks; answers 0 when there is nothing.
  public func synchronize(as write: Write, reply: any SubmissionReply) {
    let taken: Taken = state.withLock { state in
      guard state.deciding == nil else { return .busy }
      guard let record = state.buffer.finish() else { return .nothing }
      state.deciding = write
      return .batch(Batch(write: write, records: [(record, 0)], count: 0))
    }
    decide(taken, count: 0, reply)
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
    if !unfinished.isEmpty { jobs.refusals.add(refusal, record: unfinished, job: name, uid: uid, pid: caller?.process ?? pid) }
    return refusal
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

  /// The next bytes of the names of accepted jobs, a line each; none when there is no name pending.
  public func takeNames(_ limit: Int) -> [UInt8] {
    state.withLock { state in
      defer { state.names.removeFirst(min(limit, state.names.count)) }
      return Array(state.names.prefix(limit))
    }
  }

  // MARK: Deciding

  private func take(_ state: inout State, _ write: Write, count: Int) -> Taken {
    var batch = Batch(write: write, count: count)
    records: while true {
      switch state.buffer.next() {
      case .record(let bytes, let end): batch.records.append((bytes, end))
      case .incomplete: break records
      case .tooLong:
        batch.endsTooLong = true
        break records
      }
    }
    guard !batch.records.isEmpty || batch.endsTooLong else { return .nothing }
    state.deciding = write
    return .batch(batch)
  }

  private func decide(_ taken: Taken, count: Int, _ reply: any SubmissionReply) {
    switch taken {
    case .nothing:
      if reply.claim() { reply.answer(.success(count)) }
    case .busy:
      refuse(Refusal(errno: EBUSY, column: 0, text: "another write to the same open file is being decided"), [], reply)
    case .batch(let batch):
      jobs.threads.perform {
        self.admit(batch, reply)
      } late: {
        guard reply.claim() else { return }
        self.abandon(batch.write)
        let refusal = Refusal(errno: ETIMEDOUT, column: 0, text: "the paths of the record did not open in time")
        self.jobs.refusals.add(
          refusal, record: batch.records.first?.bytes ?? [], job: self.name, uid: self.uid, pid: self.caller?.process ?? self.pid)
        reply.answer(.failure(refusal))
      }
    }
  }

  /// Admits the records up to the first bad one, then starts them all or, when nobody waits any more, none.
  private func admit(_ batch: Batch, _ reply: any SubmissionReply) {
    var admitted: [AdmittedJob] = []
    var bad: (refusal: Refusal, record: [UInt8])?
    let hadJob = hasJob
    let enough = kcs_monotonic() + Self.patience
    for record in batch.records {
      // The rest comes again, in a write of its own with all its time.
      if !admitted.isEmpty, kcs_monotonic() > enough { break }
      do throws(Refusal) {
        guard isDeciding(batch.write) else { throw Refusal(errno: EINTR, column: 0, text: "the caller doesn't wait any more") }
        if name != nil, hadJob || !admitted.isEmpty {
          throw Refusal(errno: EBUSY, column: 0, text: "one file in jobs/ is one job; submit takes many")
        }
        admitted.append(try jobs.admit(record.bytes, name: name, caller: caller) { self.isDeciding(batch.write) })
      } catch {
        bad = (error, record.bytes)
        break
      }
    }
    let isCut = bad == nil && admitted.count < batch.records.count
    if bad == nil, !isCut, batch.endsTooLong {
      bad = (Refusal(errno: E2BIG, column: 0, text: "a record has at most \(JobRecord.maximumLength) bytes"), [])
    }
    guard reply.claim() else {
      for job in admitted.reversed() { jobs.undo(job) }
      return settle(batch.write, [], .removeAll)
    }
    var started: [Job] = []
    for (index, job) in admitted.enumerated() {
      do throws(Refusal) {
        started.append(try jobs.start(job))
      } catch {
        bad = (error, batch.records[index].bytes)
        for job in admitted[index...].reversed() { jobs.undo(job) }
        break
      }
    }
    let isWhole = bad == nil && !isCut
    settle(batch.write, started.map(\.facts.name), isWhole ? .keep : started.isEmpty ? .removeUnread : .removeAll)
    if isWhole { return reply.answer(.success(batch.count)) }
    // The good ones stand: the rest is written again by whoever gets a short count, and that write gets the errno.
    if !started.isEmpty { return reply.answer(.success(batch.records[started.count - 1].end)) }
    guard let bad else { preconditionFailure("a batch is cut only behind a good record") }
    jobs.refusals.add(bad.refusal, record: bad.record, job: name, uid: uid, pid: caller?.process ?? pid)
    reply.answer(.failure(bad.refusal))
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

  private func settle(_ write: Write, _ names: [String], _ rest: Rest) {
    state.withLock { state in
      guard state.deciding === write else { return }
      state.deciding = nil
      switch rest {
      case .keep: break
      case .removeUnread: state.buffer.removeUnread()
      case .removeAll: state.buffer.removeAll()
      }
      if !names.isEmpty { state.hasJob = true }
      if name == nil { for name in names { state.names += Array(name.utf8) + [0x0a] } }
    }
  }

  private func refuse(_ refusal: Refusal, _ record: [UInt8], _ reply: any SubmissionReply) {
    guard reply.claim() else { return }
    jobs.refusals.add(refusal, record: record, job: name, uid: uid, pid: caller?.process ?? pid)
    reply.answer(.failure(refusal))
  }
}
