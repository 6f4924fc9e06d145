internal import CopyJobs
public import FuseKit
internal import Glibc
internal import Locking

/// Reads that wait for a job: no thread is held meanwhile.
extension JobFileSystem {
  func wait(_ job: Job, _ isResult: Bool, _ open: Handle, _ size: Int, _ nonblocking: Bool, _ reply: consuming DataReply) {
    if job.isFinal || job.isRemoved { return answer(job, isResult, open, size, reply) }
    if jobs.isStopping { return reply.fail(ESHUTDOWN) }
    if nonblocking { return reply.fail(EAGAIN) }
    let waiter = Waiter(job)
    let parked = reply.park { waiter.leave() }
    waiter.wait { [self] event in
      guard let reply = parked.take() else { return }
      switch event {
      case .final, .removed: answer(job, isResult, open, size, reply)
      case .shutdown: reply.fail(ESHUTDOWN)
      }
    }
    // The stop may have told those who waited a moment before this one joined them.
    if jobs.isStopping, let reply = parked.take() { reply.fail(ESHUTDOWN) }
  }

  /// The text of a final job, from where the last read of this open file ended.
  private func answer(_ job: Job, _ isResult: Bool, _ open: Handle, _ size: Int, _ reply: consuming DataReply) {
    if job.isRemoved, open.bytes.withLock({ $0 }) == nil { return reply.fail(ENODEV) }
    if isResult, job.resultErrno != 0 { return reply.fail(job.resultErrno) }
    let part: ArraySlice<UInt8> = open.bytes.withLock { rest in
      let text = rest ?? (isResult ? Array("ok\n".utf8) : JobText.status(job))
      rest = Array(text.dropFirst(size))
      return text.prefix(size)
    }
    reply.succeed(part)
  }

  public func poll(_ node: NodeID, handle: UInt64, waker: PollWaker?, by requester: Requester, reply: consuming PollReply) {
    guard let open = handles[handle], case .waiting(let job, _) = open.kind else {
      return reply.succeed(events: UInt32(POLLIN | POLLOUT))
    }
    if job.isRemoved { return reply.succeed(events: UInt32(POLLERR | POLLHUP)) }
    // Told of the end, or it has ended: between the two there is no gap.
    if let waker { open.setPoller(job, job.observe { _ in waker.wake() }) }
    reply.succeed(events: job.isFinal || jobs.isStopping ? UInt32(POLLIN) : 0)
  }
}

/// One parked read on the list of its job, until the job tells it or its caller is interrupted.
private final class Waiter: Sendable {
  private struct State {
    var observer: UInt64?
    var hasLeft = false
  }

  private let job: Job
  private let state = Locked(State())

  init(_ job: Job) { self.job = job }

  func wait(_ body: @escaping @Sendable (Job.Event) -> Void) {
    guard let observer = job.observe(body) else { return body(.final) }
    let hasLeft = state.withLock { state in
      state.observer = observer
      return state.hasLeft
    }
    if hasLeft { job.stopObserving(observer) }
  }

  func leave() {
    let observer = state.withLock { state in
      state.hasLeft = true
      return state.observer
    }
    if let observer { job.stopObserving(observer) }
  }
}
