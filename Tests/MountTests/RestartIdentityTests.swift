import FaultKit
import Glibc
import Testing

@Suite("A restart looks whether the devices are the same before it writes")
struct RestartIdentityTests {
  /// A copy of which half is durable, its daemon killed. Its ends are loop devices or files, the devices by symbolic links.
  final class Stage {
    static let size = 4 << 20
    let bench: Workbench
    let mount: KeptMount
    let source: String
    let destination: String
    /// The device behind `destination`, and the file under it or in its place.
    private(set) var loop: LoopDevice?
    let backing: String
    let bytes: [UInt8]

    init(_ bench: Workbench, onDevice: Bool) throws {
      self.bench = bench
      mount = try KeptMount(bench)
      bytes = Pattern.bytes(Self.size, seed: 1)
      source = try bench.file("source", bytes, inMemory: true)
      backing = try bench.file("backing", Pattern.bytes(Self.size, seed: 2), inMemory: true)
      destination = onDevice ? bench.disk + "/destination" : backing
      bench.atEnd { [self] in try detach() }
      if onDevice { loop = try Self.attach(backing, at: destination) }
      _ = try mount.daemon.submit("from=\(source) to=\(destination) rate=1500K")
      try mount.awaitCheckpoint()
      try mount.stop(.killed)
      try loop?.awaitFree()
    }

    /// A device that the stage detaches itself.
    private static func attach(_ file: String, at link: String) throws -> LoopDevice {
      let loop = try LoopDevice(backing: file, size: size)
      try? Files.unlink(link)
      try Files.symlink(to: loop.path, as: link)
      return loop
    }

    func detach() throws {
      try loop?.release()
      loop = nil
    }

    /// A device over a file stands where the destination was.
    func attach(_ file: String) throws { loop = try Self.attach(file, at: destination) }

    /// Another file with the same bytes.
    func copy(of file: String) throws -> String { try bench.file("other", Files.read(file), inMemory: true) }

    /// What the devices were known by counts as another boot's.
    func reboot() throws {
      let boot = try String(Files.text("/proc/sys/kernel/random/boot_id").dropLast())
      for (table, column) in [("destinations", "device"), ("jobs", "source")] {
        let change = "UPDATE \(table) SET \(column) = replace(\(column), '\(boot)', '00000000-0000-4000-8000-000000000000')"
        try sql(change, on: mount.journal)
        #expect(try sql("SELECT count(*) FROM \(table) WHERE \(column) LIKE '%\(boot)%'", on: mount.journal) == "0")
      }
    }

    /// Changes one byte of the last that is durable on the destination.
    func spoil() throws {
      let progress = try Words(sql("SELECT progress FROM destinations", on: mount.journal))
      let durable = progress.number("durable")
      var contents = try Files.read(backing)
      contents[durable - 1] ^= 1
      try Files.write(backing, contents, flags: O_WRONLY)
    }

    func expectGoesOn() throws {
      try mount.start()
      #expect(try mount.job().control("rate=max") == "" && mount.job().result() == "ok")
      #expect(try Pattern.difference(Files.read(destination), from: bytes) == nil)
    }

    /// The next daemon pauses the job, says why, has nothing open and writes nothing.
    func expectPaused(_ reason: String, errno: String) throws {
      let untouched = try contents()
      try mount.start()
      try mount.job().reach("paused")
      let status = try mount.job().status()
      #expect(status["pause_reason"] == reason && status["write_err"] == "0x0" && status["phase"] == "", "\(status)")
      #expect(status["error"] == (reason == errno ? errno : ""), "\(status)")
      let refusal = try #require(try mount.daemon.refusals.last)
      #expect(refusal["error"] == errno && refusal["job"] == "job" && !refusal["text"].isEmpty, "\(refusal)")
      try loop?.awaitFree()
      #expect(try Pattern.difference(contents(), from: untouched) == nil, "not a byte is written")
    }

    private func contents() throws -> [UInt8] { access(destination, F_OK) == 0 ? try Files.read(destination) : [] }
  }

  struct Change: CustomTestStringConvertible, Sendable {
    let testDescription: String
    var onDevice = true
    var reason = "identity"
    var errno = "ESTALE"
    let make: @Sendable (Stage) throws -> Void
    /// Makes it good again; `nil`: it can't be.
    var mend: (@Sendable (Stage) throws -> Void)?
  }

  static let good = [
    Change(testDescription: "nothing has changed, on a device") { _ in },
    Change(testDescription: "nothing has changed, in a file", onDevice: false) { _ in },
    Change(testDescription: "a loop device was attached again over the same file") { stage in
      try stage.detach()
      try stage.attach(stage.backing)
    },
    Change(testDescription: "a device of another boot holds what was written last") { try $0.reboot() },
    Change(testDescription: "a file of another boot holds what was written last", onDevice: false) { try $0.reboot() },
  ]

