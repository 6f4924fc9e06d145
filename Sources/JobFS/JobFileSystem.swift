public import CopyJobs
public import FuseKit
internal import Glibc
public import KCopy
internal import Locking
internal import Synchronization

/// The tree of the mount: every file is a view of what `CopyJobs` knows, and every write a request to it.
///
/// No handler waits: reads that have to are parked, and records are decided on the threads of admission.
public final class JobFileSystem: FileSystem {
  let jobs: JobService
  let placeholders = Placeholders()
  let drafts = Drafts()
  let handles = Handles()
  let knownJobs = KnownJobs()
  let expiry: Expiry
  /// Renders what is long, off the threads that serve.
  let renderer: Turns
  /// Names that were removed one by one from final jobs, as `rm -r` does before the directory itself.
  let hidden = Locked<[UInt64: Set<JobFile>]>([:])
  private let numbers = Atomic<UInt64>(1)
  private let owner: (uid: UInt32, gid: UInt32) = (geteuid(), getegid())
  private let startedAt = JobFileSystem.now()

  /// What never changes may be remembered by the kernel; what does is asked for each time.
  private static let long = 60.0

  /// - Parameter keep: seconds after which final jobs are removed; `nil`: they stay.
  /// - Throws: `DeviceError` at the limit of threads.
  public init(serving jobs: JobService, keep: UInt64? = nil) throws(DeviceError) {
    self.jobs = jobs
    renderer = try Turns("kcopy-render")
    expiry = try Expiry(keep: keep, jobs)
  }

  /// Tells the kernel, through the mount itself, what has changed without it: inotify sees what comes by system calls.
  public func attach(_ mount: OwnMount) {
    expiry.attach(mount)
    // What an earlier daemon has left is final already.
    for job in jobs.jobs.filter(\.isFinal).sorted(by: { $0.finishedAt < $1.finishedAt }) { expiry.note(job) }
    jobs.changes.listen { [knownJobs, expiry] job in
      if job.isFinal { expiry.note(job) }
      knownJobs.touch(job, by: mount)
    }
  }

  static func now() -> UInt64 {
    var now = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
  }

  /// Nanoseconds of the clock that nobody sets.
  static func monotonic() -> UInt64 {
    var now = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
  }

  // MARK: Names

  public func lookup(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming EntryReply) {
    guard let parent = Node(directory), let node = find(name, in: parent), let entry = entry(node, for: requester) else {
      return reply.fail(ENOENT)
    }
    knownJobs.lookedUp(node)
    reply.succeed(entry)
  }

  /// The node behind a name; of a placeholder it counts a lookup.
  private func find(_ name: String, in parent: Node) -> Node? {
    switch parent {
    case .root:
      if name == "submit" { return .submit(freshNumber()) }
      if name == "check" { return .check(freshNumber()) }
      return Self.rootEntries.first { $0.name == name }?.node
    case .jobs:
      guard Self.isPlain(name) else { return nil }
      if let job = job(named: name) { return .job(job.facts.id, .directory) }
      return placeholders.lookup(name).map { .placeholder($0) } ?? drafts.lookup(name).map { .draft($0) }
    case .job(let id, let file):
      guard let job = jobs.job(id) else { return nil }
      return entries(of: file, job).first { $0.name == name }?.node
    case .clients:
      guard Self.isPlain(name) else { return nil }
      return jobs.clients[name].map { .client($0.number, .directory) }
    case .client(let number, .directory): return ClientFile.entries.first { $0.name == name }.map { .client(number, $0) }
    default: return nil
    }
  }

  /// Strings are equal when they look the same, file names when their bytes are: no name of ours has other than ASCII.
  static func isPlain(_ name: String) -> Bool { name.utf8.allSatisfy { $0 < 0x80 } }

  func job(named name: String) -> Job? { Self.isPlain(name) ? jobs.job(named: name) : nil }

  /// A number for `submit` or `check` that nobody else has.
  func freshNumber() -> UInt64 { numbers.add(1, ordering: .relaxed).newValue }

  static let rootEntries: [(name: String, node: Node)] = [
    ("README", .readme), ("version", .version), ("stats", .stats), ("metrics", .metrics), ("list", .list), ("submit", .submit(0)),
    ("check", .check(0)), ("events", .events), ("errors", .errors), ("clients", .clients), ("jobs", .jobs),
  ]

  /// Whether the text of a file takes so long to render that others would have to wait: a thousand lines and more.
  func isLong(_ node: Node) -> Bool {
    switch node {
    case .list: jobs.count > 1000
    case .job(let id, .destinationMap(let index)): (jobs.job(id)?.map(of: index).extents.count ?? 0) > 1000
    default: false
    }
  }

