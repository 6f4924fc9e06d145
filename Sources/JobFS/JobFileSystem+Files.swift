internal import CopyJobs
public import FuseKit
internal import Glibc
internal import KCopy
internal import Locking

/// Opening, reading and closing.
extension JobFileSystem {
  public func open(_ node: NodeID, flags: Int32, by requester: Requester, reply: consuming OpenReply) {
    guard let node = Node(node) else { return reply.fail(ENOENT) }
    let writes = flags & O_ACCMODE != O_RDONLY
    switch node {
    case .submit: open(.submission(submission(.jobs, flags, requester)), isStream: true, by: requester, reply)
    case .check: open(.submission(submission(.check, flags, requester)), isStream: true, by: requester, reply)
    case .placeholder(let number):
      // Gone since it was looked up: ESTALE lets the kernel look again, where ENOENT would be the caller's.
      guard let name = placeholders.reopen(number) else { return reply.fail(ESTALE) }
      guard let handle = handles.add(Handle(.submission(submission(.job(name), flags, requester)), openedBy: requester.uid)) else {
        placeholders.release(number)
        return reply.fail(EMFILE)
      }
      reply.succeed(OpenFile(handle: handle, isStream: false))
    case .draft(let number): openDraft(number, flags: flags, by: requester, reply)
    case .events:
      writes ? reply.fail(EACCES) : open(.events(EventReader(jobs.changes.events, for: requester)), isStream: true, by: requester, reply)
    case .errors: open(.text, isStream: false, by: requester, reply)
    case .job(let id, let file):
      guard let job = jobs.job(id) else { return reply.fail(ENOENT) }
      switch file {
      case .wait: open(.waiting(job, isResult: false), isStream: true, by: requester, reply)
      case .result: open(.waiting(job, isResult: true), isStream: true, by: requester, reply)
      case .ctl: open(.control(job, Line(openedBy: requester)), isStream: false, by: requester, reply)
      case _ where writes: reply.fail(EACCES)
      case .status: open(.status(job, StatusReader(job)), isStream: false, by: requester, reply)
      default: open(.text, isStream: false, by: requester, reply)
      }
    case .client(let number, let file):
      guard let client = jobs.clients.client(number) else { return reply.fail(ENOENT) }
      open(client, file, writes: writes, by: requester, reply)
    default: writes ? reply.fail(EACCES) : open(.text, isStream: false, by: requester, reply)
    }
  }

  private func submission(_ purpose: Submission.Purpose, _ flags: Int32, _ requester: Requester) -> Submission {
    jobs.submission(
      purpose, uid: requester.uid, gid: requester.gid, pid: requester.pid, isRead: flags & O_ACCMODE == O_RDWR)
  }

  func open(_ kind: Handle.Kind, isStream: Bool, by requester: Requester, _ reply: consuming OpenReply) {
    guard let number = handles.add(Handle(kind, openedBy: requester.uid)) else {
      // As at its close: nothing else was counted for it.
      switch kind {
      case .events(let events): events.close()
      case .draft(let number, _, _): drafts.release(number)
      case .submission, .control, .value, .text, .status, .waiting, .turn, .directory: break
      }
      return reply.fail(EMFILE)
    }
    reply.succeed(OpenFile(handle: number, isStream: isStream))
  }

  public func create(
    _ name: String, in directory: NodeID, permissions: UInt32, flags: Int32, by requester: Requester, reply: consuming CreateReply
  ) {
    guard Node(directory) == .jobs else { return reply.fail(EPERM) }
    do throws(Refusal) {
      if JobName.isDraft(name) {
        try JobName.checkDraft(name)
        return createDraft(name, by: requester, reply)
      }
      try Self.checkNewName(name)
    } catch {
      jobs.refuse(error, record: [], job: Words.printable(name.utf8), uid: requester.uid, pid: requester.pid)
      return reply.fail(error.errno)
    }
    guard jobs.job(named: name) == nil else { return reply.fail(EEXIST) }
    guard let handle = handles.add(Handle(.submission(submission(.job(name), flags, requester)), openedBy: requester.uid)) else {
      return reply.fail(EMFILE)
    }
    let number = placeholders.open(name, by: requester, permissions: permissions & 0o777)
    guard let entry = entry(.placeholder(number), for: requester) else {
      _ = handles.remove(handle)
      return reply.fail(ENOENT)
    }
    reply.succeed(entry, OpenFile(handle: handle, isStream: false))
  }

