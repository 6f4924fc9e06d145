internal import CopyJobs
internal import Locking

/// One open `wait` of a client: the jobs that it waits for are those that were there at its first read or poll.
final class ClientTurn: Sendable {
  let client: CopyClient
  private let first = Locked<UInt64?>(nil)

  init(_ client: CopyClient) { self.client = client }

  /// The last job that is waited for.
  private var ticket: UInt64 {
    first.withLock { first in
      let ticket = first ?? client.lastTicket
      first = ticket
      return ticket
    }
  }

  /// Calls `body` once, when the jobs are final or the daemon stops; `nil`, and no call, when they are final already.
  func observe(_ body: @escaping @Sendable () -> Void) -> UInt64? { client.observe(through: ticket, body) }

  func stopObserving(_ observer: UInt64) { client.stopObserving(observer) }

  /// Whether the jobs are final.
  var isOver: Bool { client.haveLeft(through: ticket) }
}