  /// What a directory of a job holds, without what was removed from it.
  func entries(of file: JobFile, _ job: Job) -> [(name: String, node: Node)] {
    let gone = hidden.withLock { $0[job.facts.id] ?? [] }
    let all: [(file: JobFile, name: String)] =
      switch file {
      case .directory: JobFile.entries
      case .destinations: job.plan.destinations.indices.map { (.destination($0), "\($0)") }
      case .destination(let index): [(.destinationStatus(index), "status"), (.destinationMap(index), "map")]
      default: []
      }
    return all.filter { !gone.contains($0.file) }.map { ($0.name, .job(job.facts.id, $0.file)) }
  }

  public func forget(_ node: NodeID, lookups: UInt64) {
    switch Node(node) {
    case .placeholder(let number)?: placeholders.forget(number, lookups: lookups)
    case .draft(let number)?: drafts.forget(number, lookups: lookups)
    case .job(let id, .directory)?: knownJobs.forget(id, lookups: lookups)
    default: break
    }
  }

  // MARK: Attributes

  public func attributes(of node: NodeID, by requester: Requester, reply: consuming AttributesReply) {
    guard let node = Node(node) else { return reply.fail(ENOENT) }
    if isLong(node) {
      let held = HeldReply(reply)
      return renderer.perform { [self] in
        guard let reply = held.take() else { return }
        guard var attributes = attributes(node, for: requester), let text = text(node, for: requester) else { return reply.fail(ENOENT) }
        attributes.size = UInt64(text.count)
        reply.succeed(attributes, timeout: 0)
      }
    }
    // Before the attributes: what is final now was not when they were looked at, otherwise.
    let timeouts = timeouts(node)
    guard let attributes = attributes(node, for: requester) else { return reply.fail(ENOENT) }
    reply.succeed(attributes, timeout: timeouts.attributes)
  }

  func entry(_ node: Node, for requester: Requester) -> Entry? {
    let timeouts = timeouts(node)
    guard let attributes = attributes(node, for: requester) else { return nil }
    return Entry(node: node.number, attributes: attributes, entryTimeout: timeouts.name, attributeTimeout: timeouts.attributes)
  }

  /// A placeholder's name becomes another node, and `submit` is another at each lookup: the kernel must ask each time.
  private func timeouts(_ node: Node) -> (name: Double, attributes: Double) {
    switch node {
    // Their attributes hold: without that the kernel would ask for them at each open, to check permissions.
    case .submit, .check, .placeholder: (0, Self.long)
    case .draft: (0, 0)
    case .root, .readme, .version, .events: (Self.long, Self.long)
    // Asked for at each step of each path, and nothing but the time and the number of links ever changes.
    case .jobs, .clients, .client(_, .directory): (Self.long, 1)
    // A client goes by rmdir alone, which the kernel sees.
    case .stats, .metrics, .list, .errors, .client: (Self.long, 0)
    // Of a final job's directory only chmod changes anything, and that goes by way of the kernel; of others the time of the
    // last change. `ls -l` of a hundred thousand asks for each of them a while after it has read the directory.
    case .job(let id, .directory): (Self.long, jobs.job(id)?.isFinal == true ? 10 : 1)
    // The size that a lookup says is none.
    case .job(_, .destinationMap) where isLong(node): (Self.long, 0)
    // A chmod of the directory changes what its files show, and only the directory's own is told to the kernel.
    case .job(let id, _): (Self.long, jobs.job(id)?.isFinal == true ? 1 : 0)
    }
  }

