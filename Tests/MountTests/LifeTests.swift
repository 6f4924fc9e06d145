import FaultKit
import Glibc
import Testing

@Suite("The daemon's life")
struct LifeTests {
  @Test("SIGTERM ends blocked readers with ESHUTDOWN, the mount goes, and the exit status is 0 within 10 s")
  func terminated() throws {
    try withWorkbench { bench in
      let source = try bench.loop(size: 64 << 20)
      let device = try bench.faultDevice(size: 64 << 20)
      let before = Pattern.bytes(1 << 20, seed: 1)
      try device.loop.fill(before, at: 63 << 20)
      // 64 requests of 1 MiB, few at a time: far from its end when the signal comes.
      try device.setDelay(1)
      let daemon = try bench.daemon()
      let job = try daemon.submit("from=\(source.path) to=\(device.path)")
      try job.reach("running")
      let readers = try ["wait", "result"].map { try Command("cat", [job.path + "/" + $0]).start() }
      for (reader, file) in zip(readers, ["wait", "result"]) { try reader.awaitRead(of: job.path + "/" + file) }
      daemon.process.signal(SIGTERM)
      for reader in readers {
        let outcome = try reader.wait(within: .seconds(10))
        #expect(outcome.ending == .exit(1) && outcome.errorText.contains("after transport endpoint shutdown"), "\(outcome)")
      }
      #expect(try daemon.expectEnd(within: .seconds(10)).ending == .exit(0))
      try device.setDelay(0)
      #expect(Pattern.difference(try device.loop.contents((63 << 20)..<(64 << 20)), from: before) == nil)
    }
  }

  @Test("An idle daemon ends at once by SIGTERM, also with a file of the mount open")
  func idle() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon()
      let file = try OpenFile(daemon.path("README"), O_RDONLY)
      daemon.process.signal(SIGTERM)
      let outcome = try daemon.expectEnd(within: .seconds(5))
      #expect(outcome.ending == .exit(0), "\(outcome)")
      // The mount is gone, and so is what this file could answer.
      try? file.close()
    }
  }

  @Test("umount from outside ends an idle daemon with exit status 0")
  func unmounted() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon()
      try run("umount", daemon.mount).orThrow()
      let outcome = try daemon.expectEnd()
      #expect(outcome.ending == .exit(0), "\(outcome)")
    }
  }

  @Test("umount -l, the way to unmount while somebody waits, ends blocked readers and the daemon as SIGTERM does")
  func detached() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon()
      let source = try bench.file("source", Pattern.bytes(64 << 20, seed: 1))
      let job = try daemon.submit("from=\(source) to=\(bench.disk)/copy create=yes rate=1M")
      let reader = try Command("cat", [job.path + "/result"]).start()
      try reader.awaitRead(of: job.path + "/result")
      #expect(try run("umount", daemon.mount).errorText.contains("busy"))
      try run("umount", "-l", daemon.mount).orThrow()
      let outcome = try reader.wait(within: .seconds(10))
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains("after transport endpoint shutdown"), "\(outcome)")
      #expect(try daemon.expectEnd(within: .seconds(10)).ending == .exit(0))
    }
  }

  @Test("The dead mount of a killed daemon is detached at the next start")
  func deadMount() throws {
    try withWorkbench { bench in
      let first = try bench.daemon()
      try first.kill()
      #expect(try errnoName { _ = try Files.read(first.path("version")) } == "ENOTCONN")
      let second = try bench.daemon(on: first.mount)
      #expect(try Files.text(second.path("version")).contains("interface=1"))
      let mounts = try Files.text("/proc/self/mountinfo").split(separator: "\n").filter { $0.contains(" \(first.mount) ") }
      #expect(mounts.count == 1, "\(mounts)")
    }
  }

  @Test("A blocked reader of a daemon that is killed ends with an error")
  func killedUnderReader() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon()
      let held = try HeldJob(bench, daemon)
      let reader = try Command("cat", [held.job.path + "/wait"]).start()
      try reader.awaitRead(of: held.job.path + "/wait")
      daemon.process.signal(SIGKILL)
      // The kernel ends a process only when its transfers are over.
      try held.letGo()
      #expect(try reader.wait(within: .seconds(10)).ending == .exit(1))
      #expect(try daemon.process.wait().ending == .signal(SIGKILL))
      #expect(try daemon.mounted)
    }
  }

  @Test("A start that can't succeed says why and exits with a status that isn't 0")
  func badStarts() throws {
    try withWorkbench { bench in
      let file = try bench.file("file", [])
      let good = bench.disk + "/good"
      try Files.makeDirectory(good)
      let starts: [(arguments: [String], says: String)] = [
        (["/nonexistent/mount", "-f", "-o", "state=none"], "/nonexistent/mount"), ([file, "-f", "-o", "state=none"], file),
        ([good, "-f", "-o", "state=none,nonsense=1"], "nonsense"), ([good, "-f", "-o", "state=none,pages=many"], "pages"), (["-f"], ""),
      ]
      for start in starts {
        let outcome = try Daemon.command(start.arguments).run()
        #expect(!outcome.succeeded, "\(outcome)")
        if case .signal = outcome.ending { Issue.record("it crashed: \(outcome)") }
        #expect(!outcome.errorText.isEmpty && (outcome.errorText + outcome.text).contains(start.says), "\(outcome)")
      }
      #expect(try !Files.text("/proc/self/mountinfo").contains(bench.disk))
    }
  }

  @Test("Two daemons serve two mounts")
  func two() throws {
    try withWorkbench { bench in
      let places = [bench.disk + "/one", bench.disk + "/two"]
      for place in places { try Files.makeDirectory(place) }
      let daemons = try places.map { try bench.daemon(on: $0) }
      let source = try bench.file("source", Pattern.bytes(1000, seed: 1))
      for (index, daemon) in daemons.enumerated() {
        let destination = try bench.file("d\(index)", [])
        try daemon.copy("from=\(source) to=\(destination)")
        #expect(Pattern.difference(try Files.read(destination), from: Pattern.bytes(1000, seed: 1)) == nil)
        #expect(try daemon.jobNames == ["job"])
      }
    }
  }

  @Test("Three hundred jobs leave no descriptor behind, and their directories can be listed")
  func descriptors() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(512, seed: 1), inMemory: true)
      let destination = try bench.loop(size: 1 << 20)
      let folder = "/proc/\(daemon.process.pid)/fd"
      // One job first: what the daemon opens once and keeps is no leak.
      try daemon.copy("from=\(source) to=\(destination.path)", as: "first")
      let before = try Files.names(in: folder).count
      let records = (0..<300).map { "from=\(source) to=\(destination.path)@\($0)s name=j\($0)\n" }
      try Files.write(daemon.path("submit"), records.joined())
      for index in 0..<300 { #expect(try daemon.job("j\(index)").result() == "ok") }
      #expect(try daemon.jobNames.count == 301)
      try eventually("the descriptors are back to \(before)") { try Files.names(in: folder).count <= before }
      let expected = (0..<300).flatMap { _ in Pattern.bytes(512, seed: 1) }
      #expect(Pattern.difference(try destination.contents(0..<153_600), from: expected) == nil)
    }
  }
}
