internal import CopyJobs
internal import FuseKit
internal import Glibc
internal import Locking

/// `ctl`: commands to a job, a line each.
extension JobFileSystem {
  /// One command per line; a line that is not complete waits for its rest.
  func control(_ job: Job, _ line: Line, _ bytes: [UInt8], by requester: Requester, _ reply: consuming CountReply) {
    do throws(Refusal) {
      guard let lines = line.append(bytes) else { throw Self.tooLong }
      for line in lines { try command(job, line) }
      reply.succeed(count: bytes.count)
    } catch {
      _ = line.takeRest()
      take(error, of: job, by: requester)
      reply.fail(error.errno)
    }
  }

  /// A command without its newline is one all the same if it is a whole word; half a word is nothing.
  func finish(_ job: Job, _ line: Line, by requester: Requester, _ reply: consuming StatusReply) {
    do throws(Refusal) {
      try command(job, line.takeRest() ?? [])
      reply.succeed()
    } catch {
      take(error, of: job, by: requester)
      reply.fail(error.errno)
    }
  }

  /// The last descriptor is closed, by another than who opened it: nobody hears how it goes.
  func closeLast(_ job: Job, _ line: Line) {
    do throws(Refusal) {
      try command(job, line.takeRest() ?? [])
    } catch {
      jobs.refuse(error, record: [], job: job.facts.name, uid: job.facts.uid, pid: 0)
    }
  }

  private func command(_ job: Job, _ line: [UInt8]) throws(Refusal) {
    guard line.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0d }) else { return }
    let command = try JobCommand(line: line)
    try jobs.obey(command, job)
    // What was removed of a final job is there again with its next attempt.
    if command == .retry { hidden.withLock { $0[job.facts.id] = nil } }
  }

  /// What is wrong with a command stands in `errors`; that a job has ended already needs no words.
  private func take(_ refusal: Refusal, of job: Job, by requester: Requester) {
    guard refusal.errno != EALREADY else { return }
    jobs.refuse(refusal, record: [], job: job.facts.name, uid: requester.uid, pid: requester.pid)
  }

  private static var tooLong: Refusal {
    Refusal(errno: EINVAL, column: Line.longest, text: "a command has at most \(Line.longest) bytes")
  }
}
