import FaultKit
import Glibc
import Testing

/// mount-scripts/install and its unit, in a systemd of the test's own.
@Suite("The service of systemd", .serialized)
struct ServiceTests {
  static let installed = [
    "/etc/systemd/system/multi-user.target.wants/kcopyfs.service", "/usr/local/bin/kcopyfs",
    "/usr/local/lib/systemd/system/kcopyfs.service",
    "/usr/local/share/doc/kcopyfs/fstab", "/usr/sbin/mount.fuse.kcopyfs",
  ]

  /// Waits for the start that follows a crash.
  private func awaitStart(_ system: PrivateSystem, number: Int) throws {
    try eventually(within: .seconds(30), "start \(number) after a crash") {
      try system.property("NRestarts") == "\(number)" && system.property("ActiveState") == "active"
    }
  }

  @Test("It starts when the mount answers, and after a crash by itself, with files open and readers blocked in the dead mount")
  func restarted() throws {
    try withInstallation { bench, system in
      try system.shell("systemctl enable --now kcopyfs && cat /run/kcopyfs/version").orThrow()
      #expect(try system.property("StatusText") == "serving /run/kcopyfs")
      let source = try bench.file("source", Pattern.bytes(64 << 20, seed: 1))
      for round in 1...2 {
        let record = "from=\(source) to=\(bench.disk)/slow\(round) create=yes rate=1M"
        try system.shell("echo '\(record)' >/run/kcopyfs/jobs/slow\(round)").orThrow()
        let job = "/run/kcopyfs/jobs/slow\(round)"
        let standing = try system.command("cd /run/kcopyfs/jobs && exec 5<../README && echo in && exec sleep 60").start()
        let reader = try system.command("exec cat \(job)/wait").start()
        try system.awaitReader(of: "\(job)/wait")
        try eventually("somebody stands in the mount") { standing.text == "in\n" }
        let process = try system.property("MainPID")
        try system.shell("kill -KILL \(process)").orThrow()
        try awaitStart(system, number: round)
        #expect(try reader.wait(within: .seconds(10)).ending == .exit(1))
        #expect(try system.property("MainPID") != process && system.mounts(at: "/run/kcopyfs") == 1)
        let copy = "echo 'from=\(source)@0+1M to=\(bench.disk)/copy\(round) create=yes' >/run/kcopyfs/jobs/copy\(round)"
        #expect(try system.shell("\(copy) && cat /run/kcopyfs/jobs/copy\(round)/result").orThrow().text == "ok\n")
        try standing.end()
      }
    }
  }

  @Test("A stop is SIGTERM and exit status 0, an umount from outside is an end that nothing follows, and both leave no mount")
  func stopped() throws {
    try withInstallation { _, system in
      for end in ["systemctl stop kcopyfs", "umount /run/kcopyfs", "umount -l /run/kcopyfs"] {
        try system.shell("systemctl start kcopyfs && cat /run/kcopyfs/version").orThrow()
        try system.shell(end).orThrow()
        try eventually("\(end) ends it") { try system.property("ActiveState") == "inactive" }
        let ending = try ["Result", "ExecMainStatus", "NRestarts"].map { try system.property($0) }
        #expect(try ending == ["success", "0", "0"] && system.mounts(at: "/run/kcopyfs") == 0, "\(end)")
      }
    }
  }

  @Test("A start that fails says why to systemctl, and is given up after five")
  func failing() throws {
    try withInstallation { _, system in
      let change = "[Service]\nExecStart=\nExecStart=/usr/local/bin/kcopyfs /run/kcopyfs -f -o pgaes=1\nRestartSec=0\n"
      let place = "/etc/systemd/system/kcopyfs.service.d"
      try system.shell("mkdir \(place) && echo '\(change)' >\(place)/override.conf && systemctl daemon-reload").orThrow()
      #expect(try !system.shell("systemctl start kcopyfs").succeeded)
      try eventually("it is given up") { try system.property("ActiveState") == "failed" }
      #expect(try system.property("NRestarts") == "5" && system.property("StatusText").contains("\"pgaes=1\""))
    }
  }

  @Test("--uninstall takes away what was installed, and nothing while the service is in use")
  func uninstalled() throws {
    try withInstallation { _, system in
      let list = "find /usr/local /etc/systemd/system /usr/sbin -name '*kcopyfs*' ! -type d -o -path '*/kcopyfs/*' | sort"
      try system.shell("systemctl enable --now kcopyfs").orThrow()
      #expect(try system.shell(list).text.split(separator: "\n").map(String.init) == Self.installed)
      let refused = try system.shell("\(installScript) --uninstall")
      #expect(refused.ending == .exit(1) && refused.errorText.contains("systemctl disable --now kcopyfs"), "\(refused)")
      #expect(try system.shell(list).text.split(separator: "\n").count == Self.installed.count)
      try system.shell("systemctl disable --now kcopyfs && \(installScript) --uninstall").orThrow()
      #expect(try system.shell(list).text.isEmpty)
      #expect(try system.shell("ls /var/lib/kcopyfs").orThrow().text == "run-kcopyfs\n")
    }
  }

  @Test("What README.md says about installing is right")
  func readme() throws {
    let block = try #require(try ReadmeTests.blocks().first { $0.text.contains("mount-scripts/install") })
    try withWorkbench { bench in
      let system = bench.keep(try PrivateSystem(in: bench.memory))
      let script = "cd \(quoted(ReadmeTests.root)) && set -e && \(block.text)"
      let outcome = try system.shell(script, environment: ["KCOPYFS_DAEMON": try Daemon.binary()])
      #expect(outcome.succeeded && outcome.text.contains("What to type next"), "\(outcome)")
      #expect(try system.mounts(at: "/run/kcopyfs") == 1 && system.mounts(at: "/mnt/copies") == 1)
    }
  }

  @Test("Who listens by the protocol of sd_notify hears of readiness and of the end; who doesn't is no hindrance", arguments: ["", "@"])
  func notifications(kind: String) throws {
    try withWorkbench { bench in
      let address = kind + bench.disk + "/notify"
      let listener = try pythonCommand(Self.listener, [address]).start()
      try eventually("it listens") { listener.text == "listening\n" }
      let daemon = try bench.daemon(launcher: ["env", "NOTIFY_SOCKET=\(address)"])
      try eventually("it is ready") { listener.text == "listening\nREADY=1|STATUS=serving \(daemon.mount)\n" }
      try daemon.release()
      try eventually("it has stopped") { listener.text.hasSuffix("\nSTOPPING=1|STATUS=ending the copies on \(daemon.mount)\n") }
      try listener.end()

      let unheard = try bench.daemon(launcher: ["env", "NOTIFY_SOCKET=\(address)x"])
      #expect(try Files.text(unheard.path("version")).contains("interface=1"))
    }
  }

  private static let listener = """
    import socket, sys
    name = sys.argv[1]
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind("\\0" + name[1:] if name.startswith("@") else name)
    print("listening")
    while True:
        print(receiver.recv(4096).decode().replace("\\n", "|"))
    """

  @Test("The unit is what systemd-analyze verify calls clean")
  func verified() throws {
    try withInstallation { _, system in
      let outcome = try system.shell("systemd-analyze verify kcopyfs.service")
      #expect(outcome.succeeded && outcome.text.isEmpty && outcome.errorText.isEmpty, "\(outcome)")
    }
  }
}
