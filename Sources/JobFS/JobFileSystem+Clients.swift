internal import CopyJobs
internal import FuseKit
internal import Glibc

/// The directories of `clients/`: what is asked of them, and the values in their files.
extension JobFileSystem {
  func asker(_ requester: Requester) -> JobService.Asker {
    JobService.Asker(uid: requester.uid, gid: requester.gid, pid: requester.pid)
  }

  func makeClient(_ name: String, permissions: UInt32, by requester: Requester, _ reply: consuming EntryReply) {
    let pending = PendingReply(held: reply) { [self] (reply, result: Result<Int, Refusal>) in
      switch result {
      case .success(let number):
        guard let entry = entry(.client(UInt64(number), .directory), for: requester) else { return reply.fail(ENOENT) }
        reply.succeed(entry)
      case .failure(let refusal): reply.fail(refusal.errno)
      }
    }
    jobs.makeClient(name, permissions: permissions & 0o777, for: asker(requester), reply: pending)
  }

  func removeClient(_ name: String, by requester: Requester, _ reply: consuming StatusReply) {
    guard Self.isPlain(name) else { return reply.fail(ENOENT) }
    jobs.removeClient(name, for: asker(requester), reply: PendingReply(reply.park {}, Self.answer))
  }

  private static func answer(_ reply: consuming StatusReply, _ result: Result<Int, Refusal>) {
    switch result {
    case .success: reply.succeed()
    case .failure(let refusal): reply.fail(refusal.errno)
    }
  }

  func open(_ client: CopyClient, _ file: ClientFile, writes: Bool, by requester: Requester, _ reply: consuming OpenReply) {
    if let parameter = file.parameter, writes {
      return open(.value(client, parameter, Line(openedBy: requester)), isStream: false, by: requester, reply)
    }
    // Root may open everything, but there is nothing that a write could do.
    if writes { return reply.fail(EACCES) }
    file == .wait
      ? open(.turn(ClientTurn(client)), isStream: true, by: requester, reply) : open(.text, isStream: false, by: requester, reply)
  }

  static func attributes(_ client: CopyClient, _ file: ClientFile, _ inode: UInt64) -> Attributes {
    let (permissions, modified): (UInt32, UInt64) =
      switch (file, file.parameter) {
      case (.directory, _): (client.permissions, client.madeAt)
      case (_, let parameter?): (0o644, client.changedAt(parameter))
      // It changes with every sub-job.
      case (.pagesFree, _): (0o444, now())
      default: (0o444, client.movedAt)
      }
    return Attributes(
      inode: inode, kind: file.isDirectory ? .directory : .file, permissions: permissions, links: file.isDirectory ? 2 : 1, uid: client.uid,
      gid: client.gid, size: UInt64(ClientText.text(client, file)?.count ?? 0), modified: modified)
  }

  /// A write is one value; what is not complete waits for its rest.
  func set(
    _ client: CopyClient, _ parameter: ClientParameter, _ line: Line, _ bytes: [UInt8], by requester: Requester,
    _ reply: consuming CountReply
  ) {
    let lines = line.append(bytes)
    if lines?.isEmpty == true { return reply.succeed(count: bytes.count) }
    let pending = PendingReply(reply.park {}) { (reply, result: Result<Int, Refusal>) in
      switch result {
      case .success(let count): reply.succeed(count: count)
      case .failure(let refusal): reply.fail(refusal.errno)
      }
    }
    let rest = line.takeRest()
    // Of several lines, or a line and a piece, nobody knows which is meant: with its newlines it is one bad value.
    let value = lines.flatMap { $0.count == 1 && rest == nil ? $0[0] : nil } ?? bytes + [0x0a]
    jobs.set(parameter, of: client, to: value, count: bytes.count, for: asker(requester), reply: pending)
  }

  /// What was written is a value, with or without its newline.
  func finish(_ client: CopyClient, _ parameter: ClientParameter, _ line: Line, by requester: Requester, _ reply: consuming StatusReply) {
    guard let rest = line.takeRest() else { return reply.succeed() }
    let pending = PendingReply(reply.park {}, Self.answer)
    jobs.set(parameter, of: client, to: rest, count: 0, for: asker(requester), reply: pending)
  }

  /// As for `ctl`: the last descriptor is closed by another than who opened it.
  func closeLast(_ client: CopyClient, _ parameter: ClientParameter, _ line: Line) {
    guard let rest = line.takeRest() else { return }
    let owner = JobService.Asker(uid: client.uid, gid: client.gid, pid: 0)
    jobs.set(parameter, of: client, to: rest, count: 0, for: owner, reply: Unheard())
  }
}

/// The answer to somebody who has gone.
private final class Unheard: SubmissionReply {
  func claim() -> Bool { true }
  func answer(_ result: Result<Int, Refusal>) {}
}
