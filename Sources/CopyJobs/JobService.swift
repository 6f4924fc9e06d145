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

    public init() {}
  }

  public let refusals = RefusalLog()
  public let configuration: Configuration
  let threads: AdmissionThreads
  private let journal: Journal
  private let client: Client
  private let devices = DeviceTable()
  private let admission: Admission
  private let table = JobTable()
  private let claims = Claims()
  private let descriptors = DescriptorBudget()
  private let stopping = Atomic(false)
  private let unfinished: Locked<Int> = Locked(0)
  private let allEnded = Semaphore()

  /// - Throws: `DeviceError` when the client's pages or the threads can't be had.
  public init(journal: Journal, _ configuration: Configuration) throws(DeviceError) {
    var shape = Client.Configuration()
    shape.pages = configuration.pages
    client = try Client(shape)
    threads = try AdmissionThreads()
    admission = Admission(table: devices)
    self.journal = journal
    self.configuration = configuration
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

  /// Whether the daemon takes no more records and answers nobody who waits.
  public var isStopping: Bool { stopping.load(ordering: .sequentiallyConsistent) }

  // MARK: Jobs

  public func job(named name: String) -> Job? { table[name] }
  public func job(_ id: UInt64) -> Job? { table[id] }
  /// All jobs in the order in which they came.
  public var jobs: [Job] { table.all }
  public var count: Int { table.count }

  /// Opens a file for records: `jobs/NAME`, or `submit` where `name` is `nil`.
  public func submission(name: String?, uid: UInt32, gid: UInt32, pid: Int32) -> Submission {
    Submission(self, name: name, uid: uid, gid: gid, pid: pid)
  }

  /// Takes down the refusal of a name, for which there is no record.
  public func refuse(_ refusal: Refusal, job: String, uid: UInt32, pid: Int32) {
    refusals.add(refusal, record: [], job: job, uid: uid, pid: Caller.process(ofThread: pid) ?? pid)
  }

  /// Removes a final job.
  ///
  /// - Throws: EBUSY while it isn't.
  public func remove(_ job: Job) throws(Refusal) {
    guard job.isFinal else { throw Refusal(errno: EBUSY, column: 0, text: "the job is not final") }
    table.remove(job)
    job.tell(.removed)
  }

  // MARK: Starting and ending

  private func admitting(_ isAwaited: @escaping () -> Bool) -> Admitting {
    Admitting(
      admission: admission, table: table, claims: claims, descriptors: descriptors, nextNumber: nextNumber, isAwaited: isAwaited)
  }

  private func nextNumber() throws(Refusal) -> UInt64 {
    do throws(JournalError) {
      return try journal.nextNumber()
    } catch {
      throw Refusal(errno: EIO, column: 0, text: "the journal failed: \(error.text)")
    }
  }

  func admit(_ record: [UInt8], name: String?, caller: Caller?, isAwaited: @escaping () -> Bool) throws(Refusal) -> AdmittedJob {
    guard !isStopping else { throw Refusal(errno: ESHUTDOWN, column: 0, text: "the daemon is stopping") }
    guard table.count < configuration.mostJobs else { throw tooMany }
    return try admitting(isAwaited).admit(record, name: name, caller: caller)
  }

  private var tooMany: Refusal { Refusal(errno: EDQUOT, column: 0, text: "there are \(configuration.mostJobs) jobs already") }

  func undo(_ job: AdmittedJob) { admitting { false }.undo(job) }

  /// Makes a job of what was admitted and gives it to the client.
  ///
  /// - Throws: EEXIST or EBUSY when its name was taken meanwhile, EDQUOT when others took the last place, the errno of
  ///   `ftruncate(2)`; then it is still to be undone.
  func start(_ admitted: AdmittedJob) throws(Refusal) -> Job {
    let facts = Job.Facts(
      id: admitted.number, name: admitted.name, uid: admitted.caller.uid, gid: admitted.caller.gid, spec: admitted.spec,
      operation: admitted.record.op.rawValue, client: admitted.record.client, context: admitted.record.context,
      bytesTotal: admitted.regions.source.count,
      destinations: admitted.destinations.map { Job.Destination(path: $0.path, identity: $0.identity) }, queuedAt: kcs_realtime())
    let job = Job(facts, permissions: admitted.record.mode ?? 0o755 & ~admitted.caller.umask)
    let growth = try Growth(admitted, claims)
    do throws(Refusal) {
      switch table.insert(job, most: configuration.mostJobs) {
      case .done: break
      case .nameIsTaken: throw Admitting.nameIsTaken(admitted.name, admitted.record)
      // Those admitted before it, in this write or another, were not jobs yet when it was looked at.
      case .full: throw tooMany
      }
    } catch {
      growth.undo(admitted, claims)
      throw error
    }
    unfinished.withLock { $0 += 1 }
    var options = CopyOptions()
    options.flushes = admitted.record.sync == .end
    options.fillsTailWithZeroes = admitted.record.tailZero
    do throws(DeviceError) {
      job.began(
        try client.copy(from: admitted.regions.source, to: admitted.regions.destinations, options: options) {
          self.close(admitted, job, $0)
        })
    } catch {
      // The client was destroyed between the look and now: the job was accepted, and ends as those that run do.
      var progress = CopyProgress(destinations: facts.destinations.map { _ in DestinationProgress() })
      progress.firstError = TransferError(errno: error.errno, step: .read, destination: nil, offset: 0, length: 0)
      close(admitted, job, KCopy.Notification(wasCancelled: error.errno == ESHUTDOWN, progress: progress))
    }
    // Nobody else cancels a job that starts while the others are being cancelled, unless it is final already.
    if isStopping { try? job.cancel() }
    return job
  }

  /// Closes what the job had open, and only then lets its end be seen: after `result` a disk can be mounted.
  private func close(_ admitted: AdmittedJob, _ job: Job, _ notification: KCopy.Notification) {
    let closing = Closing(notification, waiting: admitted.destinations.count + 1) { notification in
      self.claims.release(admitted.claimOwner, admitted.claims)
      self.descriptors.giveBack(DescriptorBudget.need(of: admitted.record))
      job.end(notification)
      self.unfinished.withLock { $0 -= 1 }
      self.allEnded.signal()
    }
    admission.close(admitted.source) { _ in closing.closed() }
    for (index, endpoint) in admitted.destinations.enumerated() {
      admission.close(endpoint) { closing.closed(index, region: admitted.regions.destinations[index], $0) }
    }
  }

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
    while unfinished.withLock({ $0 }) > 0, kcs_monotonic() < deadline { allEnded.wait(until: deadline) }
    return unfinished.withLock { $0 }
  }
}