  /// The name of a job that brings its own.
  static func checkNewName(_ name: String) throws(Refusal) {
    try JobName.check(name)
    guard !JobName.isReserved(name) else {
      throw Refusal(errno: EINVAL, column: 0, text: "names of digits alone are given by submit")
    }
  }

  public func read(
    _ node: NodeID, handle: UInt64, offset: UInt64, size: Int, nonblocking: Bool, by requester: Requester, reply: consuming DataReply
  ) {
    guard let open = handles[handle], let node = Node(node) else { return reply.fail(EBADF) }
    switch open.kind {
    case .text where isLong(node) && (offset == 0 || open.bytes.withLock { $0 == nil }):
      // A hundred thousand lines take a while, and others want to be served meanwhile.
      let held = HeldReply(reply)
      renderer.perform { [self] in
        guard let reply = held.take() else { return }
        readText(node, open, from: offset, size, by: requester, reply)
      }
    case .text, .value: readText(node, open, from: offset, size, by: requester, reply)
    case .status(let job, let reader):
      if offset == 0 { reader.reads(job) }
      readText(node, open, from: offset, size, by: requester, reply)
    case .events(let events): read(events, size, nonblocking, reply)
    case .draft(let number, _, _):
      guard let bytes = drafts.read(number, from: offset, size) else { return reply.fail(EBADF) }
      reply.succeed(bytes)
    case .waiting(let job, let isResult): wait(job, isResult, open, size, nonblocking, reply)
    case .turn(let turn): wait(turn, open, size, nonblocking, reply)
    case .submission(let submission): reply.succeed(submission.takeAnswers(size))
    // Nothing is ever read there, but who copies a whole tree as root asks.
    case .control: reply.succeed([UInt8]())
    case .directory: reply.fail(EISDIR)
    }
  }

  private func readText(
    _ node: Node, _ open: Handle, from offset: UInt64, _ size: Int, by requester: Requester, _ reply: consuming DataReply
  ) {
    // Later reads see what the first one saw, wherever that was.
    if offset == 0 || open.bytes.withLock({ $0 == nil }) {
      let error = render(node, for: requester, into: open)
      guard error == 0 else { return reply.fail(error) }
    }
    reply.succeed(open.bytes.withLock { Self.part($0 ?? [], from: offset, size) })
  }

  /// Renders the text that this open file is read as from now on; 0 or an errno.
  private func render(_ node: Node, for requester: Requester, into open: Handle) -> Int32 {
    guard let text = text(node, for: requester) else {
      if case .client = node { return ENODEV }
      return ENOENT
    }
    guard handles.charge(open, bytes: text.count) else { return ENOBUFS }
    open.bytes.withLock { $0 = text }
    return 0
  }

  /// What a file says now; `nil` for those that have no text, or are gone.
  func text(_ node: Node, for requester: Requester) -> [UInt8]? {
    switch node {
    case .readme: RootText.readme
    case .version: RootText.version
    case .stats: StatsText.stats(jobs)
    case .metrics: StatsText.metrics(jobs)
    case .list: RootText.list(jobs, for: requester)
    case .errors: RootText.errors(jobs, for: requester.uid)
    case .job(let id, let file): jobs.job(id).flatMap { self.text($0, file) }
    case .client(let number, let file): jobs.clients.client(number).flatMap { ClientText.text($0, file) }
    default: nil
    }
  }

  private static func part(_ text: [UInt8], from offset: UInt64, _ size: Int) -> ArraySlice<UInt8> {
    guard offset < UInt64(text.count) else { return [] }
    return text[Int(offset)..<min(text.count, Int(offset) + size)]
  }

