internal import CSystemShims

/// What a thread of the engine may do: no more than anybody who was handed its open descriptors.
///
/// A process of root would else write as root: set-uid bits and file capabilities would survive a copy (CAP_FSETID), no quota would
/// hold (CAP_SYS_RESOURCE), and the blocks that a file system keeps for root would be used up.  So all threads that read, write,
/// flush, zero or close devices go by a uid and gid that own nothing, without groups and capabilities; and as a thread inherits
/// all that from its maker, callbacks and the threads that they start do.
///
/// Real, effective and saved uid stay root's.  Whoever shares one of them with a thread may send it signals, which end the whole
/// process (`kill(2)`), or take the processor from it (`sched_setscheduler(2)` goes by the effective one), and 65534 is the uid of
/// many.  /proc shows such a process as root's alone, unless `fs.suid_dumpable` says otherwise.
enum ThreadRights {
  /// `nobody` and `nogroup`, which own nothing.
  static let id: UInt32 = 65534

  /// Whether this is a process of root: then, and only then, there is something to give up.
  ///
  /// A thread that acts for another user just now is taken for root's too, for it can become root again, and so could what it makes.
  static var areToBeGivenUp: Bool { kcs_may_be_root() != 0 }

  /// Takes all rights from the calling thread, for good; once more changes nothing.
  ///
  /// - Throws: `DeviceError`: EPERM for a root that may not change its ids, or in whose namespace the id is not known.
  static func giveUp() throws(DeviceError) {
    guard areToBeGivenUp else { return }
    let result = kcs_give_up_rights(id)
    guard result == 0 else { throw DeviceError(errno: -result, call: "giving up the rights of root") }
  }
}
