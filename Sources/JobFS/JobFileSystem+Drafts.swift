internal import CopyJobs
public import FuseKit
internal import Glibc

/// Drafts, and the rename that submits one.
extension JobFileSystem {
  func createDraft(_ name: String, by requester: Requester, _ reply: consuming CreateReply) {
    guard let number = drafts.create(name, by: requester, at: Self.now()) else { return reply.fail(EDQUOT) }
    guard let entry = entry(.draft(number), for: requester) else { return reply.fail(ENOENT) }
    let draft = Handle(.draft(number, uid: requester.uid, gid: requester.gid), openedBy: requester.uid)
    guard let handle = handles.add(draft) else {
      drafts.unlist(name)
      drafts.release(number)
      drafts.forget(number, lookups: 1)
      return reply.fail(EMFILE)
    }
    reply.succeed(entry, OpenFile(handle: handle, isStream: false))
  }

  func openDraft(_ number: UInt64, flags: Int32, by requester: Requester, _ reply: consuming OpenReply) {
    guard drafts.open(number) else { return reply.fail(ENOENT) }
    if flags & O_TRUNC != 0 { _ = drafts.truncate(number, to: 0, Self.now()) }
    open(.draft(number, uid: requester.uid, gid: requester.gid), isStream: false, by: requester, reply)
  }

  /// As into a record: who writes has to be who opened, or a set-uid program's output could become a job.
  func writeDraft(
    _ number: UInt64, openedBy owner: (uid: UInt32, gid: UInt32), _ bytes: [UInt8], at offset: UInt64, by requester: Requester,
    _ reply: consuming CountReply
  ) {
    guard requester.uid == owner.uid, requester.gid == owner.gid else { return reply.fail(EPERM) }
    let error = drafts.write(number, bytes, at: offset, Self.now())
    error == 0 ? reply.succeed(count: bytes.count) : reply.fail(error)
  }

  public func rename(
    _ name: String, in directory: NodeID, to newName: String, in newDirectory: NodeID, flags: UInt32, by requester: Requester,
    reply: consuming StatusReply
  ) {
    // RENAME_NOREPLACE the kernel sees to; an exchange or a whiteout means nothing here.
    guard flags & ~1 == 0 else { return reply.fail(EINVAL) }
    guard Node(directory) == .jobs, Node(newDirectory) == .jobs, Self.isPlain(name), let (_, draft) = drafts[name] else {
      return reply.fail(EPERM)
    }
    let pending = PendingReply(reply.park {}) { [self] (reply: consuming StatusReply, result) in
      switch result {
      case .success:
        // The kernel moves the file under the job's name, and looks that up anew at once: the draft's own name held for no time.
        if !JobName.isDraft(newName) { drafts.unlist(name) }
        reply.succeed()
      case .failure(let refusal):
        let job = Words.printable(newName.utf8)
        jobs.refuse(refusal, record: draft.bytes, job: job, uid: requester.uid, pid: requester.pid)
        reply.fail(refusal.errno)
      }
    }
    do throws(Refusal) {
      try rename(draft, to: newName, by: requester, pending)
    } catch {
      if pending.claim() { pending.answer(.failure(error)) }
    }
  }

  private func rename(
    _ draft: Drafts.Draft, to name: String, by requester: Requester, _ reply: PendingReply<StatusReply>
  ) throws(Refusal) {
    guard requester.uid == draft.uid else {
      throw Refusal(errno: EPERM, column: 0, text: "the draft is uid \(draft.uid)'s, and only they can submit it")
    }
    if JobName.isDraft(name) {
      try JobName.checkDraft(name)
      drafts.rename(draft.name, to: name)
      if reply.claim() { reply.answer(.success(0)) }
      return
    }
    try Self.checkNewName(name)
    if placeholders.contains(name) { throw Refusal(errno: EBUSY, column: 0, text: "a record for \(name) is being written") }
    try jobs.accept(draft: draft.bytes, name: name, for: asker(requester), reply: reply)
  }
}
