import FaultKit
import Glibc
import Testing

@Suite("While the journal can't be written")
struct RestartJournalTests {
  /// What is the matter with the file system that the state is on.
  enum Trouble: String, CaseIterable, Sendable {
    case full
    /// Its device fails writes and flushes.
    case broken
    /// An error has made it read-only, and it stays so.
    case readOnly

    var errnos: [String] {
      switch self {
      case .full: ["ENOSPC"]
      case .broken: ["EIO"]
      // SQLite tells of a write that failed, and not always why.
      case .readOnly: ["EROFS", "EIO"]
      }
    }
  }

  /// A daemon whose state is on a file system of its own.
  private final class Stage {
    private let trouble: Trouble
    let mount: KeptMount
    private let folder: String
    private let device: FaultDevice?
    /// Of mount(8).
    private let arguments: [String]

    init(_ bench: Workbench, _ trouble: Trouble) throws {
      self.trouble = trouble
      folder = bench.disk + "/disk"
      device = trouble == .broken ? try bench.faultDevice(size: 8 << 20) : nil
      let loop = trouble == .readOnly ? try bench.loop(size: 16 << 20) : nil
      // ext4 is read-only for ever after the first error; ext2 goes on.
      if let device { try run("mkfs.ext2", "-q", device.path).orThrow() }
      if let loop { try run("mkfs.ext4", "-q", loop.path).orThrow() }
      try Files.makeDirectory(folder)
      bench.atEnd { [folder] in try run("umount", folder).orThrow() }
      arguments =
        switch trouble {
        case .full: ["-t", "tmpfs", "-o", "size=4m", "none", folder]
        case .broken: ["-t", "ext2", "-o", "errors=continue", device?.path ?? "", folder]
        case .readOnly: ["-t", "ext4", loop?.path ?? "", folder]
        }
      try Command("mount", arguments).run().orThrow()
      mount = try KeptMount(bench, state: folder + "/state")
    }

    func begin() throws {
      switch trouble {
      case .full:
        let filler = try OpenFile(folder + "/filler", O_WRONLY | O_CREAT)
        for size in [4096, 1] { _ = try errnoName { while true { try filler.writeAll([UInt8](repeating: 1, count: size)) } } }
        try filler.close()
      case .broken: try device?.setFaults([.write(0...16383), .flush])
      case .readOnly: try run("mount", "-o", "remount,abort", folder).orThrow()
      }
    }

    func end() throws {
      switch trouble {
      case .full: try Files.unlink(folder + "/filler")
      case .broken: try device?.setFaults([])
      case .readOnly:
        // Nobody can make it writable again as it is.
        try mount.stop(.killed)
        try run("umount", folder).orThrow()
        try Command("mount", arguments).run().orThrow()
        try mount.start()
      }
    }
  }

  /// Reads every file of the mount that doesn't wait.
  private static let walk = """
    import os, sys
    for folder, folders, files in os.walk(sys.argv[1], onerror=lambda e: print(e)):
        for name in files:
            if name == "ctl": continue
            file = os.open(folder + "/" + name, os.O_RDONLY | os.O_NONBLOCK)
            try:
                while os.read(file, 65536): pass
            except BlockingIOError: pass
            os.close(file)
    print("read")
    """

  @Test("No record is taken, what ends stays running, all can be read; once it is well everything goes on", arguments: Trouble.allCases)
  func trouble(trouble: Trouble) throws {
    try withWorkbench { bench in
      let stage = try Stage(bench, trouble)
      let mount = stage.mount
      let held = try HeldJob(bench, mount.daemon)
      let early = try mount.daemon.copy("from=\(held.source.path) to=\(bench.disk)/early create=yes", as: "early")
      try Files.write(mount.daemon.path("jobs/.draft"), "op=none")
      let list = try Files.text(early.path + "/status")
      try stage.begin()

      for _ in 0..<2 {
        #expect(try trouble.errnos.contains(errnoName { _ = try mount.daemon.submit("op=none", as: "late") }))
        let refusal = try #require(try mount.daemon.refusals.last)
        #expect(trouble.errnos.contains(refusal["error"]) && refusal["text"].hasPrefix("the journal can't be written: "), "\(refusal)")
        #expect(refusal["text"].contains(mount.journal) && refusal["job"] == "late", "\(refusal)")
      }
      let copy = bench.disk + "/late"
      #expect(try trouble.errnos.contains(errnoName { _ = try mount.daemon.submit("from=\(held.source.path) to=\(copy) create=yes") }))
      #expect(!Files.exists(copy), "nothing is left of what was refused")
      #expect(
        try trouble.errnos.contains(errnoName { try Files.rename(mount.daemon.path("jobs/.draft"), to: mount.daemon.path("jobs/drafted")) })
      )
      #expect(try mount.daemon.jobNames.filter { !$0.hasPrefix(".") } == ["early", "held"])

      let reader = try Command("cat", [held.job.path + "/result"]).start()
      try reader.awaitRead(of: held.job.path + "/result")
      try held.letGo()
      try eventually("it has ended, and can't say so") { try held.job.status()["phase"] == "journal" }
      #expect(
        try held.job.value("state") == "running"
          && Pattern.difference(held.destination.loop.contents(), from: held.source.contents()) == nil)
      #expect(try held.job.control("cancel") == "EALREADY", "it is too late for that")
      #expect(try python(Self.walk, mount.daemon.mount).orThrow().line == "read")
      #expect(try Files.text(early.path + "/status") == list && reader.running)
      try eventually("it is told") { mount.daemon.process.errorText.contains("no job is accepted") }
      let first = mount.daemon

