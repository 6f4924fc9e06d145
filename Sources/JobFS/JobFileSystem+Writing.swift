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
      let write = Submission.Write()
      switch submission.take(bytes, as: write, uid: requester.uid, gid: requester.gid) {
      case .answered(let result): answer(submission, node, result, reply)
      case .turnedAway(let refusal): reply.fail(refusal.errno)
      case .undecided(let batch):
        let pending = PendingReply(reply.park { submission.abandon(write) }) { [self] in answer(submission, node, $1, $0) }
        submission.decide(batch, reply: pending)
      }
    case .control(let job, let line): control(job, line, bytes, by: requester, reply)
    case .value(let client, let parameter, let line): set(client, parameter, line, bytes, by: requester, reply)
    case .draft(let number, let uid, let gid):
      writeDraft(number, openedBy: (uid, gid), bytes, at: offset, by: requester, reply)
    case .text where Node(node) == .errors:
      jobs.refusals.clear(requester.uid)
      reply.succeed(count: bytes.count)
    case .text, .status, .events, .waiting, .turn, .directory: reply.fail(EBADF)
    }
  }

  private func answer(_ submission: Submission, _ node: NodeID, _ result: Result<Int, Refusal>, _ reply: consuming CountReply) {
    settle(submission, node, result)
    switch result {
    case .success(let count): reply.succeed(count: count)
    case .failure(let refusal): reply.fail(refusal.errno)
    }
  }

  /// From the answer on the name is the job's directory, or free again.
  private func settle(_ submission: Submission, _ node: NodeID, _ result: Result<Int, Refusal>) {
    guard let name = submission.name, case .placeholder(let number) = Node(node) else { return }
    if submission.hasJob {
      placeholders.unlist(name)
    } else if case .failure = result {
      placeholders.unlist(number)
    }
  }

  public func flush(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply) {
    switch handles[handle]?.kind {
    case .submission(let submission):
      guard let refusal = submission.closesUnfinished(byThread: requester.pid) else { return reply.succeed() }
      settle(submission, node, .failure(refusal))
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
    let write = Submission.Write()
    switch submission.finish(as: write) {
    case nil: reply.succeed()
    case .answered(let result)?: answer(submission, node, result, reply)
    case .turnedAway(let refusal)?: reply.fail(refusal.errno)
    case .undecided(let batch)?:
      let pending = PendingReply(reply.park { submission.abandon(write) }) { [self] in answer(submission, node, $1, $0) }
      submission.decide(batch, reply: pending)
    }
  }

  private func answer(_ submission: Submission, _ node: NodeID, _ result: Result<Int, Refusal>, _ reply: consuming StatusReply) {
    settle(submission, node, result)
    switch result {
    case .success: reply.succeed()
    case .failure(let refusal): reply.fail(refusal.errno)
    }
  }

  // MARK: Removing and what is not done here

  public func removeDirectory(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply) {
    switch Node(directory) {
    case .jobs:
      guard let job = job(named: name) else { return reply.fail(placeholders.contains(name) || drafts[name] != nil ? ENOTDIR : ENOENT) }
      do throws(Refusal) {
        try expiry.checkRemoval(of: job, by: requester)
        try jobs.remove(job)
        hidden.withLock { $0[job.facts.id] = nil }
        reply.succeed()
      } catch {
        reply.fail(error.errno)
      }
    case .job(let id, let file): hide(name, in: file, id, isDirectory: true, by: requester, reply)
    case .clients: removeClient(name, by: requester, reply)
    default: reply.fail(EPERM)
    }
  }

  public func unlink(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply) {
    switch Node(directory) {
    case .jobs: Self.isPlain(name) && (placeholders.unlist(name) || drafts.unlist(name)) ? reply.succeed() : reply.fail(ENOENT)
    case .job(let id, let file): hide(name, in: file, id, isDirectory: false, by: requester, reply)
    default: reply.fail(EPERM)
    }
  }

  /// `rm -r` removes file by file; in a job that is final they disappear, and its directory can be removed full or empty.
  /// The kernel has looked at the mode bits; but whatever they are, only its owner and root remove a job.
  private func hide(
    _ name: String, in parent: JobFile, _ id: UInt64, isDirectory: Bool, by requester: Requester, _ reply: consuming StatusReply
  ) {
    guard let job = jobs.job(id), case .job(_, let file)? = entries(of: parent, job).first(where: { $0.name == name })?.node else {
      return reply.fail(ENOENT)
    }
    guard requester.uid == 0 || requester.uid == job.facts.uid else { return reply.fail(EPERM) }
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
}
