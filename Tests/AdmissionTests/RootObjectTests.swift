import FaultKit
import Glibc
import KCopy
import Testing

@testable import Admission

@Suite("Where the bytes of a device lie")
struct RootObjectTests {
  private static func root(_ stage: Stage, _ path: String) throws -> RootObject {
    let endpoint = try stage.source(path)
    defer { stage.admission.undo(endpoint) }
    return endpoint.root
  }

  private static func backing(_ stage: Stage) throws -> String {
    try stage.bench.file("backing", [UInt8](repeating: 0, count: 8 << 20), inMemory: true)
  }

  @Test("Those of a loop device lie in its file, from its offset on")
  func loop() throws {
    try withStage { stage in
      let backing = try Self.backing(stage)
      let file = try Self.root(stage, backing)
      let whole = stage.bench.keep(try OffsetLoop(backing, offset: 0))
      let later = stage.bench.keep(try OffsetLoop(backing, offset: 1 << 20))
      #expect(try Self.root(stage, whole.path) == file && file.offset == 0)
      let root = try Self.root(stage, later.path)
      #expect(root.key == file.key && root.offset == 1 << 20)
    }
  }

  @Test("Those of a loop device over a loop device lie in the file at the bottom, the offsets added")
  func floors() throws {
    try withStage { stage in
      let backing = try Self.backing(stage)
      let file = try Self.root(stage, backing)
      let lower = stage.bench.keep(try OffsetLoop(backing, offset: 1 << 20))
      let middle = stage.bench.keep(try OffsetLoop(lower.path, offset: 512 << 10))
      let upper = stage.bench.keep(try OffsetLoop(middle.path, offset: 4096))
      let root = try Self.root(stage, upper.path)
      #expect(root.key == file.key && root.offset == (1 << 20) + (512 << 10) + 4096)
    }
  }

  @Test("Those of a partition lie on its disk, and with a loop device in the file under that")
  func partition() throws {
    try withStage { stage in
      let backing = try Self.backing(stage)
      let file = try Self.root(stage, backing)
      let disk = stage.bench.keep(try OffsetLoop(backing, offset: 1 << 20, arguments: ["-P"]))
      let first = try disk.partition(1, start: 2048, sectors: 4096, in: stage.bench)
      let second = try disk.partition(2, start: 8192, sectors: 2048, in: stage.bench)
      let root = try Self.root(stage, first)
      #expect(root.key == file.key && root.offset == (1 << 20) + 2048 * 512)
      #expect(try Self.root(stage, second).offset == (1 << 20) + 8192 * 512)
      let over = stage.bench.keep(try OffsetLoop(second, offset: 8192))
      let below = try Self.root(stage, over.path)
      #expect(below.key == file.key && below.offset == (1 << 20) + 8192 * 512 + 8192)
    }
  }

  @Test("Hard links are one file, two nodes one device, and a symlink is what it leads to")
  func names() throws {
    try withStage { stage in
      let file = try stage.bench.file("file", [1])
      let loop = try stage.bench.loop()
      let (link, node, symlink) = (stage.bench.disk + "/link", stage.bench.disk + "/node", stage.bench.disk + "/symlink")
      try Files.link(file, as: link)
      try Files.makeNode(node, mode: 0o060600, device: loop.number)
      try Files.symlink(to: node, as: symlink)
      func facts(_ path: String) throws -> (key: DeviceKey, root: RootObject, identity: String) {
        let endpoint = try stage.source(path)
        defer { stage.admission.undo(endpoint) }
        return (endpoint.device.key, endpoint.root, endpoint.identity)
      }
      #expect(try facts(file) == facts(link))
      #expect(try facts(loop.path) == facts(node) && facts(node) == facts(symlink))
      #expect(try facts(file).key != facts(loop.path).key)
      // A copy of the file is another one.
      #expect(try facts(file).key != facts(stage.bench.file("other", [1])).key)
    }
  }
}
