internal import Glibc

/// Who asks for a copy: whoever opened the file that the record is written to.
///
/// Everything is taken at the open.  A set-uid program that prints its arguments into a descriptor that somebody else
/// opened would otherwise make its words a record of root's.
public struct Caller: Sendable, Equatable {
  public let uid: UInt32
  public let gid: UInt32
  public let pid: Int32
  /// The process that the thread `pid` belongs to.
  public let process: Int32
  public let umask: UInt32
  private let namespaces: [String]
  private let rights: Rights

  /// What lets a process open more than its uid says.
  private struct Rights: Equatable {
    let capabilities: UInt64
    let groups: Set<UInt32>

    init?(_ fields: [Substring: Substring]) {
      guard let text = fields["CapEff"], let capabilities = UInt64(text.drop { $0 == "\t" }, radix: 16),
        let gids = fields["Gid"], let groups = fields["Groups"]
      else { return nil }
      self.capabilities = capabilities
      // Of the four gids the last is the file system's, which opens go by.
      let own = gids.split(separator: "\t").last.flatMap { UInt32($0) }
      self.groups = Set(groups.split(whereSeparator: { $0 == "\t" || $0 == " " }).compactMap { UInt32($0) } + [own].compactMap { $0 })
    }

    func contain(_ other: Rights) -> Bool { other.capabilities & ~capabilities == 0 && other.groups.isSubset(of: groups) }
  }

  /// Reads what the kernel says of a thread that waits for our answer, and so cannot have been replaced by another.
  ///
  /// - Returns: `nil` when it cannot be seen: pid 0 is another pid namespace, and an unreadable entry of /proc proves
  ///   nothing.  Who cannot be seen is refused.
  public init?(uid: UInt32, gid: UInt32, pid: Int32) {
    guard let fields = Self.status(of: pid) else { return nil }
    func numbers(_ key: Substring, radix: Int = 10) -> [UInt32] {
      (fields[key] ?? "").split(whereSeparator: { $0 == "\t" || $0 == " " }).compactMap { UInt32($0, radix: radix) }
    }
    // The third number is the file system's uid, the one that the request carries.
    guard numbers("Uid").contains(uid), let process = numbers("Tgid").first, let umask = numbers("Umask", radix: 8).first else {
      return nil
    }
    guard let namespaces = Self.namespaces(of: "\(pid)"), let rights = Rights(fields) else { return nil }
    self.rights = rights
    self.uid = uid
    self.gid = gid
    self.pid = pid
    self.process = Int32(process)
    self.umask = umask
    self.namespaces = namespaces
  }

  /// The process that a thread belongs to.
  public static func process(ofThread pid: Int32) -> Int32? {
    status(of: pid)?["Tgid"].flatMap { Int32($0.drop { $0 == "\t" }) }
  }

  private static func status(of pid: Int32) -> [Substring: Substring]? {
    guard pid > 0, let status = KernelText.read("/proc/\(pid)/status") else { return nil }
    var fields: [Substring: Substring] = [:]
    for line in status.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      fields[line[..<colon]] = line[line.index(after: colon)...]
    }
    return fields
  }

  private static func namespaces(of process: String) -> [String]? {
    guard let mount = KernelText.link("/proc/\(process)/ns/mnt"), let user = KernelText.link("/proc/\(process)/ns/user"),
      let root = KernelText.link("/proc/\(process)/root")
    else { return nil }
    return [mount, user, root]
  }

  private static let own = namespaces(of: "self")
  private static let ownRights = status(of: getpid()).flatMap(Rights.init)

  /// Why the caller is not served, or `nil`.
  ///
  /// A path means something else in another mount namespace or below another root, and the daemon would open what the
  /// caller doesn't see.
  public var objection: String? {
    if uid != geteuid() { return "only uid \(geteuid()), which the daemon runs as, is served" }
    if namespaces != Self.own { return "the caller is in another mount or user namespace, or below another root" }
    // Opened as the daemon, whatever it names: so nobody may have fewer rights than the daemon.
    guard let own = Self.ownRights, rights.contain(own) else { return "the caller lacks capabilities or groups that the daemon has" }
    return nil
  }
}
