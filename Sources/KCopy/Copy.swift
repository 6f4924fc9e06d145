internal import Locking
internal import Synchronization

/// A copy that was given to a client: its progress, and a way to end it.
public final class Copy: Sendable {
  private let mailbox: Mailbox
  private let published: Locked<CopyProgress>

  /// Where the engine keeps it while it runs, else -1; the client's thread only.
  let task = Atomic(-1)

  init(destinations: Int, mailbox: Mailbox) {
    self.mailbox = mailbox
    published = Locked(CopyProgress(destinations: Array(repeating: DestinationProgress(), count: destinations)))
  }

  /// A snapshot of the progress; it never waits for a device.
  public var progress: CopyProgress { published.withLock { $0 } }

  /// Asks the copy to end: no transfer starts after it is taken, and the notification comes once none is in flight.
  ///
  /// A copy that has ended already is left as it is.
  public func cancel() {
    mailbox.post(.cancel(self))
  }

  /// Changes what `progress` shows; the client's thread only.
  func publish(_ change: (inout sending CopyProgress) -> Void) {
    published.withLock { change(&$0) }
  }
}

/// What a copy was asked to do.
struct CopyRequest: Sendable {
  var source: Region
  var destinations: [Region]
  var options: CopyOptions
  var notify: @Sendable (Notification) -> Void
}

/// How a copy is done.
public struct CopyOptions: Sendable {
  /// Flush every destination before the notification.  Otherwise a copy that is complete may still be lost with the power.
  public var flushes = true
  /// A region that ends inside the last logical block of a destination device: the rest of that block is written with
  /// zeroes.  Otherwise such a region is refused.
  public var fillsTailWithZeroes = false

  public init() {}
}
