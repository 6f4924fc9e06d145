import FaultKit
import Glibc
import Testing

@Suite("op=zero")
struct ZeroTests {
  /// What a loop device lies on.
  enum Ground: String, CaseIterable {
    case tmpfs, ext4

    func loop(_ bench: Workbench, sectorSize: Int) throws -> LoopDevice {
      switch self {
      case .tmpfs: return try bench.loop(sectorSize: sectorSize)
      case .ext4:
        let disk = try bench.loop(size: 32 << 20)
        try run("mkfs.ext4", "-q", disk.path).orThrow()
        let mount = try bench.keep(Mount(type: "ext4", device: disk.path, on: bench.disk + "/ext4"))
        return bench.keep(try LoopDevice(backing: mount.path + "/image", size: 4 << 20, sectorSize: sectorSize))
      }
    }
  }

  @Test("The region of a device is zeroes afterwards, and nothing beside it", arguments: Ground.allCases, [512, 4096])
  func devices(ground: Ground, sectorSize: Int) throws {
    try withDaemon { bench, daemon in
      let device = try ground.loop(bench, sectorSize: sectorSize)
      let before = try device.fill(seed: 1)
      let job = try daemon.copy("op=zero to=\(device.path)@4K+\(3 << 20)B")
      let expected = Pattern.patched(before, at: 4096, with: [UInt8](repeating: 0, count: 3 << 20))
      #expect(Pattern.difference(try device.contents(), from: expected) == nil)
      let status = try job.status()
      #expect(status["op"] == "zero" && status["bytes_total"] == "\(3 << 20)" && status["bytes_durable"] == "\(3 << 20)", "\(status)")
      #expect(status["dests"] == "1" && status["dest0_state"] == "done", "\(status)")
    }
  }

  @Test(
    "Devices and files in one record, each at its own place; a file grows to its region's end", arguments: [1, 4096, 1 << 20, 3_000_001])
  func mixed(count: Int) throws {
    try withDaemon { bench, daemon in
      let before = Pattern.bytes(2 << 20, seed: 1)
      let (kept, new) = (try bench.file("kept", before), bench.disk + "/new")
      var record = "op=zero to=\(kept)@1000B+\(count)B to=\(new)@7B+\(count)B create=yes"
      let device = try bench.loop()
      let disk = try device.fill(seed: 2)
      if count % 512 == 0 { record += " to=\(device.path)@512K+\(count)B" }
      let job = try daemon.copy(record)
      let zeroes = [UInt8](repeating: 0, count: count)
      #expect(Pattern.difference(try Files.read(kept), from: Pattern.patched(before, at: 1000, with: zeroes)) == nil)
      #expect(Pattern.difference(try Files.read(new), from: [UInt8](repeating: 0, count: 7 + count)) == nil)
      let expected = count % 512 == 0 ? Pattern.patched(disk, at: 512 << 10, with: zeroes) : disk
      #expect(Pattern.difference(try device.contents(), from: expected) == nil)
      #expect(try job.value("progress") == "\(count) \(count)")
    }
  }

  @Test("Its spec, written to submit, does the same again")
  func spec() throws {
    try withDaemon { bench, daemon in
      let path = try bench.file("a b", Pattern.bytes(10_000, seed: 1))
      let job = try daemon.copy("op=zero to=\(quoted(path + "@1s+3s")) errors=stop priority=0")
      let spec = try job.text("spec")
      #expect(spec == "to='\(path)@512B+1536B' op=zero errors=stop priority=0\n")
      try Files.write(path, Pattern.bytes(10_000, seed: 2))
      let script = "{ cat \"$S\" >&3 && read -r id <&3; } 3<>\"$M/submit\" && echo \"$id\""
      let again = try shell(script, environment: ["S": job.path + "/spec", "M": daemon.mount]).orThrow()
      #expect(try daemon.job(again.line).result() == "ok")
      #expect(try daemon.job(again.line).text("spec") == spec)
      let expected = Pattern.patched(Pattern.bytes(10_000, seed: 2), at: 512, with: [UInt8](repeating: 0, count: 1536))
      #expect(Pattern.difference(try Files.read(path), from: expected) == nil)
    }
  }