  public func release(_ node: NodeID, handle: UInt64) {
    guard let open = handles.remove(handle) else { return }
    open.close()
    switch open.kind {
    case .submission(let submission):
      _ = submission.closesUnfinished(byThread: nil)
      if case .placeholder(let number) = Node(node) { placeholders.release(number) }
    case .control(let job, let line): closeLast(job, line)
    case .value(let client, let parameter, let line): closeLast(client, parameter, line)
    case .events(let events): events.close()
    case .draft(let number, _, _): drafts.release(number)
    case .text, .status, .waiting, .turn, .directory: break
    }
  }

  // MARK: Directories

  public func openDirectory(_ node: NodeID, by requester: Requester, reply: consuming OpenReply) {
    let listing: Listing
    switch Node(node) {
    case .root: listing = Listing(Self.rootEntries)
    case .jobs:
      let others = placeholders.names.map { ($0.name, Node.placeholder($0.number)) } + drafts.names.map { ($0.name, .draft($0.number)) }
      listing = Listing(jobs: jobs.jobs, others)
    case .job(let id, let file):
      guard let job = jobs.job(id), file.isDirectory else { return reply.fail(ENOENT) }
      listing = Listing(entries(of: file, job))
    case .clients: listing = Listing(jobs.clients.all.map { ($0.name, .client($0.number, .directory)) })
    case .client(let number, .directory):
      guard jobs.clients.client(number) != nil else { return reply.fail(ENOENT) }
      listing = Listing(ClientFile.entries.map { ($0.name, .client(number, $0)) })
    default: return reply.fail(ENOTDIR)
    }
    let handle = Handle(.directory(listing), openedBy: requester.uid)
    guard let number = handles.add(handle) else { return reply.fail(EMFILE) }
    guard handles.charge(handle, bytes: listing.size) else {
      _ = handles.remove(number)
      return reply.fail(ENOBUFS)
    }
    reply.succeed(OpenFile(handle: number, isStream: false))
  }

  public func releaseDirectory(_ node: NodeID, handle: UInt64) { _ = handles.remove(handle) }

  /// Entries are those of the open; who was removed since is left out, and what came since is seen by the next open.
  public func readDirectory(_ node: NodeID, handle: UInt64, offset: UInt64, by requester: Requester, reply: consuming DirectoryReply) {
    guard case .directory(let listing)? = handles[handle]?.kind, let node = Node(node) else { return reply.fail(EBADF) }
    var reply = reply
    var index = offset
    while index < UInt64(listing.count + 2) {
      let (name, child): (String, Node) =
        switch index {
        case 0: (".", node)
        case 1: ("..", node.parent)
        default: listing[Int(index) - 2]
        }
      index += 1
      guard let entry = listed(name, child, for: requester, counts: reply.wantsAttributes && index > 2) else { continue }
      if !reply.add(name, entry, next: index) {
        // The lookup that was counted for it never reaches the kernel.
        if reply.wantsAttributes, index > 2 { forget(entry.node, lookups: 1) }
        break
      }
    }
    reply.finish()
  }

  private func listed(_ name: String, _ node: Node, for requester: Requester, counts: Bool) -> Entry? {
    switch node {
    // A lookup of its own makes a number that nobody else has; listing must not hand out the same one twice.
    case .submit: return entry(counts ? .submit(freshNumber()) : node, for: requester)
    case .check: return entry(counts ? .check(freshNumber()) : node, for: requester)
    case .placeholder:
      guard counts else { return entry(node, for: requester) }
      return placeholders.lookup(name).flatMap { entry(.placeholder($0), for: requester) }
    case .draft:
      guard counts else { return entry(node, for: requester) }
      return drafts.lookup(name).flatMap { entry(.draft($0), for: requester) }
    default:
      let entry = entry(node, for: requester)
      if counts, entry != nil { knownJobs.lookedUp(node) }
      return entry
    }
  }
}
