import FaultKit
import Glibc
import Testing

@Suite("The end of a daemon while devices hang, and the start of the next one")
struct RestartHungTests {
  /// A copy between two devices of which one has a request that doesn't come back.
  private struct Hung {
    let mount: KeptMount
    let source: FaultDevice
    let destination: FaultDevice
    private let kind: FaultDevice.Kind
    private let bytes: [UInt8]
    private var device: FaultDevice { kind == .read ? source : destination }

    init(_ bench: Workbench, in kind: FaultDevice.Kind) throws {
      self.kind = kind
      mount = try KeptMount(bench)
      (source, destination) = (try bench.faultDevice(), try bench.faultDevice())
      bytes = try source.loop.fill(seed: 1)
      // Filling it has flushed too.
      try device.hold(kind)
      let mark = try device.requests.count
      try mount.daemon.submit("from=\(source.path) to=\(destination.path)").reach("running")
      let device = device
      try eventually("it hangs in a \(kind)") { try device.requests.dropFirst(mark).contains { $0.kind == kind } }
    }

    func letGo() throws { try device.open(kind) }

    /// The next daemon ends the job once the device answers, and until then nobody has to say anything to it.
    func goesOn() throws {
      #expect(try mount.job().value("state") != "paused")
      try letGo()
      #expect(try mount.job().result() == "ok" && mount.job().status()["attempt"] == "1")
      #expect(try isCopied())
    }

    func isCopied() throws -> Bool { try Pattern.difference(destination.loop.contents(), from: bytes) == nil }
  }

  @Test(
    "SIGTERM: blocked readers are told, the mount goes within 10 s, and the next daemon goes on",
    arguments: [FaultDevice.Kind.read, .write])
  func terminated(kind: FaultDevice.Kind) throws {
    try withWorkbench { bench in
      let hung = try Hung(bench, in: kind)
      let files = ["wait", "result"].map { hung.mount.job().path + "/" + $0 }
      let readers = try files.map { try Command("cat", [$0]).start() }
      for (file, reader) in zip(files, readers) { try reader.awaitRead(of: file) }
      try hung.mount.stop(.terminated) {
        for reader in readers {
          let outcome = try reader.wait(within: .seconds(10))
          #expect(outcome.ending == .exit(1) && outcome.errorText.contains("after transport endpoint shutdown"), "\(outcome)")
        }
      }
      #expect(hung.mount.daemon.process.errorText.contains("doesn't answer"))
      try hung.mount.start()
      try hung.goesOn()
    }
  }

  @Test("SIGTERM with a flush that hangs: the mount goes, the next daemon goes on, and the process ends with 0 when the device answers")
  func terminatedInFlush() throws {
    try withWorkbench { bench in
      let hung = try Hung(bench, in: .flush)
      let first = hung.mount.daemon
      first.process.signal(SIGTERM)
      try eventually("the mount is gone") { try !first.mounted }
      try hung.mount.start()
      #expect(first.process.running, "the kernel waits for the flush")
      try hung.goesOn()
      #expect(try first.process.wait(within: .seconds(10)).ending == .exit(0))
    }
  }

  @Test("kill -9 with writes under way: the next daemon waits until they have landed, and goes on")
  func killedInWrite() throws {
    try withWorkbench { bench in
      let hung = try Hung(bench, in: .write)
      try hung.mount.restart(.killed)
      pause(.milliseconds(300))
      #expect(try hung.mount.job().status()["phase"] == "admission")
      try hung.goesOn()
    }
  }

  @Test("kill -9 in a flush that hangs: what is left of the process keeps its mount and state, and the next start waits for it")
  func killedInFlush() throws {
    try withWorkbench { bench in
      let hung = try Hung(bench, in: .flush)
      hung.mount.daemon.process.signal(SIGKILL)
      let next = try hung.mount.starting()
      pause(.milliseconds(300))
      #expect(next.running && hung.mount.daemon.process.running)
      try hung.letGo()
      try eventually(within: .seconds(20), "the next one serves: \(next.errorText)") {
        (try? Files.text(hung.mount.daemon.path("version")))?.isEmpty == false
      }
      #expect(try hung.mount.job().result() == "ok" && hung.isCopied())
      next.signal(SIGTERM)
      #expect(try next.wait(within: .seconds(10)).ending == .exit(0))
    }
  }

  /// Somebody else's hold on a destination.
  enum Holder: String, CaseIterable, Sendable {
    case exclusive, flock

    func start(_ path: String) throws -> ChildProcess {
      let hold = self == .exclusive ? "os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)" : "fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX)"
      let holder = try pythonCommand("import fcntl, os, sys, time; \(hold); print('held'); time.sleep(80)", [path]).start()
      try eventually("\(path) is held: \(holder.errorText)") { holder.text == "held\n" }
      return holder
    }
  }

  @Test("A destination that somebody else holds for longer pauses the job as busy, until resume finds it free", arguments: Holder.allCases)
  func busy(holder: Holder) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let loop = try bench.loop()
      let before = try loop.fill(seed: 2)
      let file = try bench.file("destination", before, inMemory: true)
      let path = holder == .exclusive ? loop.path : file
      let contents = { holder == .exclusive ? try loop.contents() : try Files.read(file) }
      // Slow enough that nothing is durable yet.
      try mount.daemon.submit("from=\(source.path) to=\(path) rate=64K", as: "job").reach("running")
      _ = try mount.daemon.submit("op=none", as: "behind")
      try mount.stop(.killed)
      let held: ChildProcess
      try eventually("the predecessor has let go of it") { try errnoName { _ = try Self.probe(path) } == "" }
      held = try holder.start(path)
      defer { try? held.end() }
      let untouched = try contents()
      try mount.start()
      for round in 0..<2 {
        try eventually(within: .seconds(20), "it is paused") { try mount.job().value("state") == "paused" }
        let status = try mount.job().status()
        #expect(status["pause_reason"] == "busy" && status["read_err"] == "0" && status["write_err"] == "0x0", "\(status)")
        let refusals = try mount.daemon.refusals
        #expect(refusals.count == round + 1 && refusals.last?["error"] == "EBUSY" && refusals.last?["job"] == "job", "\(refusals)")
        #expect(try mount.job("behind").value("state") == "queued")
        if round == 0 { #expect(try mount.job().control("resume") == "") }
      }
      #expect(try Pattern.difference(contents(), from: untouched) == nil, "nothing was written")
      try held.end()
      #expect(try mount.job().control("resume\nrate=max") == "" && mount.job().result() == "ok" && mount.job("behind").result() == "ok")
      #expect(try Pattern.difference(contents(), from: bytes) == nil)
    }
  }

  /// Whether a device is nobody's.
  private static func probe(_ path: String) throws {
    try OpenFile(path, O_RDWR | (path.hasPrefix("/dev/") ? O_EXCL : 0)).close()
  }

  @Test("A job that waits for a device that is busy is cancelled at once")
  func cancelledWhileBusy() throws {
    try withWorkbench { bench in
      let hung = try Hung(bench, in: .write)
      try hung.mount.restart(.killed)
      #expect(try hung.mount.job().control("cancel") == "" && hung.mount.job().result() == "ECANCELED")
      try hung.letGo()
      try hung.destination.loop.awaitFree()
      #expect(try hung.mount.job().control("retry") == "" && hung.mount.job().result() == "ok")
    }
  }
}
