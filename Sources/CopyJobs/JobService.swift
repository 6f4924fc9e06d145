internal import Admission
internal import CSystemShims
internal import Glibc
public import Journal
internal import KCopy
internal import Locking
internal import Synchronization

/// All jobs of a mount: takes records, runs what they ask, and knows how each stands.
public final class JobService: Sendable {
  /// The limits and the shape of a service.
  public struct Configuration: Sendable {
    /// Pages of the client `default`; `nil`: as many as it had before a restart, or the standard.
    public var pages: Int?
    /// Jobs that may exist at once.
    public var mostJobs = 1_000_000
    /// Those that may exist of each uid but root.
    public var mostJobsPerUid = 100_000
    /// Whether callers whose paths mean something else than the daemon's are served, from their own root, or refused.
    public var servesOtherRoots = false

    var foreigners: Caller.Foreigners { servesOtherRoots ? .atTheirRoot : .refused }

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
  let claims: Claims
  let descriptors = DescriptorBudget()
  let domains = DomainBudget()
  let unfinished: Locked<Int> = Locked(0)
  let someEnded = Semaphore()
  let journal: Journal
  let succession: Succession
  let stopping = Atomic(false)
  let isClosed = Atomic(false)
  let resuming = Resuming()
  private let devices = DeviceTable()

  /// Takes over what an earlier daemon has left: final jobs as they ended, and the others with nothing open until `goOn`.
  ///
  /// - Throws: `DeviceError` when the client's pages or the threads can't be had; `JournalError` for a journal that can't be
  ///   read, and then nothing in it has changed.
  public init(journal: Journal, _ configuration: Configuration) throws {
    let contents = try journal.contents()
    clients = try ClientTable(pages: configuration.pages, contents.clients, descriptors)
    threads = try AdmissionThreads()
    turns = try Turns("kcopy-turns")
    admission = Admission(table: devices)
    self.journal = journal
    self.configuration = configuration
    succession = Succession(journal)
    claims = Claims { [table] id in table[id].flatMap { $0.isFinal ? nil : $0.predecessors?.ids } ?? [] }
    try restore(contents)
    guard !journal.keepsNothing else { return }
    try SystemThread("kcopy-journal") { [journal, weak self] in
      journal.serve { self?.contents }
    }.detach()
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
  ///
  /// - Parameter isRead: whether answers can be read back from it.
  public func submission(_ purpose: Submission.Purpose, uid: UInt32, gid: UInt32, pid: Int32, isRead: Bool = true) -> Submission {
    Submission(self, purpose, uid: uid, gid: gid, pid: pid, isRead: isRead)
  }

  /// Takes down the refusal of a name, a command or a draft.
  public func refuse(_ refusal: Refusal, record: [UInt8], job: String, uid: UInt32, pid: Int32) {
    refusals.add(refusal, record: record, job: job, uid: uid, pid: Caller.process(ofThread: pid) ?? pid)
  }

  /// Removes a final job.
  ///
  /// - Throws: EBUSY while it isn't.
  public func remove(_ job: Job) throws(Refusal) {
    succession.removed(job.facts.id, try job.remove())
    table.remove(job)
    journal.write(.remove(job.facts.id))
  }

  /// Takes away a job that never began.
  func forget(_ job: Job) {
    _ = try? job.remove(evenUnfinished: true)
    succession.removed(job.facts.id, .failed)
    table.remove(job)
    journal.write(.remove(job.facts.id))
  }

  /// Does what a line of `ctl` says; a restart knows of it a moment later.
  ///
  /// - Throws: the errno of the contract's table, and for `retry` ENOENT or ENOBUFS when the job's client takes none.
  public func obey(_ command: JobCommand, _ job: Job) throws(Refusal) {
    if command == .retry { return try retry(job) }
    if command == .resume, resume(job) { return }
    try job.obey(command)
    journal.write(job.control)
    if command == .cancel { endParked(job) }
  }

  /// Changes the mode bits of a job's directory.
  public func setPermissions(_ permissions: UInt32, of job: Job) {
    job.setPermissions(permissions)
    journal.write(job.control)
  }

  // MARK: Starting and ending

  func admitting(_ isAwaited: @escaping () -> Bool) -> Admitting {
    Admitting(
      admission: admission, table: table, clients: clients, claims: claims, descriptors: descriptors, domains: domains,
      succession: succession, nextNumber: nextNumber, keeps: !keepsNothing, isAwaited: isAwaited)
  }

  private func nextNumber() throws(Refusal) -> UInt64 {
    do throws(JournalError) {
      return try journal.nextNumber()
    } catch {
      throw Self.refusal(error)
    }
  }

  /// Why a record can't be accepted, or a number not be given.
  static func refusal(_ error: JournalError) -> Refusal {
    Refusal(errno: error.errno, column: 0, text: "the journal can't be written: \(error.text)")
  }

  /// Refuses what is one job too many, before anything is opened for it.
  func checkRoom(for uid: UInt32) throws(Refusal) {
    guard !isStopping else { throw Refusal(errno: ESHUTDOWN, column: 0, text: "the daemon is stopping") }
    // Before anything is opened or made for it.
    if let trouble = journal.trouble { throw Self.refusal(trouble) }
    guard kcs_has_address_space(0) != 0 else {
      throw Refusal(errno: ENOBUFS, column: 0, text: "the daemon has used up the memory that it may have (RLIMIT_AS)")
    }
    guard table.count < configuration.mostJobs else { throw tooMany }
    guard uid == 0 || table.count(of: uid) < configuration.mostJobsPerUid else { throw tooManyOfUid }
  }

  var tooMany: Refusal { Refusal(errno: EDQUOT, column: 0, text: "there are \(configuration.mostJobs) jobs already") }
  var tooManyOfUid: Refusal {
    Refusal(errno: EDQUOT, column: 0, text: "there are \(configuration.mostJobsPerUid) jobs of this user already")
  }

  func undo(_ job: AdmittedJob) { admitting { false }.undo(job) }
}
