import FaultKit
import Glibc
import KCopy
import Testing

@testable import Admission

/// What real devices and files are known again by.  Another boot is another boot id; no test can have more of it.
@Suite("Knowing a device again")
struct KnownAgainTests {
  @Test("A loop device is the same as long as it stays attached, as a source or as a destination, and by another node")
  func attached() throws {
    try withStage { stage in
      let loop = try stage.bench.loop()
      let known = try stage.fingerprint(loop.path)
      let node = stage.bench.disk + "/node"
      try Files.makeNode(node, mode: 0o060600, device: loop.number)
      #expect(try known.relation(to: stage.fingerprint(node)) == .same)
      let endpoint = try stage.destination(loop.path)
      #expect(known.relation(to: stage.admission.fingerprint(of: endpoint)) == .same)
      stage.admission.undo(endpoint)
      #expect(try known.relation(to: stage.fingerprint(loop.backing)) == .other)
      #expect(Fingerprint(known.text) == known)
    }
  }

  @Test("Attached again over the same file it is alike, over another file or with another offset it is another")
  func reattached() throws {
    try withStage { stage in
      let bytes = [UInt8](repeating: 0, count: 4 << 20)
      let (backing, elsewhere) = (try stage.bench.file("backing", bytes), try stage.bench.file("elsewhere", bytes))
      func attach(_ file: String, offset: Int = 0) throws -> Fingerprint {
        let loop = try OffsetLoop(file, offset: offset)
        defer { #expect(throws: Never.self) { try loop.release() } }
        return try stage.fingerprint(loop.path)
      }
      let known = try attach(backing)
      for boot in [known.boot, "another"] {
        func relation(_ now: Fingerprint) -> Fingerprint.Relation {
          var now = now
          now.boot = boot
          return known.relation(to: now)
        }
        #expect(try relation(attach(backing)) == .alike)
        #expect(try relation(attach(elsewhere)) == .other)
        #expect(try relation(attach(backing, offset: 4096)) == .other)
      }
      try Files.unlink(backing)
      _ = try stage.bench.file("backing", bytes)
      #expect(try known.relation(to: attach(backing)) == .other)
    }
  }

  @Test("A partition is the same with its disk, alike when the disk is attached again, and another than the one beside it")
  func partitions() throws {
    try withStage { stage in
      let backing = try stage.bench.file("backing", [UInt8](repeating: 0, count: 8 << 20))
      /// Fingerprints of the disk and of its partitions, each twice.
      func attach(_ starts: Int...) throws -> [Fingerprint] {
        try withWorkbench { bench in
          let disk = bench.keep(try OffsetLoop(backing, offset: 0, arguments: ["-P"]))
          let whole = try stage.fingerprint(disk.path)
          return try [whole]
            + starts.enumerated().map { index, start in
              let node = try disk.partition(index + 1, start: start, sectors: 2048, in: bench)
              let first = try stage.fingerprint(node)
              #expect(try first.relation(to: stage.fingerprint(node)) == .same && first.sequence == whole.sequence)
              #expect(first.relation(to: whole) == .other && first.offset == UInt64(start * 512))
              return first
            }
        }
      }
      let (known, again) = (try attach(2048, 8192), try attach(2048, 8200))
      #expect(known[1].relation(to: known[2]) == .other)
      #expect(known[0].relation(to: again[0]) == .alike && known[1].relation(to: again[1]) == .alike)
      #expect(known[2].relation(to: again[2]) == .other)
    }
  }

  @Test("A file is the same by any of its names, and one that takes its name or its inode is another", arguments: ["/tmp", "tmpfs"])
  func files(place: String) throws {
    try withStage { stage in try Self.checkNames(in: place == "tmpfs" ? stage.bench.memory : stage.bench.disk, stage) }
  }

  private static func checkNames(in directory: String, _ stage: Stage) throws {
    let (path, link, copy) = (directory + "/file", directory + "/link", directory + "/copy")
    try Files.write(path, [1, 2, 3])
    try Files.link(path, as: link)
    let known = try stage.fingerprint(path)
    #expect(Fingerprint(known.text) == known)
    #expect(try known.relation(to: stage.fingerprint(link)) == .same)
    let endpoint = try stage.destination(path)
    #expect(known.relation(to: stage.admission.fingerprint(of: endpoint)) == .same)
    stage.admission.undo(endpoint)
    // Growing and being written changes nothing.
    try Files.write(path, [UInt8](repeating: 9, count: 100_000))
    #expect(try known.relation(to: stage.fingerprint(path)) == .same)
    try Files.write(copy, [1, 2, 3])
    try Files.rename(copy, to: path)
    #expect(try known.relation(to: stage.fingerprint(path)) == .other)
    #expect(try known.relation(to: stage.fingerprint(link)) == .same)
    // Many file systems give the inode to the next file.
    try Files.unlink(link)
    for number in 0..<8 {
      try Files.write(directory + "/later\(number)", [1, 2, 3])
      #expect(try known.relation(to: stage.fingerprint(directory + "/later\(number)")) == .other)
    }
  }

  @Test(
    "On a disk a file is alike after a new mount and after a new boot, also when the disk has another number then",
    arguments: ["ext4", "xfs", "btrfs"])
  func mounts(type: String) throws {
    try withStage { stage in
      let backing = try stage.bench.memory + "/disk"
      let place = stage.bench.disk + "/mounted"
      func mounted<R>(make: Bool = false, _ body: () throws -> R) throws -> R {
        try withWorkbench { bench in
          let loop = bench.keep(try LoopDevice(backing: backing, size: 320 << 20))
          if make { try run("mkfs.\(type)", "-q", loop.path).orThrow() }
          bench.keep(try Mount(type: type, device: loop.path, on: place))
          return try body()
        }
      }
      let known = try mounted(make: true) {
        try Self.checkNames(in: place, stage)
        return try stage.fingerprint(place + "/file")
      }
      try mounted {
        let now = try stage.fingerprint(place + "/file")
        #expect(known.relation(to: now) == .alike, "\(known.text)\n\(now.text)")
        var later = now
        later.boot = "another"
        if case .file(var file) = later.root {
          file.device += 1
          later.root = .file(file)
        }
        #expect(known.relation(to: later) == .alike)
        #expect(try known.relation(to: stage.fingerprint(place + "/later1")) == .other)
      }
      // Made anew: another file system with, as may be, the same inode in it.
      try mounted {
        try Files.write(place + "/other", [])
        #expect(try known.relation(to: stage.fingerprint(place + "/other")) == .other)
      }
    }
  }

  @Test("A file in a snapshot of btrfs has the inode and the birth of its original, and is another one")
  func snapshots() throws {
    try withStage { stage in
      let loop = try stage.bench.loop(size: 320 << 20)
      try run("mkfs.btrfs", "-q", loop.path).orThrow()
      let place = stage.bench.keep(try Mount(type: "btrfs", device: loop.path, on: stage.bench.disk + "/mounted")).path
      try run("btrfs", "subvolume", "create", place + "/one").orThrow()
      try Files.write(place + "/one/file", [1, 2, 3])
      try run("btrfs", "subvolume", "snapshot", place + "/one", place + "/two").orThrow()
      let (one, two) = (try stage.fingerprint(place + "/one/file"), try stage.fingerprint(place + "/two/file"))
      #expect(try Files.facts(place + "/one/file").inode == Files.facts(place + "/two/file").inode)
      #expect(one.relation(to: two) == .other, "\(one.text)\n\(two.text)")
      #expect(try one.relation(to: stage.fingerprint(place + "/one/file")) == .same)
    }
  }

  @Test("A file in memory is another one after its file system was mounted anew")
  func memory() throws {
    try withStage { stage in
      func fingerprint() throws -> Fingerprint {
        try withWorkbench { bench in try stage.fingerprint(bench.file("file", [1], inMemory: true)) }
      }
      let known = try fingerprint()
      #expect(try known.relation(to: fingerprint()) == .other)
    }
  }

  /// Reading this file makes a disk in memory.
  private static let maker = "/sys/class/zram-control/hot_add"

  @Test("A disk that tells nothing of itself is the same within a boot, and in doubt after it")
  func nameless() throws {
    if !Files.exists(Self.maker) { throw Missing("this kernel has no zram, which is a disk without a name") }
    try withStage { stage in
      let number = try Files.text(Self.maker).filter { $0.isNumber }
      stage.bench.atEnd { try eventually("zram\(number) is given up") { Self.give(number) } }
      try Files.write("/sys/block/zram\(number)/disksize", "1M", flags: O_WRONLY)
      let known = try stage.fingerprint("/dev/zram\(number)")
      #expect(try known.relation(to: stage.fingerprint("/dev/zram\(number)")) == .same)
      var later = known
      later.boot = "another"
      #expect(known.relation(to: later) == .unknown)
      #expect(known.root == .disk(DiskIdentity()))
    }
  }

  /// EBUSY while a child that another test starts holds it.
  private static func give(_ number: String) -> Bool {
    (try? Files.write("/sys/class/zram-control/hot_remove", number, flags: O_WRONLY)) != nil
  }

  @Test("Taking fingerprints leaves no descriptor open")
  func descriptors() throws {
    try withStage { stage in
      let file = try stage.bench.file("backing", [UInt8](repeating: 0, count: 1 << 20))
      let loop = stage.bench.keep(try OffsetLoop(file, offset: 512))
      for path in [file, loop.path, file, loop.path] { _ = try stage.fingerprint(path) }
      #expect(try openDescriptors(below: stage.bench.disk).isEmpty)
      #expect(try openDescriptors(below: loop.path).filter { $0 == loop.path }.isEmpty)
    }
  }
}

extension Stage {
  /// The fingerprint of what lies under a path.
  fileprivate func fingerprint(_ path: String) throws -> Fingerprint {
    let endpoint = try source(path)
    defer { admission.undo(endpoint) }
    return admission.fingerprint(of: endpoint)
  }
}