  static let refusals = [
    Refusal("a source", "EINVAL", culprit: "from=") { "op=zero from=\($0.source.path) to=\($0.destination.path)@0+1M" },
    Refusal("no COUNT", "EINVAL", culprit: "to=") { "op=zero to=\($0.destination.path)" },
    Refusal("COUNTs that differ", "EINVAL", culprit: "+2M") { "op=zero to=\($0.destination.path)@0+1M to=\($0.fresh)@0+2M create=yes" },
    Refusal("regions that overlap", "EINVAL", culprit: "@512K") {
      "op=zero to=\($0.destination.path)@0+1M to=\($0.destination.path)@512K+1M"
    },
    Refusal("a region past the end", "ENOSPC", culprit: "to=") { "op=zero to=\($0.destination.path)@3M+2M" },
    Refusal("a part of a block", "EINVAL", culprit: "to=") { "op=zero to=\($0.destination.path)@0+1000B tail=zero" },
    Refusal("no destination", "EINVAL") { _ in "op=zero" },
    Refusal("op=none with a destination", "EINVAL", culprit: "to=") { "op=none to=\($0.fresh) create=yes" },
    Refusal("op=none with a source", "EINVAL", culprit: "from=") { "op=none from=\($0.source.path)" },
  ]

  @Test("What does not go with it is refused, and nothing is touched", arguments: refusals)
  func refused(refusal: Refusal) throws { try refusal.check() }

  @Test("A region that a job zeroes is nobody else's meanwhile")
  func claimed() throws {
    try withDaemon { bench, daemon in
      let (device, other) = (try bench.faultDevice(), try bench.loop())
      try device.loop.fill(seed: 1)
      try device.hold(.zero)
      let job = try daemon.submit("op=zero to=\(device.path)@0+1M", as: "zero")
      #expect(try errnoName { _ = try daemon.submit("from=\(device.path)@512K+4K to=\(other.path)", as: "reader") } == "EBUSY")
      #expect(try errnoName { _ = try daemon.submit("op=zero to=\(device.path)@1020K+8K", as: "writer") } == "EBUSY")
      try eventually("it is zeroing") { try device.requests.contains { $0.kind == .zero } }
      #expect(try job.value("state") == "running")
      try device.open(.zero)
      #expect(try job.result() == "ok")
      #expect(Pattern.difference(try device.loop.contents(0..<1 << 20), from: [UInt8](repeating: 0, count: 1 << 20)) == nil)
    }
  }

  @Test("A device that fails to zero by itself gets zeroes written")
  func written() throws {
    try withDaemon { bench, daemon in
      let device = try bench.faultDevice()
      let before = try device.loop.fill(seed: 1)
      try device.setFaults([.zero(0...8191)])
      let job = try daemon.copy("op=zero to=\(device.path)@256K+2M")
      let status = try job.status()
      #expect(status["write_err"] == "0x0" && status["error"] == "", "\(status)")
      let expected = Pattern.patched(before, at: 256 << 10, with: [UInt8](repeating: 0, count: 2 << 20))
      #expect(Pattern.difference(try device.loop.contents(), from: expected) == nil)
      #expect(try job.map().isDone)
    }
  }

  @Test("A sector that can't be written is the one that fails, the rest of the region is zeroes")
  func fault() throws {
    try withDaemon { bench, daemon in
      let device = try bench.faultDevice()
      let before = try device.loop.fill(seed: 1)
      try device.setFaults([1000, 4096].flatMap { [.write($0...$0), .zero($0...$0)] })
      let job = try daemon.submit("op=zero to=\(device.path)@256K+2M errors=ignore")
      #expect(try job.result() == "EIO")
      let status = try job.status()
      #expect(status["write_err"] == "0x1" && status["read_err"] == "0" && status["error_op"] == "write", "\(status)")
      #expect(try job.map().sectors("-") == [1000, 4096])
      var expected = Pattern.patched(before, at: 256 << 10, with: [UInt8](repeating: 0, count: 2 << 20))
      for sector in [1000, 4096] { expected = Pattern.patched(expected, at: sector * 512, with: before[sector * 512..<sector * 512 + 512]) }
      #expect(Pattern.difference(try device.loop.contents(), from: expected) == nil)
    }
  }
}
