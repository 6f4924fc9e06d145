import FaultKit
import Testing

/// Starts and ends by each way to start: on clean places, on dead mounts, on those of others.
@Suite("Ways to start", .serialized)
struct StartTests {
  enum Way: CaseIterable {
    case foreground, background, helper, mountFuse

    /// The command that mounts on `mount`.
    func command(_ mount: String) -> [String] {
      switch self {
      case .foreground: ["kcopyfs", mount, "-f", "-o", "state=/srv/state"]
      case .background: ["kcopyfs", mount, "-o", "state=/srv/state"]
      case .helper, .mountFuse: ["mount", "-t", "fuse.kcopyfs", "none", mount, "-o", "state=/srv/state"]
      }
    }
  }

  private static let mount = "/mnt/copies"

  private func withSystem(_ way: Way, _ body: (Workbench, PrivateSystem) throws -> Void) throws {
    try withInstallation { bench, system in
      // Without the helper mount(8) takes libfuse's, which runs the program by a shell.
      if way == .mountFuse { try system.shell("rm /sbin/mount.fuse.kcopyfs").orThrow() }
      try system.shell("mkdir \(Self.mount)").orThrow()
      try body(bench, system)
    }
  }

  private func start(_ way: Way, in system: PrivateSystem) throws -> Launched {
    try Launched(way.command(Self.mount), on: Self.mount, in: system)
  }

  private func daemon(in system: PrivateSystem) throws -> String {
    try system.shell("pidof kcopyfs").orThrow().line
  }

  @Test("SIGTERM with a copy under way and a reader blocked ends it within 10 s, with status 0 and no mount", arguments: Way.allCases)
  func terminated(way: Way) throws {
    try withSystem(way) { bench, system in
      let source = try bench.file("source", Pattern.bytes(64 << 20, seed: 1))
      let launched = try start(way, in: system)
      try system.shell("echo 'from=\(source) to=\(bench.disk)/copy create=yes rate=1M' >\(Self.mount)/jobs/slow").orThrow()
      let reader = try system.command("exec cat \(Self.mount)/jobs/slow/wait").start()
      try system.awaitReader(of: "jobs/slow/wait")
      try system.shell("kill -TERM \(daemon(in: system))").orThrow()
      #expect(try launched.ending() == 0)
      #expect(try system.mounts(at: Self.mount) == 0)
      #expect(try reader.wait(within: .seconds(10)).errorText.contains("endpoint shutdown"))
    }
  }

  @Test("The dead mount of a killed daemon is taken away with who stands in it, and served again", arguments: Way.allCases)
  func killed(way: Way) throws {
    try withSystem(way) { bench, system in
      let source = try bench.file("source", Pattern.bytes(64 << 20, seed: 1))
      // A mount below is somebody else's.
      try system.shell("mount -t tmpfs tmpfs \(Self.mount) && touch \(Self.mount)/below").orThrow()
      let first = try start(way, in: system)
      try system.shell("echo 'from=\(source) to=\(bench.disk)/copy create=yes rate=1M' >\(Self.mount)/jobs/slow").orThrow()
      let standing = try system.command("cd \(Self.mount)/jobs && exec 5<../README && echo in && exec sleep 60").start()
      let reader = try system.command("exec cat \(Self.mount)/jobs/slow/wait").start()
      try system.awaitReader(of: "jobs/slow/wait")
      try eventually("somebody stands in the mount") { standing.text == "in\n" }
      try system.shell("kill -KILL \(daemon(in: system))").orThrow()
      #expect(try first.ending() == -9)
      #expect(try reader.wait(within: .seconds(10)).ending == .exit(1))
      #expect(try system.shell("ls \(Self.mount)").errorText.contains("not connected"))

      let second = try start(way, in: system)
      #expect(second.errorText == "kcopyfs: \(Self.mount): took away the mount of a daemon that is gone\n")
      #expect(try system.mountTypes(at: Self.mount) == ["tmpfs", "fuse.kcopyfs"])
      let copy = "echo 'from=\(source)@0+1M to=\(bench.disk)/other create=yes' >\(Self.mount)/jobs/other"
      #expect(try system.shell("\(copy) && cat \(Self.mount)/jobs/other/result").orThrow().text == "ok\n")
      // The job that the first one had goes on in the second.
      #expect(try ["queued\n", "running\n"].contains(system.shell("cat \(Self.mount)/jobs/slow/state").text) && standing.running)
      try system.shell("kill -TERM \(daemon(in: system))").orThrow()
      #expect(try second.ending() == 0)
      #expect(try system.mountTypes(at: Self.mount) == ["tmpfs"] && system.shell("ls \(Self.mount)").text == "below\n")
    }
  }

  @Test("A mount that is served is left alone, and so is its daemon", arguments: Way.allCases)
  func served(way: Way) throws {
    try withSystem(way) { _, system in
      let launched = try start(way, in: system)
      let before = try daemon(in: system)
      let second = try system.shell(way.command(Self.mount).joined(separator: " ").replacing("/srv/state", with: "/srv/other"))
      #expect(!second.succeeded && second.errorText == "kcopyfs: \(Self.mount) is served by another daemon already\n", "\(second)")
      #expect(try system.mountTypes(at: Self.mount) == ["fuse.kcopyfs"])
      // The process behind a start that was refused says so before it ends.
      try eventually("the first daemon is the only one") { try daemon(in: system) == before }
      #expect(try system.shell("cat \(Self.mount)/version").succeeded)
      try system.shell("umount \(Self.mount)").orThrow()
      #expect(try launched.ending() == 0)
    }
  }
}
