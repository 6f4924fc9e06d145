internal import CopyJobs
internal import FuseKit
internal import Locking

/// A parked write as admission sees it: the first who takes it answers, and a signal can be that first.
final class PendingReply<Reply: ReplyToken & ~Copyable>: SubmissionReply {
  private let parked: Parked<Reply>
  private let taken = Locked<Reply?>(nil)
  private let body: @Sendable (consuming Reply, Result<Int, Refusal>) -> Void

  init(_ parked: Parked<Reply>, _ body: @escaping @Sendable (consuming Reply, Result<Int, Refusal>) -> Void) {
    self.parked = parked
    self.body = body
  }

  func claim() -> Bool {
    var reply = parked.take()
    return taken.withLock { taken in
      taken = reply.take()
      return taken != nil
    }
  }

  func answer(_ result: Result<Int, Refusal>) {
    guard let reply = taken.withLock({ $0.take() }) else { preconditionFailure("answered without the right to") }
    body(reply, result)
  }
}
