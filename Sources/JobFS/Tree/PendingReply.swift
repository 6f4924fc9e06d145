internal import CopyJobs
internal import FuseKit
internal import Locking

/// A parked write, or another request, as admission sees it: the first who takes it answers, and a signal can be that first.
final class PendingReply<Reply: ReplyToken & ~Copyable>: SubmissionReply {
  private let take: @Sendable () -> Reply?
  private let taken = Locked<Reply?>(nil)
  private let body: @Sendable (consuming Reply, Result<Int, Refusal>) -> Void

  init(_ parked: Parked<Reply>, _ body: @escaping @Sendable (consuming Reply, Result<Int, Refusal>) -> Void) {
    take = { parked.take() }
    self.body = body
  }

  /// A reply that no signal ends.
  init(held reply: consuming Reply, _ body: @escaping @Sendable (consuming Reply, Result<Int, Refusal>) -> Void) {
    let held = HeldReply(reply)
    take = { held.take() }
    self.body = body
  }

  func claim() -> Bool {
    var reply = take()
    return taken.withLock { taken in
      // Who comes second must not touch what the first has in hand.
      guard let first = reply.take() else { return false }
      taken = consume first
      return true
    }
  }

  func answer(_ result: Result<Int, Refusal>) {
    guard let reply = taken.withLock({ $0.take() }) else { preconditionFailure("answered without the right to") }
    body(reply, result)
  }
}

/// A reply on its way to another thread, which no signal ends: it must not take long.
final class HeldReply<Reply: ReplyToken & ~Copyable>: Sendable {
  private let reply: Locked<Reply?>

  init(_ reply: consuming Reply) { self.reply = Locked(reply) }

  func take() -> Reply? { reply.withLock { $0.take() } }
}
