internal import CSystemShims
internal import Glibc
internal import KCopy
internal import Locking

/// A directory of `clients/`: memory and limits that its jobs share, and the count of those that are not final.
///
/// A job that is given to it draws a ticket, and gives it back when everybody can see that it is final.
public final class CopyClient: Sendable {
  public let name: String
  /// Never another client's, not after this one's removal either.
  public let number: UInt64
  /// Whose it is: theirs and root's are the jobs that may name it.
  public let uid: UInt32
  public let gid: UInt32
  /// The mode bits of its directory.
  public let permissions: UInt32
  /// Nanoseconds since the epoch.
  public let madeAt: UInt64
  let engine: Client

  private struct Life {
    var shape: ClientShape
    var changedAt: [ClientParameter: UInt64] = [:]
    var isRemoved = false
    var lastTicket: UInt64 = 0
    /// Whose it is, by ticket; and how many each uid has.
    var unfinished: [UInt64: UInt32] = [:]
    var unfinishedOf: [UInt32: Int] = [:]
    /// All tickets below it have been given back.
    var oldest: UInt64 = 1
    /// When the number of unfinished jobs changed last.
    var movedAt: UInt64
    /// Who waits, by the ticket that they wait for and their own number.
    var observers: [UInt64: [UInt64: @Sendable () -> Void]] = [:]
    var ticketOfObserver: [UInt64: UInt64] = [:]
    var lastObserver: UInt64 = 0

    mutating func enter(for uid: UInt32) -> UInt64 {
      lastTicket += 1
      unfinished[lastTicket] = uid
      unfinishedOf[uid, default: 0] += 1
      return lastTicket
    }
  }

  private let life: Locked<Life>
  /// Held while the engine changes, which can take a while, or is taken down; `life` never is.
  private let changing: Locked<Void> = Locked(())

  /// - Parameter madeAt: nanoseconds since the epoch; `nil` for now.
  /// - Throws: as the engine's client, when its memory or its thread can't be had.
  init(
    _ name: String, number: UInt64, uid: UInt32, gid: UInt32, permissions: UInt32 = 0o755, madeAt: UInt64? = nil,
    _ configuration: Client.Configuration
  ) throws(DeviceError) {
    self.name = name
    self.number = number
    self.uid = uid
    self.gid = gid
    self.permissions = permissions
    self.madeAt = madeAt ?? kcs_realtime()
    engine = try Client(configuration)
    life = Locked(Life(shape: ClientShape(configuration), movedAt: self.madeAt))
  }

  // MARK: Shape

  /// What its files are set to; it doesn't wait for a change that is under way.
  public var shape: ClientShape { life.withLock { $0.shape } }

  /// When a value was set last, in nanoseconds since the epoch.
  public func changedAt(_ parameter: ClientParameter) -> UInt64 { life.withLock { $0.changedAt[parameter] } ?? madeAt }

  /// Pages that no copy uses at this moment.
  public var pagesFree: Int { engine.pagesFree }

  /// Sets a value, at once for all jobs of the client.  It waits for memory: not for a thread that others wait for.
  ///
  /// - Parameter isAwaited: called once, when the value holds; if nobody waits for it any more, what was before is put back.
  /// - Throws: EINVAL for a value that doesn't fit the others, ENOMEM for pages that can't be had, ENODEV for a client that
  ///   was removed; then nothing has changed, unless what was before could not be had back.
  func change(_ setting: ClientSetting, isAwaited: () -> Bool = { true }) throws(Refusal) {
    try changing.withLock { (_) throws(Refusal) in
      guard !isRemoved else { throw Refusal(errno: ENODEV, column: 0, text: "the client was removed") }
      let before = engine.configuration
      try reshape { setting.apply(to: &$0) }
      guard isAwaited() else {
        do throws(Refusal) {
          return try reshape { $0 = before }
        } catch {
          // Pages that were let go can have become somebody else's: then it is as its files say, and `errors` says why.
          publish(setting)
          throw error
        }
      }
      publish(setting)
    }
  }

  /// Takes the limit on jobs that it had before a restart; the rest is the engine's shape.
  func restore(mostJobs: Int) { life.withLock { $0.shape.mostJobs = mostJobs } }

  private func publish(_ setting: ClientSetting) {
    let now = kcs_realtime()
    life.withLock { life in
      setting.apply(to: &life.shape)
      life.changedAt[setting.parameter] = now
    }
  }

  private func reshape(_ change: (inout Client.Configuration) -> Void) throws(Refusal) {
    var wanted = engine.configuration
    change(&wanted)
    guard wanted != engine.configuration else { return }
    do throws(DeviceError) {
      try engine.update { $0 = wanted }
    } catch {
      throw Refusal(errno: error.errno, column: 0, text: Self.text(error, wanted))
    }
  }

