import FaultKit
import Glibc
import Testing

/// A destination that somebody uses.
struct UsedDestination {
  /// The word of the record: a path, and a place on it.
  let region: String
  let path: String
  /// What the refusal says after the path.
  let text: String
  /// The objects whose bytes must not change.
  let objects: [String]
  /// Who uses it, the first to go first.
  let users: [Once]

  init(_ region: String, _ text: String, of path: String? = nil, also objects: [String] = [], by users: Once...) {
    self.region = region
    self.path = path ?? region
    self.text = text
    self.objects = [self.path] + objects
    self.users = users
  }
}

/// A way of using a destination.
struct Usage: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let make: @Sendable (Workbench) throws -> UsedDestination

  init(_ title: String, make: @escaping @Sendable (Workbench) throws -> UsedDestination) {
    testDescription = title
    self.make = make
  }

  /// The record is refused while the destination is used, by `check` too, and not a byte changes; then it is done.
  func check() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let used = try make(bench)
      let record = "from=\(source.path)@0+4K to=\(used.region)"
      let before = try used.objects.map(Standing.init)

      #expect(try errnoName { _ = try daemon.submit(record, as: "refused") } == "EBUSY")
      #expect(try errnoName { try Files.write(daemon.path("check"), record + "\n", flags: O_WRONLY) } == "EBUSY")
      let refusals = try daemon.refusals
      #expect(refusals.map { $0["text"] } == [String](repeating: "\(used.path): \(used.text)", count: 2))
      for refusal in refusals {
        #expect(refusal["error"] == "EBUSY" && refusal["record"] == record, "\(refusal)")
        #expect(refusal.number("column") == record.utf8.count - used.region.utf8.count, "\(refusal)")
      }
      try daemon.expectNoJobs()
      // To read it is nobody's harm.
      try daemon.copy("from=\(used.path)@0+4K to=\(bench.disk)/copy create=yes", as: "reads")
      #expect(try used.objects.map(Standing.init) == before)

      // The daemon has nothing of it open: all goes, and then the same record is a job.
      for user in used.users { try user.release() }
      try awaitFree(used.path)
      try daemon.copy(record, as: "writes")
      try awaitFree(used.path)
      if used.region == used.path {
        let file = try OpenFile(used.path, O_RDONLY)
        defer { try? file.close() }
        #expect(try Pattern.difference(file.read(4096), from: Array(bytes.prefix(4096))) == nil)
      }
    }
  }

  /// A namespace that nobody lives in any more goes a moment later, and so does a loop device that goes by itself.
  private func awaitFree(_ path: String) throws {
    try eventually("\(path) is free") {
      try errnoName { try OpenFile(path, O_RDWR | O_EXCL).close() } == "" && run("losetup", "-j", path).orThrow().text.isEmpty
    }
  }
}

/// What a device or file holds, and of a file its length and when it was written.
struct Standing: Equatable {
  let hash: String
  let length: String

  init(_ path: String) throws {
    hash = try run("sha1sum", path).orThrow().text
    length = try run("stat", "-L", "-c", "%s %y", path).orThrow().text
  }
}

/// Something that is undone once, by the test or at its end.
final class Once: Resource {
  private var body: (() throws -> Void)?

  init(_ body: @escaping () throws -> Void) { self.body = body }

  func release() throws {
    let body = self.body
    self.body = nil
    try body?()
  }
}

extension Workbench {
  /// A thing that the test may give up before its end.
  func once(_ resource: some Resource) -> Once { keep(Once { try resource.release() }) }

  func once(_ body: @escaping () throws -> Void) -> Once { keep(Once(body)) }

  /// A program that opens a path and keeps it, as the rest of its first line says.
  func holder(_ script: String, _ path: String) throws -> (pid: Int32, user: Once) {
    let process = try pythonCommand(
      "import fcntl, os, sys, time\nf = os.open(sys.argv[1], \(script)\nprint('ready')\ntime.sleep(60)", [path]
    ).start()
    let user = once { try process.end() }
    try eventually("it is ready: \(process.errorText)") { process.text == "ready\n" }
    return (process.pid, user)
  }
}

