internal import CopyJobs
public import FuseKit
internal import Glibc
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
      let write = Submission.Write()
      let pending = PendingReply(reply.park { submission.abandon(write) }) { [placeholders] reply, result in
        switch result {
        case .success(let count):
          // From the answer on the name is the job's directory.
          if let name, submission.hasJob { placeholders.unlist(name) }
          reply.succeed(count: count)
        case .failure(let refusal): reply.fail(refusal.errno)
        }
      }
      submission.write(bytes, as: write, uid: requester.uid, gid: requester.gid, reply: pending)
    case .control(let job, let line): control(job, line, bytes, by: requester, reply)
    case .value(let client, let parameter, let line): set(client, parameter, line, bytes, by: requester, reply)
    case .text where Node(node) == .errors:
      jobs.refusals.clear(requester.uid)
      reply.succeed(count: bytes.count)
    case .text, .waiting, .turn, .directory: reply.fail(EBADF)
    }
  }

  public func flush(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply) {
    switch handles[handle]?.kind {
    case .submission(let submission):
      guard let refusal = submission.closesUnfinished(byThread: requester.pid) else { return reply.succeed() }
      reply.fail(refusal.errno)
    case .control(let job, let line): line.ends(by: requester) ? finish(job, line, by: requester, reply) : reply.succeed()
    case .value(let client, let parameter, let line):
      line.ends(by: requester) ? finish(client, parameter, line, by: requester, reply) : reply.succeed()
    default: reply.succeed()
    }
  }

  public func synchronize(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply) {
    let submission: Submission
    switch handles[handle]?.kind {
    case .submission(let open): submission = open
    case .control(let job, let line): return finish(job, line, by: requester, reply)
    case .value(let client, let parameter, let line): return finish(client, parameter, line, by: requester, reply)
    default: return reply.succeed()
    }
    let name = submission.name
    let write = Submission.Write()
    let pending = PendingReply(reply.park { submission.abandon(write) }) { [placeholders] reply, result in
      switch result {
      case .success:
        if let name, submission.hasJob { placeholders.unlist(name) }
        reply.succeed()
      case .failure(let refusal): reply.fail(refusal.errno)
      }
    }
    submission.synchronize(as: write, reply: pending)
  }

  // MARK: Removing and what is not done here

  public func removeDirectory(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply) {
    switch Node(directory) {
    case .jobs:
      guard let job = job(named: name) else { return reply.fail(placeholders.contains(name) ? ENOTDIR : ENOENT) }
      do throws(Refusal) {
        try jobs.remove(job)
        hidden.withLock { $0[job.facts.id] = nil }
        reply.succeed()
      } catch {
        reply.fail(error.errno)
      }
    case .job(let id, let file): hide(name, in: file, id, isDirectory: true, reply)
    case .clients: removeClient(name, by: requester, reply)
    default: reply.fail(EPERM)
    }
  }

  public func unlink(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply) {
    switch Node(directory) {
    case .jobs: Self.isPlain(name) && placeholders.unlist(name) ? reply.succeed() : reply.fail(ENOENT)
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
    guard Node(directory) == .clients else { return reply.fail(EPERM) }
    makeClient(name, permissions: permissions, by: requester, reply)
  }

  public func rename(
    _ name: String, in directory: NodeID, to newName: String, in newDirectory: NodeID, flags: UInt32, by requester: Requester,
    reply: consuming StatusReply
  ) {
    reply.fail(EPERM)
  }
}