  func attributes(_ node: Node, for requester: Requester) -> Attributes? {
    func file(_ permissions: UInt32, _ size: Int) -> Attributes { rootFile(node, permissions, size) }
    func directory(_ permissions: UInt32, _ links: Int) -> Attributes {
      Attributes(
        inode: node.number, kind: .directory, permissions: permissions, links: UInt32(links), uid: owner.uid, gid: owner.gid, size: 0,
        modified: startedAt)
    }
    switch node {
    case .root: return directory(0o555, 4)
    case .jobs: return directory(0o1777, 2 + jobs.count)
    case .readme: return file(0o444, RootText.readme.count)
    case .version: return file(0o444, RootText.version.count)
    case .stats: return file(0o444, StatsText.stats(jobs).count)
    case .metrics: return file(0o444, StatsText.metrics(jobs).count)
    // Who wants to know how long it is asks for it by itself, and that may take its time.
    case .list: return file(0o444, isLong(node) ? 0 : RootText.list(jobs, for: requester).count)
    case .events: return file(0o444, 0)
    case .errors: return file(0o666, RootText.errors(jobs, for: requester.uid).count)
    case .submit, .check:
      var attributes = file(0o666, 0)
      attributes.blockSize = 1 << 16
      attributes.inode = if case .check = node { Node.checkInode } else { Node.submitInode }
      return attributes
    case .draft(let number):
      return drafts[number].map { draft in
        Attributes(
          inode: node.number, kind: .file, permissions: 0o600, links: draft.isListed ? 1 : 0, uid: draft.uid, gid: draft.gid,
          size: UInt64(draft.bytes.count), modified: draft.modified)
      }
    case .placeholder(let number):
      guard let facts = placeholders.facts(number) else { return nil }
      var attributes = file(facts.permissions, 0)
      (attributes.uid, attributes.gid) = (facts.uid, facts.gid)
      return attributes
    case .job(let id, let file):
      return jobs.job(id).map { attributes($0, file, node.number) }
    case .clients:
      var attributes = directory(0o755, 2 + jobs.clients.count)
      attributes.modified = jobs.clients.changedAt
      return attributes
    case .client(let number, let file):
      return jobs.clients.client(number).map { Self.attributes($0, file, node.number) }
    }
  }

  private func rootFile(_ node: Node, _ permissions: UInt32, _ size: Int) -> Attributes {
    Attributes(
      inode: node.number, kind: .file, permissions: permissions, links: 1, uid: owner.uid, gid: owner.gid, size: UInt64(size),
      modified: startedAt)
  }

  private func attributes(_ job: Job, _ file: JobFile, _ inode: UInt64) -> Attributes {
    let readers = job.permissions & 0o444
    let permissions: UInt32 =
      switch file {
      case .directory: job.permissions
      case .destinations, .destination: readers | readers >> 2
      case .ctl: 0o200
      default: readers
      }
    let links =
      switch file {
      case .directory: 3
      case .destinations: 2 + job.plan.destinations.count
      case .destination: 2
      default: 1
      }
    return Attributes(
      inode: inode, kind: file.isDirectory ? .directory : .file, permissions: permissions, links: UInt32(links), uid: job.facts.uid,
      gid: job.facts.gid, size: isLong(.job(job.facts.id, file)) ? 0 : UInt64(text(job, file)?.count ?? 0),
      modified: job.snapshot.changedAt(queuedAt: job.facts.queuedAt))
  }

  /// What a file of a job says now; `nil` for directories, streams and `ctl`.
  func text(_ job: Job, _ file: JobFile) -> [UInt8]? {
    switch file {
    case .spec: JobText.spec(job)
    case .status: JobText.status(job)
    case .statusJSON: JobText.json(job)
    case .state: JobText.state(job)
    case .progress: JobText.progress(job)
    case .readError: JobText.readError(job)
    case .writeErrors: JobText.writeErrors(job)
    case .destinationStatus(let index): JobText.destinationStatus(job, index)
    case .destinationMap(let index): MapText.text(job, index)
    case .directory, .wait, .result, .ctl, .destinations, .destination: nil
    }
  }

  public func setAttributes(_ change: AttributeChange, of node: NodeID, by requester: Requester, reply: consuming AttributesReply) {
    guard let node = Node(node), let attributes = attributes(node, for: requester) else { return reply.fail(ENOENT) }
    if let uid = change.uid, uid != attributes.uid { return reply.fail(EPERM) }
    if let gid = change.gid, gid != attributes.gid { return reply.fail(EPERM) }
    if let size = change.size, case .draft(let number) = node {
      let error = drafts.truncate(number, to: size, Self.now())
      if error != 0 { return reply.fail(error) }
    }
    if let permissions = change.permissions {
      switch node {
      // Whatever it is set to: it is nobody else's business.
      case .draft: break
      case .placeholder(let number): placeholders.setPermissions(number, permissions)
      case .job(let id, .directory): if let job = jobs.job(id) { jobs.setPermissions(permissions, of: job) }
      default: return reply.fail(EPERM)
      }
    }
    // A size comes with O_TRUNC of those who write, times with cp -p and from `knownJobs`: times are ours.
    self.attributes(of: node.number, by: requester, reply: reply)
  }

  public func statistics(by requester: Requester, reply: consuming StatisticsReply) {
    let most = jobs.configuration.mostJobs
    reply.succeed(Statistics(files: UInt64(most), filesFree: UInt64(max(0, most - jobs.count)), nameMaximum: UInt32(JobName.maximumLength)))
  }
}
