import FaultKit
import Glibc
import Testing

/// The unit's hardening, by a systemd that applies it.
@Suite("The service under its hardening", .serialized)
struct HardeningTests {
  /// What mount-scripts/kcopyfs.service states, in tenths.
  static let exposure = 44

  private func namespace(_ kind: String, of process: String, in system: PrivateSystem) throws -> String {
    try system.shell("readlink /proc/\(process)/ns/\(kind)").orThrow().line
  }

  @Test("systemd-analyze security gives it what its text states")
  func exposure() throws {
    let unit = ReadmeTests.root + "/mount-scripts/kcopyfs.service"
    let text = "Overall exposure level for kcopyfs.service: \(Self.exposure / 10).\(Self.exposure % 10) OK"
    let outcome = try run("systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=\(Self.exposure)", unit).orThrow()
    #expect(outcome.text.contains(text), "\(outcome)")
    #expect(try Files.text(unit).contains("gives this unit \(Self.exposure / 10).\(Self.exposure % 10)"))
  }

  @Test("It mounts where all see it, copies by io_uring to disks that came later, goes on after a crash, and unmounts")
  func works() throws {
    try withInstallation { bench, system in
      try system.shell("systemctl start kcopyfs && cat /run/kcopyfs/version").orThrow()
      let process = try system.property("MainPID")
      for kind in ["mnt", "user", "net"] {
        #expect(try namespace(kind, of: process, in: system) == namespace(kind, of: "1", in: system), "\(kind)")
      }
      let status = try system.shell("cat /proc/\(process)/status").orThrow().text
      #expect(status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n"))
      // Its rings are what it has of io_uring: those of a fallback would be none.
      let descriptors = try system.shell("ls -l /proc/\(process)/fd").orThrow().text
      #expect(descriptors.contains("anon_inode:[io_uring]"))

      let (source, destination) = (try bench.loop(size: 16 << 20), try bench.loop(size: 16 << 20))
      let bytes = try source.fill(seed: 1)
      let job = "/run/kcopyfs/jobs/slow"
      let copied = "from=\(source.path) to=\(destination.path) to=\(bench.disk)/copy create=yes"
      try system.shell("echo '\(copied) rate=512K' >\(job)").orThrow()
      let query = "SELECT min(instr(' ' || d.progress, ' durable=')) FROM jobs j JOIN destinations d ON d.job = j.id"
      try eventually(within: .seconds(60), "a checkpoint is in the journal") {
        try system.shell("python3 -c \(quoted(Self.query)) /var/lib/kcopyfs/run-kcopyfs/journal.sqlite \(quoted(query))").line == "1"
      }
      try system.shell("kill -KILL \(process)").orThrow()
      try eventually(within: .seconds(30), "it is started again") {
        try system.property("NRestarts") == "1" && system.property("ActiveState") == "active"
      }
      let outcome = try system.shell("echo rate=max >\(job)/ctl; cat \(job)/result \(job)/status")
      #expect(outcome.text.hasPrefix("ok\n"), "\(outcome)")
      #expect(try Pattern.difference(destination.contents(), from: bytes) == nil)
      #expect(try Pattern.difference(Files.read(bench.disk + "/copy"), from: bytes) == nil)
      try system.shell("umount /run/kcopyfs").orThrow()
      try eventually("it ends") { try system.property("ActiveState") == "inactive" }
      #expect(try system.property("Result") == "success" && system.mounts(at: "/run/kcopyfs") == 0)
    }
  }

  private static let query = """
    import sqlite3, sys
    for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(int(bool(row[0])))
    """

  @Test("What a copier has no use for is forbidden: other devices, networks, namespaces, the clock, modules")
  func forbidden() throws {
    try withInstallation { _, system in
      let script = """
        import ctypes, errno, os, socket
        libc = ctypes.CDLL(None, use_errno=True)
        def attempt(what):
            try: what(); print("done")
            except OSError as e: print("refused")
        def call(name, *arguments):
            if getattr(libc, name)(*arguments) < 0: raise OSError(ctypes.get_errno(), name)
        attempt(lambda: os.open("/dev/null", os.O_RDWR))
        attempt(lambda: os.open("/dev/fuse", os.O_RDWR))
        attempt(lambda: os.open("/dev/loop-control", os.O_RDWR))
        attempt(lambda: os.mknod("/run/memory", 0o600 | 0o020000, os.makedev(1, 1)))
        attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        attempt(lambda: call("unshare", 0x00020000))
        attempt(lambda: call("setns", 0, 0))
        attempt(lambda: call("chroot", b"/"))
        attempt(lambda: call("sethostname", b"other", 5))
        attempt(lambda: call("init_module", 0, 0, b""))
        """
      let change =
        "[Service]\nType=oneshot\nExecStart=\nExecStart=/usr/bin/python3 -I -S -c \\\"exec(open('/run/attempts.py').read())\\\"\nStandardOutput=file:/run/attempts\nRestart=no\n"
      let place = "/etc/systemd/system/kcopyfs.service.d"
      try system.shell("cat >/run/attempts.py <<'END'\n\(script)\nEND").orThrow()
      try system.shell("mkdir \(place) && printf '%b' \"\(change)\" >\(place)/override.conf && systemctl daemon-reload").orThrow()
      let started = try system.shell("systemctl start kcopyfs; cat /run/attempts")
      #expect(started.text == "done\ndone\n" + String(repeating: "refused\n", count: 8), "\(started)")
    }
  }
}
