internal import CopyJobs
public import FuseKit
internal import Glibc
internal import Locking

/// Reads that wait for a job: no thread is held meanwhile.
extension JobFileSystem {
  func wait(_ job: Job, _ isResult: Bool, _ open: Handle, _ size: Int, _ nonblocking: Bool, _ reply: consuming DataReply) {
    // A text that was begun is read to its end, whatever the job does next.
    if let rest = open.takeRest(size) { return reply.succeed(rest) }
    if job.isFinal || job.isRemoved { return answer(job, isResult, open, size, reply) }
    if jobs.isStopping { return reply.fail(ESHUTDOWN) }
    if nonblocking { return reply.fail(EAGAIN) }
    let waiter = Waiter { job.stopObserving($0) }
    let parked = reply.park { waiter.leave() }
    let tell: @Sendable (Job.Event) -> Void = { [self] event in
      guard let reply = parked.take() else { return }
      switch event {
      case .final, .removed: answer(job, isResult, open, size, reply)
      case .shutdown, .changed: reply.fail(ESHUTDOWN)
      }
    }
    if !waiter.waits(job.observe(tell)) { tell(.final) }
    // The stop may have told those who waited a moment before this one joined them.
    if jobs.isStopping, let reply = parked.take() { reply.fail(ESHUTDOWN) }
  }

  /// The text of a final job, from where the last read of this open file ended.
  private func answer(_ job: Job, _ isResult: Bool, _ open: Handle, _ size: Int, _ reply: consuming DataReply) {
    if job.isRemoved, open.bytes.withLock({ $0 }) == nil { return reply.fail(ENODEV) }
    if isResult, job.resultErrno != 0 { return reply.fail(job.resultErrno) }
    reply.succeed(open.take(size) { isResult ? Array("ok\n".utf8) : JobText.status(job) })
  }

  /// As for a job; but a client's `wait` says how many jobs have come since, and not how those ended that it waited for.
  func wait(_ turn: ClientTurn, _ open: Handle, _ size: Int, _ nonblocking: Bool, _ reply: consuming DataReply) {
    // Asked first, for it settles at the first read what is waited for.
    if turn.isOver { return answer(turn, open, size, reply) }
    if jobs.isStopping { return reply.fail(ESHUTDOWN) }
    if nonblocking { return reply.fail(EAGAIN) }
    let waiter = Waiter { turn.stopObserving($0) }
    let parked = reply.park { waiter.leave() }
    let tell: @Sendable () -> Void = { [self] in
      guard let reply = parked.take() else { return }
      // A stop ends the jobs as well, and then nobody has waited for what was given.
      if jobs.isStopping { return reply.fail(ESHUTDOWN) }
      answer(turn, open, size, reply)
    }
    if !waiter.waits(turn.observe(tell)) { tell() }
    if jobs.isStopping, let reply = parked.take() { reply.fail(ESHUTDOWN) }
  }

  private func answer(_ turn: ClientTurn, _ open: Handle, _ size: Int, _ reply: consuming DataReply) {
    if turn.client.isRemoved, open.bytes.withLock({ $0 }) == nil { return reply.fail(ENODEV) }
    reply.succeed(open.take(size) { ClientText.waited(turn.client) })
  }

  /// What has happened, or else the next thing that happens.
  func read(_ events: EventReader, _ size: Int, _ nonblocking: Bool, _ reply: consuming DataReply) {
    if let bytes = events.take(size) { return reply.succeed(bytes) }
    if jobs.isStopping { return reply.fail(ESHUTDOWN) }
    if nonblocking { return reply.fail(EAGAIN) }
    let waiter = Waiter { events.stopWaiting($0) }
    let parked = reply.park { waiter.leave() }
    awaitEvent(events, size, parked, waiter)
  }

  private func awaitEvent(_ events: EventReader, _ size: Int, _ parked: Parked<DataReply>, _ waiter: Waiter) {
    repeat {
      if let bytes = events.take(size) {
        // A signal was first: the next read is to find it.
        guard let reply = parked.take() else { return events.putBack(bytes) }
        return reply.succeed(bytes)
      }
      if jobs.isStopping, let reply = parked.take() { return reply.fail(ESHUTDOWN) }
      // What happens next may be nothing that this reader may see.
    } while !waiter.waits(events.wait { [self] in awaitEvent(events, size, parked, waiter) })
    // The stop may have told those who waited a moment before this one joined them.
    if jobs.isStopping, let reply = parked.take() { reply.fail(ESHUTDOWN) }
  }

  public func poll(_ node: NodeID, handle: UInt64, waker: PollWaker?, by requester: Requester, reply: consuming PollReply) {
    guard let open = handles[handle] else { return reply.fail(EBADF) }
    // Told of the end, or it has ended: between the two there is no gap.
    switch open.kind {
    case .waiting(let job, _):
      if job.isRemoved { return reply.succeed(events: UInt32(POLLERR | POLLHUP)) }
      // Of a final job the removal is still to come.
      if let waker { open.setPoller(job.follow { _ in waker.wake() }) { job.stopObserving($0) } }
      reply.succeed(events: job.isFinal || jobs.isStopping ? UInt32(POLLIN) : 0)
    case .status(let job, let reader):
      if job.isRemoved { return reply.succeed(events: UInt32(POLLERR | POLLHUP)) }
      // Before the look at what has changed: a change in between wakes once too often, and is not lost.
      if let waker { open.setPoller(job.follow { _ in waker.wake() }) { job.stopObserving($0) } }
      reply.succeed(events: UInt32(POLLIN | (reader.hasNews(of: job) ? POLLPRI | POLLERR : 0)))
    case .events(let events):
      // What has happened may be nothing that this reader may see: then it waits for what is next.
      while let waker, !events.hasNews {
        guard let waiter = events.wait({ waker.wake() }) else { continue }
        open.setPoller(waiter) { events.stopWaiting($0) }
        break
      }
      reply.succeed(events: events.hasNews || jobs.isStopping ? UInt32(POLLIN) : 0)
    case .turn(let turn):
      if turn.client.isRemoved { return reply.succeed(events: UInt32(POLLERR | POLLHUP)) }
      if let waker { open.setPoller(turn.observe { waker.wake() }) { turn.stopObserving($0) } }
      reply.succeed(events: turn.isOver || jobs.isStopping ? UInt32(POLLIN) : 0)
    default: reply.succeed(events: UInt32(POLLIN | POLLOUT))
    }
  }
}

/// One parked read on somebody's list, until it is told or its caller is interrupted.
private final class Waiter: Sendable {
  private struct State {
    var observer: UInt64?
    var hasLeft = false
  }

  private let stop: @Sendable (UInt64) -> Void
  private let state = Locked(State())

  /// - Parameter stop: strikes an observer off the list.
  init(_ stop: @escaping @Sendable (UInt64) -> Void) { self.stop = stop }

  /// Takes down the place on the list; false when there is none, for there is nothing to wait for any more.
  func waits(_ observer: UInt64?) -> Bool {
    guard let observer else { return false }
    let hasLeft = state.withLock { state in
      state.observer = observer
      return state.hasLeft
    }
    if hasLeft { stop(observer) }
    return true
  }

  func leave() {
    let observer = state.withLock { state in
      state.hasLeft = true
      return state.observer
    }
    if let observer { stop(observer) }
  }
}
