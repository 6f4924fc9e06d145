internal import CSystemShims
internal import Locking
internal import Synchronization

/// The last records that were refused, of each uid.
public final class RefusalLog: Sendable {
  /// One refusal, as `errors` shows it.
  public struct Entry: Sendable {
    /// Nanoseconds since the epoch.
    public var time: UInt64
    public var uid: UInt32
    public var pid: Int32
    /// The name that the job would have had, or empty.
    public var job: String
    public var refusal: Refusal
    /// What was written, with what a terminal must not see replaced, and cut after `longestRecord` bytes.
    public var record: String
  }

  static let kept = 32
  /// Of so many uids: who has been quiet for the longest is forgotten first.
  static let mostUids = 1024
  static let longestRecord = 4096
  /// Two paths and some words.
  private static let longestText = 16384

  private let entries = Locked<[UInt32: [Entry]]>([:])
  private let total = Atomic<UInt64>(0)

  /// Refusals since the daemon began.
  public var count: UInt64 { total.load(ordering: .relaxed) }

  func add(_ refusal: Refusal, record: [UInt8], job: String?, uid: UInt32, pid: Int32) {
    // The names of mounts and programs are in it, which others have given and which can be anything.
    var refusal = refusal
    refusal.text = Words.printable(refusal.text.utf8, limit: Self.longestText)
    let entry = Entry(
      time: kcs_realtime(), uid: uid, pid: pid, job: job ?? "", refusal: refusal, record: Words.printable(record, limit: Self.longestRecord)
    )
    total.wrappingAdd(1, ordering: .relaxed)
    entries.withLock { entries in
      if entries[uid] == nil, entries.count == Self.mostUids {
        let quiet = entries.min { ($0.value.last?.time ?? 0) < ($1.value.last?.time ?? 0) }
        if let quiet { entries[quiet.key] = nil }
      }
      var own = entries[uid] ?? []
      if own.count == Self.kept { own.removeFirst() }
      own.append(entry)
      entries[uid] = own
    }
  }

  /// What a uid may see, oldest first: root everything, others their own.
  public func entries(for uid: UInt32) -> [Entry] {
    entries.withLock { entries in
      guard uid == 0 else { return entries[uid] ?? [] }
      return entries.values.joined().sorted { $0.time < $1.time }.suffix(Self.kept)
    }
  }

  /// Forgets a uid's own.
  public func clear(_ uid: UInt32) {
    entries.withLock { $0[uid] = nil }
  }
}
