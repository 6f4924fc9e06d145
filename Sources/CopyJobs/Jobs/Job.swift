internal import Admission
internal import Glibc
public import KCopy
internal import Locking

/// One copy job: what was asked, who asked, and how far it is.
public final class Job: Sendable {
  /// What is known of a job when it is accepted, and never changes.
  public struct Facts: Sendable {
    public var id: UInt64
    public var name: String
    public var uid: UInt32
    public var gid: UInt32
    public var operation: String
    public var client: String
    public var context: String
    /// Nanoseconds since the epoch.
    public var queuedAt: UInt64
  }

  /// What it comes to on its devices: known when they have been looked at.
  public struct Plan: Sendable, Equatable {
    /// The record, normalised, one line without its newline.
    public var spec: String
    /// The length of the region, in bytes; 0 while it isn't known.
    public var count: UInt64 = 0
    /// What of the region is copied; `nil`: all of it.
    var domain: Domain?
    /// What was read; `nil` where nothing is, or it isn't known yet.
    var source: Identified?
    public var destinations: [Destination] = []
    /// Whether sizes and identities are those of the devices.
    var isResolved = true

    /// What is to be copied, in bytes.
    public var bytesTotal: UInt64 { domain?.count ?? count }

    /// The map of a destination all of whose bytes are like this.
    func map(_ status: RangeMap.Status = .missing) -> RangeMap {
      guard var map = domain?.map else { return RangeMap(count: count, status: status) }
      map.replace(.missing, with: status)
      return map
    }

    mutating func forgetFingerprints() {
      source?.fingerprint = ""
      for index in destinations.indices { destinations[index].device.fingerprint = "" }
    }
  }

  /// A device or file, told from others that stand under the same path later.
  struct Identified: Sendable, Equatable {
    var identity: String
    /// A disk's sequence number, or when a file was made.
    var birth: UInt64
    /// The text of its `Fingerprint`; empty where nothing outlives the daemon.
    var fingerprint = ""
  }

  public struct Destination: Sendable, Equatable {
    public var path: String
    var device: Identified
    public var identity: String { device.identity }
    /// The first byte of its map: where the region begins on the source, or on the destination of a job that has no source.
    public var mapStart: UInt64 = 0
  }

  /// Why somebody who follows a job is told something.
  public enum Event: Sendable {
    case changed, final, removed, shutdown
  }

  public let facts: Facts
  let life: Locked<JobLife>
  let changes: JobChanges
  /// As whom its paths are opened.
  let caller: Caller?

  init(
    _ facts: Facts, _ plan: Plan, caller: Caller? = nil, permissions: UInt32, after predecessors: Predecessors? = nil, _ changes: JobChanges
  ) {
    self.facts = facts
    self.caller = caller
    self.changes = changes
    var life = JobLife(plan, permissions: permissions)
    life.predecessors = predecessors
    self.life = Locked(life)
  }

  // MARK: Reading

  public var snapshot: JobSnapshot { life.withLock { $0 }.snapshot() }

  public var plan: Plan { life.withLock { $0.plan } }

  /// What has become of each byte on one destination, counted from 0; kept after the end.
  public func map(of destination: Int) -> RangeMap { life.withLock { $0 }.map(of: destination) }

  public var isFinal: Bool { life.withLock { $0.state != nil } }

  var isDone: Bool { life.withLock { $0.state == .done } }

  /// The jobs that it comes after; `nil` where there is none, and once it is done.
  var predecessors: Predecessors? { life.withLock { $0.predecessors } }

  public var isRemoved: Bool { life.withLock { $0.isRemoved } }

  /// How often its state has changed: who has seen this number has seen all that there is.
  public var changeCount: UInt64 { life.withLock { $0.changeCount } }

  /// When it became final, in nanoseconds since the epoch; 0 while it isn't.
  public var finishedAt: UInt64 { life.withLock { $0.finishedAt } }

