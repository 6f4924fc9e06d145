internal import CSystemShims
internal import Glibc

/// What lets a process open more than its uid says.
struct CallerRights: Equatable {
  let capabilities: UInt64
  /// Of the four gids the last is the file system's, which opens go by.
  let gid: UInt32
  let groups: [UInt32]

  func contain(_ other: CallerRights) -> Bool {
    other.capabilities & ~capabilities == 0 && contain(other.gid) && other.groups.allSatisfy(contain)
  }

  private func contain(_ group: UInt32) -> Bool { group == gid || groups.contains(group) }

  /// Capabilities in another user namespace are none here, whatever /proc shows.
  func inUserNamespace(isOwn: Bool) -> CallerRights {
    isOwn ? self : CallerRights(capabilities: 0, gid: gid, groups: groups)
  }

  /// What the kernel says of a thread, and its rights.
  static func status(of thread: Int32) -> (status: kcs_process_status, rights: CallerRights)? {
    var capacity: UInt32 = 32
    while true {
      var status = kcs_process_status()
      var groups = [UInt32](repeating: 0, count: Int(capacity))
      guard unsafe kcs_process_status(thread, &status, &groups, capacity) == 0 else { return nil }
      guard status.groups > capacity else {
        groups.removeLast(Int(capacity - status.groups))
        return (status, CallerRights(capabilities: status.capabilities, gid: status.gid.3, groups: groups))
      }
      capacity = status.groups
    }
  }

  /// The daemon's own, as it was when it was first asked for them.
  static let own = status(of: getpid())?.rights
  static let ownUID = geteuid()

  /// Whether a thread of the daemon can become somebody else and come back.
  static let canChange: Bool = {
    guard ownUID == 0, let own else { return false }
    let needed: UInt64 = 1 << 6 | 1 << 7  // CAP_SETGID, CAP_SETUID
    return own.capabilities & needed == needed
  }()

  /// Does something on this thread, and no other, as whoever has these rights and this uid.
  ///
  /// What is opened in there the kernel grants or refuses as it would to them.  A thread that was begun in there would keep
  /// their rights, and what waits for others would keep them from it: neither may happen.
  ///
  /// - Parameter failure: makes the error of an errno, for when the kernel doesn't let this thread be them.
  func acting<R, E: Error>(as uid: UInt32, failure: (Int32) -> E, _ body: () throws(E) -> R) throws(E) -> R {
    guard let own = Self.own else { throw failure(EPERM) }
    let result = unsafe with(uid: uid) { unsafe kcs_take_identity($0) }
    defer { unsafe own.with(uid: Self.ownUID) { unsafe kcs_take_back_identity($0) } }
    guard result == 0 else { throw failure(-result) }
    return try body()
  }

  private func with<R>(uid: UInt32, _ body: (UnsafePointer<kcs_identity>) -> R) -> R {
    unsafe groups.withUnsafeBufferPointer { groups in
      var identity = unsafe kcs_identity(
        uid: uid, gid: gid, groups: groups.baseAddress, group_count: UInt32(groups.count), capabilities: capabilities)
      return unsafe body(&identity)
    }
  }
}
