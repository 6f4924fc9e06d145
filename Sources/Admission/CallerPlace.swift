internal import CSystemShims
internal import Glibc
internal import KCopy
internal import Locking

/// Where a process stands: what the paths that it names mean.
struct CallerPlace: Equatable {
  let mount: UInt64
  let user: UInt64
  let root: String

  init?(thread: Int32, root path: String) {
    mount = unsafe kcs_process_namespace(thread, "mnt")
    user = unsafe kcs_process_namespace(thread, "user")
    guard mount != 0, user != 0, let root = KernelText.link(path) else { return nil }
    self.root = root
  }

  private init() { (mount, user, root) = (0, CallerPlace.own?.user ?? 0, "") }

  /// One that was, before a restart, and can't be found again.
  static let lost = CallerPlace()

  /// The daemon's own.
  static let own = CallerPlace(thread: kcs_gettid(), root: "/proc/self/root")

  /// Whether a path is the same to it and to the daemon.
  var hasOwnPaths: Bool { mount == Self.own?.mount && root == Self.own?.root }

  /// Whether uids, and capabilities above all, mean what they mean to the daemon.
  var hasOwnUsers: Bool { user == Self.own?.user }
}

/// The root directory of callers that have another one than the daemon, open as long as one of them counts.
final class CallerRoot: Sendable {
  let descriptor: Int32
  /// Whether the rules on devices of its caller's control groups are the daemon's too.
  ///
  /// Such rules are about who opens, and that will be the daemon; they can't be asked for.  A container that may make device
  /// nodes is kept from the machine's disks by them alone.
  let hasOwnDevices: Bool

  private init(_ descriptor: Int32, hasOwnDevices: Bool) {
    self.descriptor = descriptor
    self.hasOwnDevices = hasOwnDevices
  }

  deinit { _ = kcs_close(descriptor) }

  /// What is one root for all callers that have it.
  private struct Key: Hashable {
    let mount: UInt64
    let device: UInt64
    let inode: UInt64
    let hasOwnDevices: Bool
  }

  private struct Known {
    weak var root: CallerRoot?
  }

  private static let known = Locked<[Key: Known]>([:])
  /// Each keeps a descriptor open, and what is mounted there busy.
  private static let most = 64

  /// - Returns: `nil` when it can't be seen, or there are too many.
  static func of(thread: Int32) -> CallerRoot? {
    let descriptor = unsafe kcs_open("/proc/\(thread)/root", kcs_O_PATH | O_DIRECTORY, 0)
    guard descriptor >= 0 else { return nil }
    var facts = kcs_file_facts()
    guard unsafe kcs_file_facts(descriptor, &facts) == 0, let groups = KernelText.read("/proc/\(thread)/cgroup"),
      let own = KernelText.read("/proc/self/cgroup")
    else {
      _ = kcs_close(descriptor)
      return nil
    }
    let key = Key(mount: facts.mount, device: facts.device, inode: facts.inode, hasOwnDevices: groups == own)
    let found: CallerRoot? = known.withLock { known in
      if facts.mount != 0, let root = known[key]?.root { return root }
      known = known.filter { $0.value.root != nil }
      guard known.count < most else { return nil }
      let root = CallerRoot(descriptor, hasOwnDevices: key.hasOwnDevices)
      known[key] = Known(root: root)
      return root
    }
    if found?.descriptor != descriptor { _ = kcs_close(descriptor) }
    return found
  }
}
