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

  @Test("A device or file that another program keeps for itself is refused as that, and the program is named")
  func held() throws {
    try withStage { stage in
      let loop = try stage.bench.loop()
      func keep(_ path: String, _ call: String) throws -> ChildProcess {
        let script = "import fcntl, os, sys, time\nf = os.open(sys.argv[1], os.O_RDWR | \(call)\nprint('held')\ntime.sleep(60)"
        let other = try pythonCommand(script, [path]).start()
        try eventually("\(path) is held: \(other.errorText)") { other.text == "held\n" }
        return other
      }
      let program = try keep(loop.path, "os.O_EXCL)")
      let text = "it, or a part of it, is mounted, used as swap or held by another program or job"
      let named = "\(text); process \(program.pid) (python3) has \(loop.path) open"
      #expect(try stage.objection(toDestination: loop.path) == Objection(EBUSY, "\(loop.path): \(named)"))
      try program.end()
      try stage.becomesFree(loop.path)

      let file = try stage.bench.file("file", [])
      let other = try keep(file, "0)\nfcntl.flock(f, fcntl.LOCK_SH)")
      let locked = "\(file): process \(other.pid) (python3) holds a lock on it"
      #expect(try stage.objection(toDestination: file) == Objection(EBUSY, locked))
      try other.end()
      try stage.becomesFree(file)
    }
  }

  @Test("A disk with a mounted partition is refused with the partition, and a partition of a mounted disk with the disk")
  func partition() throws {
    try withStage { stage in
      let backing = try stage.bench.file("backing", [UInt8](repeating: 0, count: 10 << 20), inMemory: true)
      let loop = stage.bench.keep(try OffsetLoop(backing, offset: 0, arguments: ["-P"]))
      let part = try loop.partition(1, start: 2048, sectors: 16384, in: stage.bench)
      let place = stage.bench.disk + "/mounted"
      try run("mkfs.ext4", "-q", part).orThrow()
      try withWorkbench { bench in
        bench.keep(try Mount(type: "ext4", device: part, on: place))
        #expect(try stage.objection(toDestination: part)?.text == "\(part): it is mounted at \(place)")
        let text = "\(loop.path): its partition \(loop.path)p1 is mounted at \(place)"
        #expect(try stage.objection(toDestination: loop.path) == Objection(EBUSY, text))
      }
      try run("mkfs.ext4", "-q", loop.path).orThrow()
      try withWorkbench { bench in
        bench.keep(try Mount(type: "ext4", device: loop.path, on: place))
        #expect(try stage.objection(toDestination: part)?.text == "\(part): its disk \(loop.path) is mounted at \(place)")
      }
    }
  }
}