/// A disk with two partitions, 1 MiB to 9 MiB and 9 MiB to 13 MiB.
struct Disk {
  /// `/dev/loopN`; its partitions are called so with `p1` and `p2` behind it.
  let path: String
  /// The file under it.
  let file: String
  let first: String
  let second: String
  /// Its being there at all.
  let user: Once

  static func file(_ bench: Workbench) throws -> String {
    try bench.file("disk\(UInt32.random(in: 0 ... .max))", [UInt8](repeating: 0, count: 16 << 20), inMemory: true)
  }

  init(_ bench: Workbench, over file: String? = nil) throws {
    self.file = try file ?? Self.file(bench)
    let loop = try OffsetLoop(self.file, arguments: ["-P"])
    user = bench.once(loop)
    path = loop.path
    first = try loop.partition(1, start: 2048, sectors: 16384, in: bench)
    second = try loop.partition(2, start: 18432, sectors: 8192, in: bench)
  }
}

extension Workbench {
  /// A file of 4 MiB in `disk` that was written long ago.
  func oldFile(named name: String = "old") throws -> String {
    let path = try file(name, Pattern.bytes(4 << 20, seed: 5))
    try run("touch", "-d", "2001-02-03 04:05:06", path).orThrow()
    return path
  }

  /// A loop device with an empty file system.
  func formatted(_ type: String, size: Int = 8 << 20) throws -> String {
    let device = try loop(size: size).path
    try format(type, device)
    return device
  }

  /// A file with an ext4.
  func image() throws -> String {
    let path = try oldFile(named: "image")
    try format("ext4", path)
    return path
  }

  private func format(_ type: String, _ path: String) throws {
    // Otherwise the kernel goes on with it when it is mounted.
    let now = type == "ext4" ? ["-E", "lazy_itable_init=0,lazy_journal_init=0"] : []
    try Command("mkfs.\(type)", ["-q"] + now + [path]).run().orThrow()
  }

  /// Mounts a device, in `disk`.
  func mounted(_ type: String, _ device: String, on name: String = "mounted", options: String = "ro") throws -> (place: String, user: Once)
  {
    let mount = try Mount(type: type, device: device, on: disk + "/" + name, options: options)
    return (mount.path, once(mount))
  }

  /// A loop device over a file or device.
  func over(_ path: String, offset: Int = 0, _ arguments: String...) throws -> (path: String, user: Once) {
    let loop = try OffsetLoop(path, offset: offset, arguments: arguments)
    return (loop.path, once(loop))
  }

  /// Makes swap of a device or file, and uses it as that.
  func swap(_ path: String) throws -> Once {
    if try !run("test", "-b", path).succeeded { try run("chmod", "600", path).orThrow() }
    try run("mkswap", path).orThrow()
    try run("swapon", path).orThrow()
    return once { try run("swapoff", path).orThrow() }
  }

  /// A disk of 8 MiB with blocks of 4096 bytes.
  func memoryDisk() throws -> String {
    let maker = "/sys/class/zram-control/hot_add"
    if !Files.exists(maker) { throw Missing("this kernel has no zram") }
    let number = try Files.text(maker).filter { $0.isNumber }
    atEnd {
      try eventually("zram\(number) is given up") {
        (try? Files.write("/sys/class/zram-control/hot_remove", number, flags: O_WRONLY)) != nil
      }
    }
    try Files.write("/sys/block/zram\(number)/disksize", "8M", flags: O_WRONLY)
    return "/dev/zram\(number)"
  }

  /// A second node of a device.
  func node(of device: String) throws -> String {
    let node = disk + "/node"
    try Files.makeNode(node, mode: 0o060600, device: Files.facts(device).deviceNumber)
    return node
  }

  /// A place where a file or node is mounted over another file.
  func bound(_ path: String) throws -> String {
    let place = try file("bound", [])
    try run("mount", "--bind", path, place).orThrow()
    atEnd { try run("umount", place).orThrow() }
    return place
  }
}
