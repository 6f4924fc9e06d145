import FaultKit
import Glibc
import KCopy
import Testing

@testable import Admission

@Suite("Who holds a destination")
struct HolderTests {
  @Test("A mounted device is refused with the place where it is mounted")
  func mounted() throws {
    try withStage { stage in
      let loop = try stage.bench.loop(size: 8 << 20)
      try run("mkfs.ext4", "-q", loop.path).orThrow()
      let mount = stage.bench.keep(try Mount(type: "ext4", device: loop.path, on: stage.bench.disk + "/here and there"))
      #expect(try stage.objection(toDestination: loop.path) == Objection(EBUSY, "\(loop.path): it is mounted at \(mount.path)"))
      // To read from it is nobody's harm.
      #expect(try stage.objection(toSource: loop.path) == nil)
    }
  }

  @Test("A device that is used as swap is refused as that, whatever name it is given")
  func swap() throws {
    try withStage { stage in
      let loop = try stage.bench.loop(size: 8 << 20)
      try run("mkswap", loop.path).orThrow()
      try run("swapon", loop.path).orThrow()
      stage.bench.atEnd { try run("swapoff", loop.path).orThrow() }
      let node = stage.bench.disk + "/node"
      try Files.makeNode(node, mode: 0o060600, device: loop.number)
      for path in [loop.path, node] {
        #expect(try stage.objection(toDestination: path) == Objection(EBUSY, "\(path): it is used as swap"))
      }
    }
  }

  @Test("A device or file that another program keeps for itself is refused as that")
  func held() throws {
    try withStage { stage in
      let loop = try stage.bench.loop()
      let file = try OpenFile(loop.path, O_RDWR | O_EXCL)
      #expect(
        try stage.objection(toDestination: loop.path)
          == Objection(EBUSY, "\(loop.path): it, or a part of it, is mounted, used as swap or held by another program"))
      try file.close()
      try stage.becomesFree(loop.path)

      let locked = try OpenFile(try stage.bench.file("file", []), O_RDWR)
      let script = "import fcntl, sys, time\nf = open(sys.argv[1])\nfcntl.flock(f, fcntl.LOCK_SH)\nprint('locked')\ntime.sleep(60)"
      let other = try pythonCommand(script, [locked.path]).start()
      try eventually("the file is locked: \(other.errorText)") { other.text == "locked\n" }
      #expect(
        try stage.objection(toDestination: locked.path) == Objection(EBUSY, "\(locked.path): another program holds a lock on it"))
      try other.end()
      try stage.becomesFree(locked.path)
    }
  }

  @Test("A disk with a mounted partition is refused; the text says that a part of it may be the reason")
  func partition() throws {
    try withStage { stage in
      let backing = try stage.bench.file("backing", [UInt8](repeating: 0, count: 10 << 20), inMemory: true)
      let loop = stage.bench.keep(try OffsetLoop(backing, offset: 0, arguments: ["-P"]))
      let part = try loop.partition(1, start: 2048, sectors: 16384, in: stage.bench)
      try run("mkfs.ext4", "-q", part).orThrow()
      let mount = stage.bench.keep(try Mount(type: "ext4", device: part, on: stage.bench.disk + "/mounted"))
      #expect(try stage.objection(toDestination: part)?.text == "\(part): it is mounted at \(mount.path)")
      let objection = try #require(try stage.objection(toDestination: loop.path))
      #expect(objection.errno == EBUSY && objection.text.contains("or a part of it"))
    }
  }
}
