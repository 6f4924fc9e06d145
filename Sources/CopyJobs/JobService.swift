internal import Admission
internal import CSystemShims
internal import Glibc
public import Journal
public import KCopy
internal import Locking
internal import Synchronization

/// All jobs of a mount: takes records, runs what they ask, and knows how each stands.
public final class JobService: Sendable {
  /// The limits and the shape of a service.
  public struct Configuration: Sendable {
    /// Pages of the client `default`.
    public var pages = 4096
    /// Jobs that may exist at once.
    public var mostJobs = 1_000_000
    /// Those that may exist of each uid but root.
    public var mostJobsPerUid = 100_000

    public init() {}
  }

  public let refusals = RefusalLog()
  public let changes = JobChanges()
  public let configuration: Configuration
  /// The clients that jobs can be given to.
  public let clients: ClientTable
  let threads: AdmissionThreads
  let turns: Turns
  let admission: Admission
  let table = JobTable()
  let claims = Claims()
  let descriptors = DescriptorBudget()
  let unfinished: Locked<Int> = Locked(0)
  let someEnded = Semaphore()
  private let journal: Journal
  private let devices = DeviceTable()
  private let stopping = Atomic(false)
  private let isReserving = Atomic(false)

  /// - Throws: `DeviceError` when the client's pages or the threads can't be had.
  public init(journal: Journal, _ configuration: Configuration) throws(DeviceError) {
    clients = try ClientTable(defaultPages: configuration.pages)
    threads = try AdmissionThreads()
    turns = try Turns("kcopy-turns")
    admission = Admission(table: devices)
    self.journal = journal
    self.configuration = configuration
    reserveNumbers()
  }

  /// Tells where the mount is, so that a path into it is refused.
  ///
  /// - Throws: a refusal when it can't be looked at.
  public func setMount(_ path: String) throws(Refusal) {
    do throws(Objection) {
      try admission.setOwnMount(path)
    } catch {
      throw Refusal(errno: error.errno, column: 0, text: error.text)
    }
  }

  /// Whether nothing outlives the daemon: then acceptance waits for no disk.
  var keepsNothing: Bool { journal.keepsNothing }

  /// Whether the daemon takes no more records and answers nobody who waits.
  public var isStopping: Bool { stopping.load(ordering: .sequentiallyConsistent) }

  // MARK: Jobs

  public func job(named name: String) -> Job? { table[name] }
  public func job(_ id: UInt64) -> Job? { table[id] }
  /// All jobs in the order in which they came.
  public var jobs: [Job] { table.all }
  public var count: Int { table.count }

  /// Opens a file for records.
  public func submission(_ purpose: Submission.Purpose, uid: UInt32, gid: UInt32, pid: Int32) -> Submission {
    Submission(self, purpose, uid: uid, gid: gid, pid: pid)
  }

  /// Takes down the refusal of a name, a command or a draft.
  public func refuse(_ refusal: Refusal, record: [UInt8], job: String, uid: UInt32, pid: Int32) {
    refusals.add(refusal, record: record, job: job, uid: uid, pid: Caller.process(ofThread: pid) ?? pid)
  }

  /// Removes a final job.
  ///
  /// - Throws: EBUSY while it isn't.
  public func remove(_ job: Job) throws(Refusal) {
    try job.remove()
    table.remove(job)
  }

  /// Takes away a job that never began.
  func forget(_ job: Job) {
    try? job.remove(evenUnfinished: true)
    table.remove(job)
  }

  /// Does what a line of `ctl` says.
  ///
  /// - Throws: the errno of the contract's table, and for `retry` ENOENT or ENOBUFS when the job's client takes none.
  public func obey(_ command: JobCommand, _ job: Job) throws(Refusal) {
    if command == .retry { try retry(job) } else { try job.obey(command) }
  }

  // MARK: Starting and ending

  func admitting(_ isAwaited: @escaping () -> Bool) -> Admitting {
    Admitting(
      admission: admission, table: table, clients: clients, claims: claims, descriptors: descriptors, nextNumber: nextNumber,
      isAwaited: isAwaited)
  }

  private func nextNumber() throws(Refusal) -> UInt64 {
    do throws(JournalError) {
      let number = try journal.nextNumber()
      reserveNumbers()
      return number
    } catch {
      throw Refusal(errno: EIO, column: 0, text: "the journal failed: \(error.text)")
    }
  }

  /// Elsewhere, and ahead: who needs a number may be who mustn't wait.
  private func reserveNumbers() {
    guard !journal.keepsNothing, journal.isShort, !isReserving.exchange(true, ordering: .relaxed) else { return }
    turns.perform { [self] in
      // What fails is tried again, and told, when the last one is gone.
      try? journal.reserve()
      isReserving.store(false, ordering: .relaxed)
    }
  }

  /// Refuses what is one job too many, before anything is opened for it.
  func checkRoom(for uid: UInt32) throws(Refusal) {
    guard !isStopping else { throw Refusal(errno: ESHUTDOWN, column: 0, text: "the daemon is stopping") }
    guard table.count < configuration.mostJobs else { throw tooMany }
    guard uid == 0 || table.count(of: uid) < configuration.mostJobsPerUid else { throw tooManyOfUid }
  }

  var tooMany: Refusal { Refusal(errno: EDQUOT, column: 0, text: "there are \(configuration.mostJobs) jobs already") }
  var tooManyOfUid: Refusal {
    Refusal(errno: EDQUOT, column: 0, text: "there are \(configuration.mostJobsPerUid) jobs of this user already")
  }

  func undo(_ job: AdmittedJob) { admitting { false }.undo(job) }

  /// Takes no more records, cancels what runs, and ends all waiting.
  ///
  /// - Parameter seconds: how long it waits for devices that still have something in flight.
  /// - Returns: the number of jobs that are not final even so.
  public func stop(within seconds: UInt64) -> Int {
    stopping.store(true, ordering: .sequentiallyConsistent)
    let deadline = kcs_monotonic() + seconds * 1_000_000_000
    let running = table.all.filter { !$0.isFinal }
    for job in running { job.tell(.shutdown) }
    // It can become final in between, and then there is nothing to cancel.
    for job in running { try? job.cancel() }
    clients.endWaits()
    changes.events.endWaits()
    while unfinished.withLock({ $0 }) > 0, kcs_monotonic() < deadline { someEnded.wait(until: deadline) }
    return unfinished.withLock { $0 }
  }
}