  /// The mode bits of the job's directory.
  public var permissions: UInt32 { life.withLock { $0.permissions } }

  /// Changes the mode bits; search bits follow read bits, for a directory that can be listed but not entered is no use.
  public func setPermissions(_ permissions: UInt32) {
    life.withLock { $0.permissions = permissions & 0o666 | (permissions & 0o444) >> 2 }
  }

  /// Whether somebody may read the files of the job, by its mode bits.
  public func isReadable(by reader: JobReader) -> Bool {
    if reader.uid == 0 { return true }
    let shift: UInt32 = reader.uid == facts.uid ? 6 : reader.groups.contains(facts.gid) ? 3 : 0
    return permissions >> shift & 0o4 != 0
  }

  /// The errno that `result` fails with; 0 for success.
  public var resultErrno: Int32 {
    let snapshot = snapshot
    return switch snapshot.state {
    case .done: 0
    case .cancelled: ECANCELED
    default: snapshot.error?.errno ?? EIO
    }
  }

  // MARK: Following

  /// Calls `body` once: when the job is final, is removed, or the daemon stops.
  ///
  /// - Returns: what to give to `stopObserving`; `nil` when the job is final already, and then nothing is called.
  public func observe(_ body: @escaping @Sendable (Event) -> Void) -> UInt64? {
    life.withLock { life in life.state == nil ? life.add(JobLife.Observer(isLasting: false, body: body)) : nil }
  }

  /// Calls `body` at each change of state, until the job is removed, or the daemon stops.
  ///
  /// - Returns: what to give to `stopObserving`.
  public func follow(_ body: @escaping @Sendable (Event) -> Void) -> UInt64 {
    life.withLock { $0.add(JobLife.Observer(isLasting: true, body: body)) }
  }

  public func stopObserving(_ observer: UInt64) {
    life.withLock { _ = $0.observers.removeValue(forKey: observer) }
  }

  func tell(_ event: Event) {
    for observer in life.withLock({ $0.observers(for: event) }) { observer.body(event) }
  }

  /// It has left the table.
  ///
  /// - Throws: EBUSY while it isn't final, ENOENT when somebody else was first: then nothing has changed.
  ///
  /// - Returns: how it had ended.
  @discardableResult func remove(evenUnfinished: Bool = false) throws(Refusal) -> JobState {
    let shown = try life.withLock { (life) throws(Refusal) in
      guard !life.isRemoved else { throw Refusal(errno: ENOENT, column: 0, text: "the job was removed") }
      guard evenUnfinished || life.state != nil else { throw Refusal(errno: EBUSY, column: 0, text: "the job is not final") }
      life.isRemoved = true
      return life.shown
    }
    changes.removed(in: shown)
    tell(.removed)
    return shown
  }

  // MARK: Changing

  /// It is in the table: from here on others can see it.
  func appeared() {
    life.withLock { _ in changes.added(self) }
    changes.tell(of: self)
  }

  /// An earlier daemon has left it, and it is in the table again.
  func reappeared() { life.withLock { changes.restored(in: $0.shown) } }

  /// Its work says that something is different.
  func lookAgain() { change { _ in } }

  /// Changes something, and tells everybody who follows if that changed its state.
  func change<R, E: Error>(_ body: (inout JobLife) throws(E) -> R) throws(E) -> R {
    let (result, hasChanged) = try life.withLock { (life) throws(E) in
      let result = try body(&life)
      return (result, note(&life))
    }
    if hasChanged {
      tell(.changed)
      changes.tell(of: self)
    }
    return result
  }

  /// Takes down a change of state, in the order in which they come.
  func note(_ life: inout JobLife) -> Bool {
    let progress = life.progress
    let state = life.current(progress)
    guard state != life.shown else { return false }
    changes.changed(self, from: life.shown, to: state, progress)
    life.shown = state
    life.changeCount += 1
    return true
  }
}
