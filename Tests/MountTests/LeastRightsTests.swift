import FaultKit
import Glibc
import Testing

/// What a daemon of root can do, and what it does nowhere.
@Suite("A daemon of root has the rights that it needs")
struct LeastRightsTests {
  /// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_SETGID, CAP_SETUID, CAP_IPC_LOCK, CAP_SYS_PTRACE, CAP_SYS_ADMIN.
  static let kept: UInt64 = [1, 2, 3, 6, 7, 14, 19, 21].reduce(0) { $0 | 1 << $1 }

  /// Words behind the keys of `/proc/PID/task/TID/status`, of all threads.
  static func threads(of process: Int32) throws -> [[Substring: [Substring]]] {
    try Files.names(in: "/proc/\(process)/task").compactMap { thread in
      // One may end while it is looked at.
      guard let text = try? Files.text("/proc/\(process)/task/\(thread)/status") else { return nil }
      return Dictionary(
        text.split(separator: "\n").map { line in
          let words = line.split { $0 == "\t" || $0 == " " }
          return (words[0], Array(words.dropFirst()))
        }, uniquingKeysWith: { first, _ in first })
    }
  }

  @Test("Its threads that copy have none at all, the others no more than the list of them; no program gets more from any")
  func threads() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      for thread in try Self.threads(of: daemon.process.pid) {
        let name = try #require(thread["Name:"]?.first)
        let capabilities = try ["CapInh:", "CapPrm:", "CapEff:"].map { try #require(thread[$0]?.first.flatMap { UInt64($0, radix: 16) }) }
        #expect(capabilities.allSatisfy { $0 & ~Self.kept == 0 } && capabilities[0] == 0, "\(name)")
        #expect(thread["NoNewPrivs:"] == ["1"], "\(name)")
        // Whoever shares the real or the saved uid may send signals.
        #expect(thread["Uid:"]?[0] == "0" && thread["Uid:"]?[2] == "0", "\(name)")
        if ["kcopy-client", "kcopy-device"].contains(name) || name.hasPrefix("iou-") {
          #expect(capabilities == [0, 0, 0] && thread["Uid:"]?[3] == "65534" && thread["Gid:"]?[3] == "65534" && thread["Groups:"] == [])
        }
      }
      try held.letGo()
      #expect(try held.job.result() == "ok")
    }
  }

  @Test(
    "A copy of root's takes set-uid and set-gid bits and capabilities from what it writes, as everybody's does",
    arguments: ["op=copy", "op=zero"])
  func privilegedFile(operation: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100_000, seed: 1))
      let destination = try bench.file("destination", [UInt8](repeating: 1, count: 100_000))
      try run("chown", "1000:1000", destination).orThrow()
      try run("chmod", "6755", destination).orThrow()
      try run("setcap", "cap_sys_admin+ep", destination).orThrow()
      try daemon.copy(operation == "op=copy" ? "from=\(source) to=\(destination)" : "\(operation) to=\(destination)@0+100000B")
      #expect(try Files.facts(destination).permissions == 0o755)
      #expect(try run("getcap", destination).orThrow().text.isEmpty)
    }
  }

  @Test("A copy of root's fails with ENOSPC where only the blocks are left that a file system keeps for root")
  func reserve() throws {
    try withWorkbench { bench in
      let loop = try bench.loop(size: 64 << 20)
      try run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "50", loop.path).orThrow()
      let mount = bench.keep(try Mount(type: "ext4", device: loop.path, on: bench.disk + "/full"))
      let daemon = try bench.daemon()
      let source = try bench.file("source", Pattern.bytes(40 << 20, seed: 1), inMemory: true)
      let job = try daemon.submit("from=\(source) to=\(mount.path)/destination create=yes")
      #expect(try job.result() == "ENOSPC")
      #expect(try job.value("write_err") == "0x1")
    }
  }

  @Test("A copy writes to its destinations and its state directory, and nothing else anywhere")
  func writes() throws {
    try withWorkbench { bench in
      let log = bench.disk + "/calls"
      let calls =
        "openat,open,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,"
        + "mknod,mknodat,truncate,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utimensat,setxattr,fsetxattr,lsetxattr"
      let state = bench.disk + "/state"
      let loop = try bench.loop()
      let source = try bench.file("source", Pattern.bytes(1 << 20, seed: 1))
      // A tracer behind its back, so that signals are the daemon's own.
      let daemon = try bench.daemon(
        options: ["state=\(state)"], launcher: ["strace", "-D", "-f", "-y", "-qq", "-o", log, "-e", "trace=\(calls)"])
      try daemon.copy("from=\(source) to=\(bench.disk)/made create=yes to=\(loop.path)")
      _ = try daemon.makeClient("other")
      try daemon.release()
      let allowed = [state, bench.disk + "/made", loop.path, daemon.mount, "/dev/fuse", "/dev/null", "/proc/self/fd/"]
      for line in try Files.text(log).split(separator: "\n") where !line.contains(" = -1 ") && line.contains("(") {
        let isLook = line.contains(" open") && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].contains(where: line.contains)
        guard !isLook else { continue }
        // The mount's own root stands apart from all others.
        let known = ["<\(state)", "<\(bench.disk)>, \"made\"", "<\(daemon.mount)", "utimensat(0</>, \"jobs/"] + allowed.map { "\"\($0)" }
        let isAllowed = known.contains(where: line.contains)
        #expect(isAllowed, "\(line)")
      }
      let isThere = try Files.text(log).contains("\(state)/journal.sqlite")
      #expect(isThere, "the calls are seen")
    }
  }

  @Test("A state directory that others may write to is refused, and nothing is mounted")
  func state() throws {
    try withWorkbench { bench in
      let (mount, state) = (bench.disk + "/mnt", bench.disk + "/state")
      try Files.makeDirectory(mount)
      try run("mkdir", "-m", "0777", state).orThrow()
      let outcome = try Daemon.command([mount, "-f", "-o", "state=\(state)"]).run()
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains("others may write to \(state), which has mode 0777"), "\(outcome)")
      #expect(try Files.names(in: mount).isEmpty && Files.names(in: state).isEmpty)
    }
  }
}
