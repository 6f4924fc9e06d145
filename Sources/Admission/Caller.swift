internal import CSystemShims
internal import Glibc

/// Who asks for a copy: whoever opened the file that the record is written to.
///
/// Everything is taken at the open.  A set-uid program that prints its arguments into a descriptor that somebody else
/// opened would otherwise make its words a record of root's.
public final class Caller: Sendable {
  public let uid: UInt32
  public let gid: UInt32
  public let pid: Int32
  /// The process that the thread `pid` belongs to.
  public let process: Int32
  public let umask: UInt32
  private let place: CallerPlace
  private let rights: CallerRights
  /// Where its paths begin, if that is elsewhere than the daemon's.
  let root: CallerRoot?
  private let foreigners: Foreigners

  /// Reads what the kernel says of a thread that waits for our answer, and so cannot have been replaced by another.
  ///
  /// - Parameter foreigners: what becomes of it if its paths mean something else than the daemon's.
  /// - Returns: `nil` when it cannot be seen: pid 0 is another pid namespace, and an unreadable entry of /proc proves
  ///   nothing.  Who cannot be seen is refused.
  public init?(uid: UInt32, gid: UInt32, pid: Int32, foreigners: Foreigners = .refused) {
    guard let (status, rights) = CallerRights.status(of: pid) else { return nil }
    let uids = [status.uid.0, status.uid.1, status.uid.2, status.uid.3]
    guard uids.contains(uid), let place = CallerPlace(thread: pid, root: "/proc/\(pid)/root") else { return nil }
    self.rights = rights.inUserNamespace(isOwn: place.hasOwnUsers)
    self.uid = uid
    self.gid = gid
    self.pid = pid
    self.process = Int32(status.process)
    self.umask = status.umask
    self.place = place
    self.foreigners = foreigners
    root = place.hasOwnPaths || foreigners == .refused ? nil : CallerRoot.of(thread: pid)
  }

  // MARK: Over a restart

  /// Words of `key=value` that the same caller can be made of again.
  public var kept: String {
    let groups = rights.groups.map(String.init).joined(separator: ",")
    return "umask=\(String(umask, radix: 8)) fsgid=\(rights.gid) capabilities=\(String(rights.capabilities, radix: 16)) groups=\(groups)"
      + (place.hasOwnPaths ? "" : " elsewhere=1")
  }

  /// Whoever asked before a restart: by then the process may be gone, and its paths mean what they mean to the daemon; if they
  /// meant something else, nobody knows what.
  ///
  /// - Returns: `nil` for words that `kept` doesn't write.
  public init?(kept: String, uid: UInt32, gid: UInt32) {
    var values: [Substring: Substring] = [:]
    for word in kept.split(separator: " ") {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else { return nil }
      values[parts[0]] = parts[1]
    }
    let groups = (values["groups"] ?? "").split(separator: ",").map { UInt32($0) }
    guard let umask = UInt32(values["umask"] ?? "", radix: 8), let fileGid = UInt32(values["fsgid"] ?? ""),
      let capabilities = UInt64(values["capabilities"] ?? "", radix: 16), !groups.contains(nil), let own = CallerPlace.own
    else { return nil }
    self.uid = uid
    self.gid = gid
    pid = 0
    process = 0
    self.umask = umask
    place = values["elsewhere"] == nil ? own : CallerPlace.lost
    root = nil
    foreigners = .refused
    rights = CallerRights(capabilities: capabilities, gid: fileGid, groups: groups.compactMap { $0 })
  }

  /// The process that a thread belongs to.
  public static func process(ofThread pid: Int32) -> Int32? { CallerRights.status(of: pid).map { Int32($0.status.process) } }

  /// The supplementary groups.
  public var groups: [UInt32] { rights.groups }

  /// The supplementary groups of a thread; none when it cannot be seen.
  public static func groups(ofThread pid: Int32) -> [UInt32] { CallerRights.status(of: pid)?.rights.groups ?? [] }

  // MARK: What it may do

  /// Whom a daemon serves of those whose paths mean something else than its own.
  public enum Foreigners: Sendable {
    /// Nobody.
    case refused
    /// All: their paths begin at their own root.
    case atTheirRoot
  }

  /// Why the caller is not served, or `nil`.
  ///
  /// A path means something else in another mount namespace or below another root, and the daemon would open what the
  /// caller doesn't see.
  public var objection: String? {
    if !isOwn, !CallerRights.canChange {
      if uid != CallerRights.ownUID { return "only uid \(CallerRights.ownUID), which the daemon runs as, is served" }
      return "the caller lacks capabilities or groups that the daemon has"
    }
    if place.hasOwnPaths, place.hasOwnUsers { return nil }
    if foreigners == .refused { return "the caller is in another mount or user namespace, or below another root" }
    if !place.hasOwnPaths, root == nil { return "the root directory of the caller, which is another one, can't be had" }
    return nil
  }

  /// Whether the daemon's own rights are none that the caller hasn't got.
  private var isOwn: Bool {
    guard uid == CallerRights.ownUID, let own = CallerRights.own else { return false }
    return rights.contain(own)
  }

  /// Does something with the caller's rights, and only those: see ``CallerRights/acting(as:failure:_:)``.
  func acting<R, E: Error>(failure: (Int32) -> E, _ body: () throws(E) -> R) throws(E) -> R {
    isOwn ? try body() : try rights.acting(as: uid, failure: failure, body)
  }
}