  private static func text(_ error: DeviceError, _ wanted: Client.Configuration) -> String {
    if error.errno == ENOMEM { return "\(wanted.pages) pages of 4096 bytes cannot be had" }
    if wanted.pages < wanted.subjob / 4096 {
      return "\(wanted.pages) pages of 4096 bytes do not hold one sub-job of \(wanted.subjob) bytes"
    }
    return "\(error.call): \(ErrnoName.of(error.errno))"
  }

  /// Bytes read from sources, and written to destinations, for this client.
  var bytes: (read: UInt64, written: UInt64) { (engine.bytesRead, engine.bytesWritten) }

  // MARK: Jobs

  /// Unfinished jobs now.
  public var jobs: Int { life.withLock { $0.unfinished.count } }

  /// When that number changed last, in nanoseconds since the epoch.
  public var movedAt: UInt64 { life.withLock { $0.movedAt } }

  /// The ticket of the last job that came; 0 before the first.
  public var lastTicket: UInt64 { life.withLock { $0.lastTicket } }

  /// One more unfinished job.
  ///
  /// Of a client that several uids share none can take all the places: while it is full, a uid that has less than an eighth of
  /// them, or nothing yet, is let in all the same.
  ///
  /// - Returns: its ticket: larger than those of all jobs before it.
  /// - Throws: ENOBUFS when there are `max_jobs` already, ENOENT when the client was removed.
  func enter(for uid: UInt32) throws(Refusal) -> UInt64 {
    let now = kcs_realtime()
    return try life.withLock { (life) throws(Refusal) in
      guard !life.isRemoved else { throw Refusal(errno: ENOENT, column: 0, text: "there is no client \(name)") }
      let most = life.shape.mostJobs
      guard life.unfinished.count < most || life.unfinishedOf[uid] ?? 0 < min(max(most / 8, 1), most) else {
        throw Refusal(errno: ENOBUFS, column: 0, text: "the client \(name) has \(life.unfinished.count) unfinished jobs already")
      }
      life.movedAt = now
      return life.enter(for: uid)
    }
  }

  /// An unfinished job that came before a restart: it has its place whatever `max_jobs` says.
  func enterAgain(for uid: UInt32) -> UInt64 { life.withLock { $0.enter(for: uid) } }

  /// The job of a ticket is final, and everybody can see it.
  func leave(_ ticket: UInt64) {
    let now = kcs_realtime()
    let due = life.withLock { life in
      guard let uid = life.unfinished.removeValue(forKey: ticket) else { preconditionFailure("a ticket is given back once") }
      if let count = life.unfinishedOf[uid] { life.unfinishedOf[uid] = count == 1 ? nil : count - 1 }
      life.movedAt = now
      var due: [@Sendable () -> Void] = []
      while life.oldest <= life.lastTicket, life.unfinished[life.oldest] == nil {
        for (observer, body) in life.observers.removeValue(forKey: life.oldest) ?? [:] {
          life.ticketOfObserver[observer] = nil
          due.append(body)
        }
        life.oldest += 1
      }
      return due
    }
    for body in due { body() }
  }

  /// Whether every job with a ticket up to this one has left.
  public func haveLeft(through ticket: UInt64) -> Bool { life.withLock { ticket < $0.oldest } }

  /// Calls `body` once: when every job with a ticket up to this one has left, or the daemon stops.
  ///
  /// - Returns: what to give to `stopObserving`; `nil` when they have left already, and then nothing is called.
  public func observe(through ticket: UInt64, _ body: @escaping @Sendable () -> Void) -> UInt64? {
    life.withLock { life in
      guard ticket >= life.oldest else { return nil }
      life.lastObserver += 1
      life.observers[ticket, default: [:]][life.lastObserver] = body
      life.ticketOfObserver[life.lastObserver] = ticket
      return life.lastObserver
    }
  }

  public func stopObserving(_ observer: UInt64) {
    life.withLock { life in
      guard let ticket = life.ticketOfObserver.removeValue(forKey: observer) else { return }
      life.observers[ticket]?[observer] = nil
      if life.observers[ticket]?.isEmpty == true { life.observers[ticket] = nil }
    }
  }

  /// The daemon stops: nobody waits any longer.
  func endWaits() {
    let all = life.withLock { life in
      defer {
        life.observers = [:]
        life.ticketOfObserver = [:]
      }
      return life.observers.values.flatMap(\.values)
    }
    for body in all { body() }
  }

  // MARK: The end

  public var isRemoved: Bool { life.withLock { $0.isRemoved } }

  /// Takes no more jobs.
  ///
  /// - Throws: EBUSY while there are unfinished ones; then it takes more as before.
  func retire() throws(Refusal) {
    try life.withLock { (life) throws(Refusal) in
      guard life.unfinished.isEmpty else {
        throw Refusal(errno: EBUSY, column: 0, text: "the client \(name) has \(life.unfinished.count) unfinished jobs")
      }
      life.isRemoved = true
    }
  }

  /// Gives the memory and the thread back, and returns when that is done.
  func destroy() { changing.withLock { _ in engine.destroy() } }
}
