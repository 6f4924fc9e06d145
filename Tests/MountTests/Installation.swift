import FaultKit
import Testing

let installScript = ReadmeTests.root + "/mount-scripts/install"

/// A systemd of the test's own in which mount-scripts/install has installed kcopyfs.
func withInstallation(fstab: String = "", _ body: (Workbench, PrivateSystem) throws -> Void) throws {
  try withWorkbench { bench in
    let system = bench.keep(try PrivateSystem(in: bench.memory, fstab: fstab))
    try system.shell(installScript, environment: ["KCOPYFS_DAEMON": try Daemon.binary()]).orThrow()
    try body(bench, system)
  }
}

extension PrivateSystem {
  /// Types of the mounts on a directory, the lowest first.
  func mountTypes(at place: String) throws -> [String] {
    try shell("cat /proc/self/mountinfo").orThrow().text.split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard words[4] == place, let dash = words.firstIndex(of: "-") else { return nil }
      return String(words[dash + 1])
    }
  }

  /// How many are mounted on a directory.
  func mounts(at place: String) throws -> Int { try mountTypes(at: place).count }

  /// Waits until a process stands in a read of the file.
  func awaitReader(of path: String) throws {
    try eventually("somebody waits in a read of \(path)") {
      try shell("grep -l '^0 ' /proc/[0-9]*/syscall | while read -r file; do tr '\\0' ' ' <\"${file%/*}/cmdline\"; done").text.contains(
        path)
    }
  }
}

/// A daemon that a command of any kind starts in a `PrivateSystem`, and how it ends.
struct Launched {
  private let process: ChildProcess

  /// Runs the command as one whose orphans become its own, and waits until `version` answers on the mount point.
  init(_ command: [String], on mount: String, in system: PrivateSystem) throws {
    process = try system.command("exec python3 -I -S -u -c \(quoted(Self.reaper)) \(command.map { quoted($0) }.joined(separator: " "))")
      .start()
    let process = process
    try eventually(within: .seconds(20), "\(mount)/version answers") {
      if !process.running { throw Missing("`\(command)` ended: \(process.text) \(process.errorText)") }
      return try system.shell("cat \(quoted(mount))/version").succeeded
    }
  }

  /// What the command and the daemon said.
  var errorText: String { process.errorText }

  /// The exit status of the daemon, or minus the signal that it died by; the deadline is the one of INTERFACE.md for SIGTERM.
  func ending() throws -> Int? {
    let outcome = try process.wait(within: .seconds(10))
    // Who started the daemon ended before it did.
    return outcome.text.split(separator: "\n").last.flatMap { Int($0) }
  }

  private static let reaper = """
    import ctypes, os, sys
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
    try:
        while True:
            print(os.waitstatus_to_exitcode(os.wait()[1]))
    except ChildProcessError:
        pass
    """
}
