internal import CopyJobs
public import FuseKit
internal import Glibc
internal import KCopy
internal import Locking

/// Records, commands, and what `rm` does.
extension JobFileSystem {
  public func write(
    _ node: NodeID, handle: UInt64, bytes: [UInt8], offset: UInt64, nonblocking: Bool, by requester: Requester, reply: consuming CountReply
  ) {
    guard let open = handles[handle] else { return reply.fail(EBADF) }
    switch open.kind {
    case .submission(let submission):
      let name = submission.name
      let pending = PendingReply(reply.park { submission.abandon() }) { [placeholders] reply, result in
        switch result {
        case .success(let count):
          // From the answer on the name is the job's directory.
          if let name, submission.hasJob { placeholders.unlist(name) }
          reply.succeed(count: count)
        case .failure(let refusal): reply.fail(refusal.errno)
        }
      }
      submission.write(bytes, uid: requester.uid, gid: requester.gid, reply: pending)
    case .control(let job):
      control(job, open, bytes, reply)
    case .errors:
      jobs.refusals.clear(requester.uid)
      reply.succeed(count: bytes.count)
    case .text, .waiting, .directory: reply.fail(EBADF)
    }
  }

  public func flush(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply) {
    guard case .submission(let submission)? = handles[handle]?.kind,
      let refusal = submission.closesUnfinished(byThread: requester.pid)
    else { return reply.succeed() }
    reply.fail(refusal.errno)
  }

  public func synchronize(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply) {
    guard case .submission(let submission)? = handles[handle]?.kind else { return reply.succeed() }
    let name = submission.name
    let pending = PendingReply(reply.park { submission.abandon() }) { [placeholders] reply, result in
      switch result {
      case .success:
        if let name, submission.hasJob { placeholders.unlist(name) }
        reply.succeed()
      case .failure(let refusal): reply.fail(refusal.errno)
      }
    }
    submission.synchronize(reply: pending)
  }

  // MARK: ctl

  /// One command per line; a line that is not complete waits for its rest.
  private func control(_ job: Job, _ open: Handle, _ bytes: [UInt8], _ reply: consuming CountReply) {
    var pending = open.bytes.withLock { pending in
      defer { pending = nil }
      return (pending ?? []) + bytes
    }
    while let newline = pending.firstIndex(of: 0x0a) {
      let line = pending[..<newline].split { $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }
      pending.removeSubrange(...newline)
      guard let word = line.first else { continue }
      do throws(Refusal) {
        try command(job, String(decoding: word, as: UTF8.self), isAlone: line.count == 1)
      } catch {
        return reply.fail(error.errno)
      }
    }
    guard pending.count <= 256 else { return reply.fail(EINVAL) }
    let rest = pending
    open.bytes.withLock { $0 = rest }
    reply.succeed(count: bytes.count)
  }

  private func command(_ job: Job, _ word: String, isAlone: Bool) throws(Refusal) {
    guard word == "cancel", isAlone else { throw Refusal(errno: EINVAL, column: 0, text: "ctl takes: cancel") }
    try job.cancel()
  }

  // MARK: Removing and what is not done here

  public func removeDirectory(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply) {
    switch Node(directory) {
    case .jobs:
      guard let job = jobs.job(named: name) else { return reply.fail(placeholders.contains(name) ? ENOTDIR : ENOENT) }
      do throws(Refusal) {
        try jobs.remove(job)
        hidden.withLock { $0[job.facts.id] = nil }
        reply.succeed()
      } catch {
        reply.fail(error.errno)
      }
    case .job(let id, let file): hide(name, in: file, id, isDirectory: true, reply)
    default: reply.fail(EPERM)
    }
  }

  public func unlink(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply) {
    switch Node(directory) {
    case .jobs: placeholders.unlist(name) ? reply.succeed() : reply.fail(ENOENT)
    case .job(let id, let file): hide(name, in: file, id, isDirectory: false, reply)
    default: reply.fail(EPERM)
    }
  }

  /// `rm -r` removes file by file; in a job that is final they disappear, and its directory can be removed full or empty.
  private func hide(_ name: String, in parent: JobFile, _ id: UInt64, isDirectory: Bool, _ reply: consuming StatusReply) {
    guard let job = jobs.job(id), case .job(_, let file)? = entries(of: parent, job).first(where: { $0.name == name })?.node else {
      return reply.fail(ENOENT)
    }
    guard job.isFinal else { return reply.fail(EBUSY) }
    guard file.isDirectory == isDirectory else { return reply.fail(isDirectory ? ENOTDIR : EISDIR) }
    hidden.withLock { _ = $0[id, default: []].insert(file) }
    reply.succeed()
  }

  public func makeDirectory(_ name: String, in directory: NodeID, permissions: UInt32, by requester: Requester, reply: consuming EntryReply)
  {
    reply.fail(EPERM)
  }

  public func rename(
    _ name: String, in directory: NodeID, to newName: String, in newDirectory: NodeID, flags: UInt32, by requester: Requester,
    reply: consuming StatusReply
  ) {
    reply.fail(EPERM)
  }
}
