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
  private let place: Place
  private let rights: Rights

  /// What a path of the process means.
  private struct Place: Equatable {
    let mount: UInt64
    let user: UInt64
    let root: String

    init?(thread: Int32, root path: String) {
      mount = unsafe kcs_process_namespace(thread, "mnt")
      user = unsafe kcs_process_namespace(thread, "user")
      guard mount != 0, user != 0, let root = KernelText.link(path) else { return nil }
      self.root = root
    }
  }

  /// What lets a process open more than its uid says.
  private struct Rights: Equatable {
    let capabilities: UInt64
    /// Of the four gids the last is the file system's, which opens go by.
    let gid: UInt32
    let groups: [UInt32]

    func contain(_ other: Rights) -> Bool {
      other.capabilities & ~capabilities == 0 && contain(other.gid) && other.groups.allSatisfy(contain)
    }

    private func contain(_ group: UInt32) -> Bool { group == gid || groups.contains(group) }
  }

  /// Reads what the kernel says of a thread that waits for our answer, and so cannot have been replaced by another.
  ///
  /// - Returns: `nil` when it cannot be seen: pid 0 is another pid namespace, and an unreadable entry of /proc proves
  ///   nothing.  Who cannot be seen is refused.
  public init?(uid: UInt32, gid: UInt32, pid: Int32) {
    guard let (status, rights) = Self.status(of: pid) else { return nil }
    let uids = [status.uid.0, status.uid.1, status.uid.2, status.uid.3]
    guard uids.contains(uid), let place = Place(thread: pid, root: "/proc/\(pid)/root") else { return nil }
    self.rights = rights
    self.uid = uid
    self.gid = gid
    self.pid = pid
    self.process = Int32(status.process)
    self.umask = status.umask
    self.place = place
  }

  // MARK: Over a restart

  /// Words of `key=value` that the same caller can be made of again.
  public var kept: String {
    let groups = rights.groups.map(String.init).joined(separator: ",")
    return "umask=\(String(umask, radix: 8)) fsgid=\(rights.gid) capabilities=\(String(rights.capabilities, radix: 16)) groups=\(groups)"
  }

  /// Whoever asked before a restart: by then the process may be gone, and paths mean what they mean to the daemon.
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
      let capabilities = UInt64(values["capabilities"] ?? "", radix: 16), !groups.contains(nil), let place = Self.own
    else { return nil }
    self.uid = uid
    self.gid = gid
    pid = 0
    process = 0
    self.umask = umask
    self.place = place
    rights = Rights(capabilities: capabilities, gid: fileGid, groups: groups.compactMap { $0 })
  }

  /// The process that a thread belongs to.
  public static func process(ofThread pid: Int32) -> Int32? { status(of: pid).map { Int32($0.0.process) } }

  private static func status(of thread: Int32) -> (kcs_process_status, Rights)? {
    var capacity: UInt32 = 32
    while true {
      var status = kcs_process_status()
      var groups = [UInt32](repeating: 0, count: Int(capacity))
      guard unsafe kcs_process_status(thread, &status, &groups, capacity) == 0 else { return nil }
      guard status.groups > capacity else {
        groups.removeLast(Int(capacity - status.groups))
        return (status, Rights(capabilities: status.capabilities, gid: status.gid.3, groups: groups))
      }
      capacity = status.groups
    }
  }

  private static let own = Place(thread: kcs_gettid(), root: "/proc/self/root")
  private static let ownRights = status(of: getpid())?.1

  /// Why the caller is not served, or `nil`.
  ///
  /// A path means something else in another mount namespace or below another root, and the daemon would open what the
  /// caller doesn't see.
  public var objection: String? {
    if uid != geteuid() { return "only uid \(geteuid()), which the daemon runs as, is served" }
    if place != Self.own { return "the caller is in another mount or user namespace, or below another root" }
    // Opened as the daemon, whatever it names: so nobody may have fewer rights than the daemon.
    guard let own = Self.ownRights, rights.contain(own) else { return "the caller lacks capabilities or groups that the daemon has" }
    return nil
  }
}
