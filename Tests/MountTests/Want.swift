import FaultKit
import Glibc

/// Programs, with their arguments, that start a daemon which lacks something.
enum Want {
  /// `io_uring_setup(2)` fails with an errno, as in most containers.
  static func ringRefused(by errno: Int32) -> [String] { ["python3", "-I", "-S", "-c", refusal, "\(errno)"] }

  /// So many bytes may be locked, and CAP_IPC_LOCK, which lifts the limit, isn't to be had.
  static func lockedMemory(_ bytes: Int) -> [String] {
    ["prlimit", "--memlock=\(bytes):\(bytes)", "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]
  }

  private static let refusal = """
    import ctypes, os, struct, sys
    class Program(ctypes.Structure): _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]
    # linux/filter.h: the number of the call; is it 425; an errno then, and else nothing.
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x50000 | int(sys.argv[1])), (0x06, 0, 0, 0x7fff0000)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    program, libc = Program(len(code), ctypes.addressof(text)), ctypes.CDLL(None)
    # PR_SET_NO_NEW_PRIVS; PR_SET_SECCOMP, SECCOMP_MODE_FILTER.
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0): sys.exit("no filter")
    os.execv(sys.argv[2], sys.argv[2:])
    """
}

/// A control group whose threads can be kept from making more at any time: RLIMIT_NPROC doesn't hold for root.
final class TaskGroup: Resource {
  private let path: String

  init() throws {
    let version1 = try run("findmnt", "--noheadings", "--first-only", "--types", "cgroup", "--options", "pids", "--output", "TARGET")
    let version2 = try run("findmnt", "--noheadings", "--first-only", "--types", "cgroup2", "--output", "TARGET")
    guard let root = [version1, version2].first(where: \.succeeded)?.line else {
      throw Missing("no control groups are mounted: threads can't be limited")
    }
    // Of the second version the groups below a group have what it hands down.
    if !version1.succeeded { try Files.write(root + "/cgroup.subtree_control", "+pids", flags: O_WRONLY) }
    path = "\(root)/kcopyfs-test.\(UInt64.random(in: 0 ... .max))"
    try Files.makeDirectory(path)
  }

  var launcher: [String] { ["bash", "-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\"", path] }

  /// No thread more than there are.
  func fill() throws { try limit(to: Files.text(path + "/pids.current")) }
  func relieve() throws { try limit(to: "max") }

  private func limit(to count: String) throws { try Files.write(path + "/pids.max", count, flags: O_WRONLY) }

  func release() throws { try eventually("\(path) is empty") { rmdir(path) == 0 } }
}
