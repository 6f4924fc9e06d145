internal import Locking
internal import Synchronization

/// A copy that was given to a client: its progress, and what can be changed while it runs.
///
/// A copy that has ended already is left as it is by all of this.
public final class Copy: Sendable {
  /// What others see of it.
  struct Published: Sendable {
    var progress: CopyProgress
    var maps: [RangeMap]
  }

  private let mailbox: Mailbox
  private let published: Locked<Published>

  /// Where the engine keeps it while it runs, else -1; the client's thread only.
  let task = Atomic(-1)

  init(_ request: CopyRequest, mailbox: Mailbox) {
    self.mailbox = mailbox
    let count = request.destinations.count
    var first = Published(
      progress: CopyProgress(destinations: Array(repeating: DestinationProgress(), count: count)),
      maps: request.maps.isEmpty ? Array(repeating: RangeMap(count: request.count), count: count) : request.maps)
    first.progress.pause = request.options.startsPaused ? .user : nil
    if !request.maps.isEmpty { first.recount(count == 64 ? .max : .only(count) - 1) }
    published = Locked(first)
  }

  /// A snapshot of the progress; it never waits for a device.
  public var progress: CopyProgress { published.withLock { $0.progress } }

  /// What has become of each byte on one destination; it never waits for a device.
  ///
  /// - Parameter destination: its number, from 0; less than there are.
  public func map(of destination: Int) -> RangeMap { published.withLock { $0.maps[destination] } }

  /// Asks the copy to end: no transfer starts after it is taken, and the notification comes once none is in flight.
  ///
  /// What `kcopyd_cancel` was to be, which `drivers/md/dm-kcopyd.c` never had.
  public func cancel() { mailbox.post(.change(self, .cancel)) }

  /// Asks the copy to stop where it is, for a later one to go on from its maps: no sub-job starts after it is taken, writes in
  /// flight end, every destination that isn't at its end is flushed (unless `CopyOptions.flushes` is off), and the notification
  /// comes with `Notification.wasSuspended`.
  ///
  /// A write or flush that fails from then on fails nobody: its bytes are `missing` in the map, and written again by whoever goes
  /// on.  A copy that turns out to be complete, or that an error has ended already, is notified as ever; `cancel` makes a cancel
  /// of it.
  public func suspend() { mailbox.post(.change(self, .suspend)) }

  /// Starts nothing more until `resume`; what is in flight ends.
  public func pause() { mailbox.post(.change(self, .pause)) }

  /// Goes on; with `ErrorMode.pause`, beginning with what failed.
  public func resume() { mailbox.post(.change(self, .resume)) }

  /// Bytes of the region per second, at most; `nil`: as fast as the client lets it.  0 counts as 1.
  public func setRate(_ rate: UInt64?) { mailbox.post(.change(self, .rate(rate.map { max($0, 1) }))) }

  /// Whose turn comes first among the copies of a client: 0 (first) to 9; what is outside counts as the nearest of them.
  public func setPriority(_ priority: Int) { mailbox.post(.change(self, .priority(min(max(priority, 0), 9)))) }

  /// Changes what others see; the client's thread only.
  func publish<R>(_ change: (inout sending Published) -> R) -> R where R: Sendable {
    published.withLock { change(&$0) }
  }

}

/// A notification that was prepared, and waits for the work that somebody else does: see `Client.prepareNotification`.
public final class PreparedNotification: Sendable {
  private let mailbox: Mailbox
  private let isFired = Atomic(false)
  let notify: @Sendable (Notification) -> Void
  /// Its turn among what the client was given; the client's thread only.
  let serial = Atomic<UInt64>(0)

  init(mailbox: Mailbox, notify: @escaping @Sendable (Notification) -> Void) {
    self.mailbox = mailbox
    self.notify = notify
  }

  /// Lets the notification come, on the client's thread, after those that are due already: `dm_kcopyd_do_callback`.
  ///
  /// Only the first call counts.  From any thread; it never waits.
  ///
  /// - Parameters:
  ///   - readError: what the notification is to say of reading.
  ///   - writeErrors: what it is to say of writing, bit i for destination i.
  public func fire(readError: Bool = false, writeErrors: UInt64 = 0) {
    guard !isFired.exchange(true, ordering: .relaxed) else { return }
    var progress = CopyProgress(destinations: [])
    progress.readError = readError
    progress.writeErrors = writeErrors
    mailbox.post(.fire(self, Notification(wasCancelled: false, progress: progress)))
  }
}

/// What a copy was asked to do.
struct CopyRequest: Sendable {
  /// `nil`: zeroes.
  var source: Region?
  var destinations: [Region]
  var options: CopyOptions
  /// What an earlier attempt has left on the destinations, `durable` or `missing`; empty: nothing.
  var maps: [RangeMap] = []
  /// Called when the copy has begun, and when its pause has begun or ended.
  var changed: (@Sendable () -> Void)?
  /// Called when a flush in the middle of the copy has made more of a destination durable, and when a destination has failed and
  /// others go on; `nil`: no such flush is made.
  var checkpointed: (@Sendable () -> Void)?
  var notify: @Sendable (Notification) -> Void

  /// Whether its destinations are flushed in the middle of the copy too.
  var takesCheckpoints: Bool { checkpointed != nil && options.flushes }

  /// The length of the regions, in bytes.
  var count: UInt64 { source?.count ?? destinations.first?.count ?? 0 }
}
