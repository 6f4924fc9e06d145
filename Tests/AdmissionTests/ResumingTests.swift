import CSystemShims
import FaultKit
import Glibc
import KCopy
import Locking
import Synchronization
import Testing

@testable import Admission

/// After a restart the file of a `create=yes` may be there with a name that is on no medium yet.
@Suite("Opening a destination of a copy that goes on")
struct ResumingTests {
  @Test("The first flush makes the name of the file durable, whoever opened the file first", arguments: [true, false])
  func durable(isFirst: Bool) throws {
    try withStage { stage in
      // Without a journal the flush of an old file says nothing of its name.
      let loop = try stage.bench.loop(size: 16 << 20)
      try run("mkfs.ext4", "-q", "-O", "^has_journal", loop.path).orThrow()
      let mount = stage.bench.keep(try Mount(type: "ext4", device: loop.path, on: stage.bench.disk + "/mounted"))
      var (without, with) = (false, false)
      // Whoever runs sync(1) meanwhile spoils a round.
      try eventually("a round in which only the flush writes the name") {
        let name = "name-\(UInt64.random(in: 0 ... .max))"
        let (path, next) = (mount.path + "/" + name, mount.path + "/next")
        // The flush of a file with a new name writes that; of one that replaces another under a name it has forgotten it.
        for file in [path, next] { try Self.writeThrough(file) }
        try Files.rename(next, to: path)
        let inode = try Files.facts(path).inode
        func isOnMedium() throws -> Bool { try Self.entry(name, isOn: loop.backing, inode) }
        let other = isFirst ? nil : try stage.destination(path)
        let plain = try stage.destination(path, creates: true)
        try Self.flush(plain)
        without = try isOnMedium()
        if !isFirst { #expect(plain.device === other?.device) }
        let resumed = try stage.admission.openDestination(path, creates: true, syncsDirectory: true, for: stage.caller)
        try Self.flush(resumed)
        with = try isOnMedium()
        stage.close(resumed, plain)
        if let other { stage.close(other) }
        return !without
      }
      #expect(!without && with)
    }
  }

  @Test("A file that is not there is made with create=yes, and is gone again when the record is refused")
  func missing() throws {
    try withStage { stage in
      let path = stage.bench.disk + "/file"
      let made = try stage.admission.openDestination(path, creates: true, syncsDirectory: true, for: stage.caller)
      #expect(made.created?.name == "file")
      stage.admission.undo(made)
      #expect(!Files.exists(path))
      #expect(throws: Objection.self) {
        try stage.admission.openDestination(path, creates: false, syncsDirectory: true, for: stage.caller)
      }
    }
  }

  @Test("A file that is there is nobody's to remove, and its directory is closed with it; a device has none")
  func existing() async throws {
    // In a process of its own: a child that another test is starting would hold the lock of the file that was given back here.
    await #expect(processExitsWith: .success) { try Self.openTwice() }
  }

  private static func openTwice() throws {
    try withStage { stage in
      let (disk, path) = (stage.bench.disk, try stage.bench.file("file", [1, 2, 3]))
      let loop = try stage.bench.loop()
      for _ in 0..<2 {
        let resumed = try stage.admission.openDestination(path, creates: true, syncsDirectory: true, for: stage.caller)
        let again = try stage.admission.openDestination(path, creates: true, syncsDirectory: true, for: stage.caller)
        #expect(resumed.created == nil && again.created == nil && again.device === resumed.device)
        #expect(try openDescriptors(below: disk).filter { $0 == disk }.count == 1)
        stage.admission.undo(again)
        stage.admission.undo(resumed)
        #expect(try Files.read(path) == [1, 2, 3])
        #expect(try openDescriptors(below: disk).isEmpty)
      }
      stage.close(try stage.admission.openDestination(loop.path, creates: true, syncsDirectory: true, for: stage.caller))
    }
  }

  @Test("A symbolic link that took the name of the file leads to it, and the directory of the link is left alone")
  func moved() throws {
    try withStage { stage in
      let (disk, path) = (stage.bench.disk, try stage.bench.file("file", [1]))
      try Files.symlink(to: path, as: disk + "/link")
      let endpoint = try stage.admission.openDestination(disk + "/link", creates: true, syncsDirectory: true, for: stage.caller)
      #expect(try openDescriptors(below: disk).filter { $0 == disk }.isEmpty)
      stage.close(endpoint)
      #expect(try openDescriptors(below: disk).isEmpty)
    }
  }

  @Test("A file that is made has its directory open for the flush until it is closed")
  func created() throws {
    try withStage { stage in
      let disk = stage.bench.disk
      let made = try stage.destination(disk + "/fresh", creates: true)
      #expect(try openDescriptors(below: disk).filter { $0 == disk }.count == 1)
      stage.close(made)
      #expect(try openDescriptors(below: disk).isEmpty)
    }
  }

  private static func writeThrough(_ path: String) throws {
    let file = try OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC)
    try file.writeAll([1])
    try file.synchronise()
    try file.close()
  }

  /// Whether a directory of an ext4 has a name for an inode: a 32-bit number, four bytes of lengths and kind, and the name.
  private static func entry(_ name: String, isOn medium: String, _ inode: UInt64) throws -> Bool {
    let entry = withUnsafeBytes(of: UInt32(inode).littleEndian) {
      $0.map { byte in "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16) }
    }
    let pattern = "(?s)" + entry.joined() + "....\(name)"
    return try Command("grep", ["-qaP", pattern, medium], environment: ["LC_ALL": "C"]).run().succeeded
  }

  private static func flush(_ endpoint: Endpoint) throws {
    let ended = Semaphore()
    let result = Atomic<Int32>(0)
    endpoint.device.flush {
      result.store($0, ordering: .releasing)
      ended.signal()
    }
    guard ended.wait(until: kcs_monotonic() + 30_000_000_000) else { throw Missing("a flush that ends") }
    #expect(result.load(ordering: .acquiring) == 0)
  }
}