  @Test("It goes on when they are", arguments: good)
  func same(change: Change) throws {
    try withStage(change) { stage in try stage.expectGoesOn() }
  }

  static let bad = [
    Change(testDescription: "another device, with the same bytes, is where the link leads") { stage in
      try stage.detach()
      try stage.attach(stage.copy(of: stage.backing))
    } mend: { stage in
      try stage.detach()
      try stage.attach(stage.backing)
    },
    Change(testDescription: "another file, with the same bytes, has the name", onDevice: false) { stage in
      try Files.rename(stage.backing, to: stage.backing + ".old")
      try Files.rename(stage.copy(of: stage.backing + ".old"), to: stage.backing)
    } mend: { stage in
      try Files.rename(stage.backing + ".old", to: stage.backing)
    },
    Change(testDescription: "another file has the source's name") { stage in
      try Files.rename(stage.source, to: stage.source + ".old")
      try Files.rename(stage.copy(of: stage.source + ".old"), to: stage.source)
    } mend: { stage in
      try Files.rename(stage.source + ".old", to: stage.source)
    },
    Change(testDescription: "a device of another boot was written to") { stage in
      try stage.reboot()
      try stage.spoil()
    } mend: {
      try $0.spoil()
    },
    Change(testDescription: "a file of another boot was written to", onDevice: false) { stage in
      try stage.reboot()
      try stage.spoil()
    } mend: {
      try $0.spoil()
    },
    Change(testDescription: "a loop device was attached again over the same file, which was written to") { stage in
      try stage.detach()
      try stage.spoil()
      try stage.attach(stage.backing)
    } mend: { stage in
      try stage.detach()
      try stage.spoil()
      try stage.attach(stage.backing)
    },
    Change(testDescription: "the device is gone", reason: "ENOENT", errno: "ENOENT") { stage in
      try stage.detach()
      try Files.unlink(stage.destination)
    } mend: {
      try $0.attach($0.backing)
    },
    Change(testDescription: "the file is gone", onDevice: false, reason: "ENOENT", errno: "ENOENT") { stage in
      try Files.rename(stage.backing, to: stage.backing + ".old")
    } mend: { stage in
      try Files.rename(stage.backing + ".old", to: stage.backing)
    },
    Change(testDescription: "the device is read-only", reason: "EROFS", errno: "EROFS") { stage in
      try run("blockdev", "--setro", stage.loop?.path ?? "").orThrow()
    } mend: { stage in
      try run("blockdev", "--setrw", stage.loop?.path ?? "").orThrow()
    },
    Change(testDescription: "the device is smaller", reason: "ENOSPC", errno: "ENOSPC") { stage in
      try stage.loop?.shrink(to: Stage.size / 2)
    },
  ]

  @Test("It pauses with the reason when they are not, and goes on by resume once they are", arguments: bad)
  func other(change: Change) throws {
    try withStage(change) { stage in
      try stage.expectPaused(change.reason, errno: change.errno)
      // As often as one likes, and over restarts.
      #expect(try stage.mount.job().control("resume") == "")
      try stage.mount.job().reach("paused")
      try stage.mount.stop(.terminated)
      try stage.expectPaused(change.reason, errno: change.errno)
      guard let mend = change.mend else {
        #expect(try stage.mount.job().control("cancel") == "" && stage.mount.job().result() == "ECANCELED")
        return
      }
      try mend(stage)
      #expect(try stage.mount.job().control("resume\nrate=max") == "" && stage.mount.job().result() == "ok")
      #expect(try Pattern.difference(Files.read(stage.destination), from: stage.bytes) == nil)
      #expect(try stage.mount.job().status()["attempt"] == "1")
    }
  }

  private func withStage(_ change: Change, _ body: (Stage) throws -> Void) throws {
    try withWorkbench { bench in
      let stage = try Stage(bench, onDevice: change.onDevice)
      try change.make(stage)
      try body(stage)
    }
  }

  @Test("What was written to a destination while its job was paused for want of the source is found by resume")
  func writtenWhilePaused() throws {
    try withStage(Change(testDescription: "", onDevice: false) { try Files.rename($0.source, to: $0.source + ".old") }) { stage in
      try stage.expectPaused("ENOENT", errno: "ENOENT")
      // Nobody holds it meanwhile, so anybody may write to it.
      try stage.spoil()
      try Files.rename(stage.source + ".old", to: stage.source)
      #expect(try stage.mount.job().control("resume") == "")
      try eventually("it is paused again") { try stage.mount.job().status()["pause_reason"] == "identity" }
      try stage.spoil()
      #expect(try stage.mount.job().control("resume\nrate=max") == "" && stage.mount.job().result() == "ok")
      #expect(try Pattern.difference(Files.read(stage.destination), from: stage.bytes) == nil)
    }
  }
}
