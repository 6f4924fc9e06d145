internal import CSystemShims
internal import Glibc

/// What a daemon of root may do at most: all that it needs, and nothing of the rest that root may.
///
/// The threads that copy have not even that: see `ThreadRights` of KCopy.  Where a service manager has taken some of it away already,
/// it stays away.
enum ProcessRights {
  /// Numbers of `capabilities(7)`, which the headers have as macros.
  private enum Capability: UInt64, CaseIterable {
    /// To open for a caller who is root what root may open.
    case overrideAccess = 1
    case readAndSearch = 2
    /// To take back a file that was made for a refused record, in a directory where only its owner may.
    case actAsOwner = 3
    /// To act as a caller, and to make threads act as nobody.
    case setGroups = 6
    case setUsers = 7
    /// To have the rings' memory beyond the limit of locked memory.
    case lockMemory = 14
    /// To see who the callers are: groups, namespaces and root directory of other users' processes.
    case lookAtProcesses = 19
    /// To mount and unmount, to be asked by other users, and to make rings where others may not.
    case administer = 21
  }

  /// Gives up the rest for good, before there is any other thread; a program that is run from here can't have it back either.
  static func reduce() throws(Daemon.Failure) {
    // Others mount by fusermount3, which has to be set-uid.
    guard geteuid() == 0 else { return }
    let kept = Capability.allCases.reduce(UInt64(0)) { $0 | 1 << $1.rawValue }
    for result in [kcs_keep_capabilities(kept), kcs_forbid_new_privileges()] where result != 0 {
      throw Daemon.Failure("giving up rights: \(unsafe String(cString: strerror(-result)))")
    }
  }
}