      try stage.end()
      if trouble == .readOnly {
        // The end that nobody could write down comes again.
        #expect(try reader.wait(within: .seconds(20)).ending == .exit(1))
        #expect(try mount.job("held").result() == "ok")
      } else {
        #expect(try reader.wait(within: .seconds(20)).text == "ok\n")
        try eventually("that is told too") { first.process.errorText.contains("the journal is written again") }
      }
      #expect(try Files.text(mount.job("early").path + "/status") == list)
      try mount.daemon.copy("from=\(held.source.path) to=\(copy) create=yes", as: "late")
      try mount.restart(.killed)
      for name in ["early", "held", "late"] { #expect(try mount.job(name).result() == "ok") }
      #expect(try mount.daemon.jobNames == ["early", "held", "late"])
      // The state goes before the daemon does.
      try mount.stop(.terminated)
    }
  }

  @Test("A daemon that was killed is followed by one that serves although the disk is full, and goes on once there is room")
  func fullAtStart() throws {
    try withWorkbench { bench in
      let stage = try Stage(bench, .full)
      let mount = stage.mount
      let source = try bench.file("source", Pattern.bytes(1 << 20, seed: 1))
      try mount.daemon.copy("from=\(source) to=\(bench.disk)/early create=yes", as: "early")
      _ = try mount.daemon.submit("from=\(source) to=\(bench.disk)/slow create=yes rate=64K", as: "slow")
      try mount.stop(.killed)
      try stage.begin()
      try mount.start()
      #expect(try mount.job("early").result() == "ok" && mount.job("slow").control("rate=max") == "")
      try eventually("it has ended, and can't say so") { try mount.job("slow").status()["phase"] == "journal" }
      #expect(try errnoName { _ = try mount.daemon.submit("op=none", as: "late") } == "ENOSPC")
      try stage.end()
      #expect(try mount.job("slow").result() == "ok")
      try mount.daemon.copy("op=none", as: "late")
      // The state goes before the daemon does.
      try mount.stop(.terminated)
    }
  }

  struct Damage: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let says: String
    let make: @Sendable (KeptMount) throws -> Void
  }

  static let damages = [
    Damage(testDescription: "a newer version's", says: "newer") { try sql("PRAGMA user_version = 1000", on: $0.journal) },
    Damage(testDescription: "no database", says: "journal.sqlite") { try Files.write($0.journal, Pattern.bytes(8192, seed: 1)) },
    Damage(testDescription: "cut", says: "malformed") { try Files.write($0.journal, Array(Files.read($0.journal).dropLast(8192))) },
    Damage(testDescription: "changed in its middle", says: "damaged") { mount in
      var bytes = try Files.read(mount.journal)
      for index in 4096..<bytes.count { bytes[index] = UInt8(truncatingIfNeeded: index * 7) }
      try Files.write(mount.journal, bytes)
    },
    Damage(testDescription: "a row that nobody can have written", says: "number 1") { mount in
      try sql("UPDATE jobs SET spec = 'from=nothing'", on: mount.journal)
    },
  ]

  @Test("A journal that can't be used ends the start with words and exit status 1, and stays as it is", arguments: damages)
  func unusable(damage: Damage) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      try mount.daemon.copy("op=none")
      try mount.stop(.terminated)
      // A log beside it would have all that is damaged here.
      try sql("PRAGMA wal_checkpoint(TRUNCATE)", on: mount.journal)
      try damage.make(mount)
      let before = try Files.read(mount.journal)
      let outcome = try mount.starting().wait()
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains(damage.says), "\(outcome)")
      #expect(outcome.errorText.contains(mount.journal) || damage.says == "number 1", "\(outcome)")
      #expect(try Files.read(mount.journal) == before && !mount.daemon.mounted)
    }
  }

  @Test("A state directory on a file system that is read-only ends the start with words")
  func readOnlyAtStart() throws {
    try withWorkbench { bench in
      let disk = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/disk"))
      let mount = try KeptMount(bench, state: disk.path + "/state")
      try mount.daemon.copy("op=none")
      try mount.stop(.terminated)
      try run("mount", "-o", "remount,ro", disk.path).orThrow()
      let outcome = try mount.starting().wait()
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains("Read-only") && outcome.errorText.contains(disk.path), "\(outcome)")
      try run("mount", "-o", "remount,rw", disk.path).orThrow()
      try mount.start()
      #expect(try mount.job().result() == "ok")
      try mount.stop(.terminated)
    }
  }

  @Test("A second daemon on the state directory of one that goes on after a restart says so and exits with 1")
  func second() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      try mount.restart(.killed)
      let place = bench.disk + "/other"
      try Files.makeDirectory(place)
      let outcome = try Daemon.command([place, "-f", "-o", "state=\(mount.state)"]).run()
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains("\(mount.state) is the state of another kcopyfs"), "\(outcome)")
      try mount.daemon.copy("op=none")
    }
  }
}
