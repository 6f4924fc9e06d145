import FaultKit
import Glibc
import Testing

@Suite("dest/I/map")
struct MapTests {
  @Test("Of a job that is done it is one block of what is on the disk, in offsets of the source, and of its true size")
  func done() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      try source.fill(seed: 1)
      let job = try daemon.copy("from=\(source.path)@1M+2M to=\(bench.loop().path)@512K to=\(bench.disk)/copy create=yes")
      for destination in 0..<2 {
        let map = try job.map(destination)
        #expect(map.lines == ["0x00300000 + 1", "0x00100000 0x00200000 +"], "\(map.text)")
        #expect(try map.isDone && map.sectors("-").isEmpty && map.sectors("?").isEmpty)
        #expect(map.text.hasPrefix("# Mapfile of kcopyfs "))
        let path = "\(job.path)/dest/\(destination)/map"
        #expect(try Files.facts(path).size == map.text.utf8.count && Files.facts(path).permissions == 0o444)
      }
      #expect(try Files.names(in: job.path + "/dest/0") == ["map", "status"])
      #expect(try errnoName { try Files.write(job.path + "/dest/0/map", "x", flags: O_WRONLY) } == "EACCES")
    }
  }

  @Test("While the job runs, what is not flushed is still to be done; so it stays with sync=none")
  func unflushed() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      #expect(try held.job.map().lines == ["0x00000000 ? 1", "0x00000000 0x00400000 ?"])
      try held.letGo()
      #expect(try held.job.result() == "ok")
      #expect(try held.job.map().isDone)

      let job = try daemon.copy("from=\(held.source.path)@1M to=\(bench.disk)/copy create=yes sync=none", as: "unflushed")
      #expect(try job.map().lines == ["0x00100000 ? 1", "0x00100000 0x00300000 ?"])
      #expect(try !job.map().isDone)
    }
  }

  @Test("Written, but its flush held: nothing of it is on the disk yet")
  func flushing() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      try source.fill(seed: 1)
      try device.hold(.flush)
      let job = try daemon.submit("from=\(source.path) to=\(device.path)")
      try eventually("all is written") { try job.status().number("bytes_done") == 4 << 20 && job.status()["phase"] == "flush" }
      #expect(try job.map().sectors("+").isEmpty && job.status()["bytes_durable"] == "0")
      try device.open(.flush)
      #expect(try job.result() == "ok")
      #expect(try job.map().isDone)
    }
  }

  @Test("A cancelled job keeps the map of what it has, and its `+` is on the disk")
  func cancelled() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: 16 << 20)
      let bytes = try source.fill(seed: 1)
      let destination = try bench.loop(size: 16 << 20)
      let job = try daemon.submit("from=\(source.path) to=\(destination.path) rate=4M")
      try eventually("some of it is copied") { try job.status().number("bytes_done") > 0 }
      #expect(try job.control("cancel") == "")
      #expect(try job.result() == "ECANCELED")
      let map = try job.map()
      let (durable, rest) = (try map.sectors("+"), try map.sectors("?"))
      #expect(try durable.count + rest.count == 32768 && !rest.isEmpty && map.sectors("-").isEmpty && !map.isDone)
      #expect(differing(durable, try destination.contents(), bytes).isEmpty)
      #expect(try job.status().number("bytes_durable") == durable.count * 512)
    }
  }

  @Test("For op=zero it is in offsets of the destination")
  func zeroes() throws {
    try withDaemon { bench, daemon in
      let job = try daemon.copy("op=zero to=\(bench.loop().path)@1M+1M to=\(bench.disk)/zeroes@4K+1M create=yes")
      #expect(try job.map(0).lines == ["0x00200000 + 1", "0x00100000 0x00100000 +"])
      #expect(try job.map(1).lines == ["0x00101000 + 1", "0x00001000 0x00100000 +"])
    }
  }

  @Test("ddrescue itself goes on where a job had to stop")
  func handedOver() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: 2 << 20)
      let bytes = try source.fill(seed: 1)
      let device = try bench.faultDevice(size: 2 << 20)
      try device.setFaults([.write(1000...1000)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) errors=ignore")
      #expect(try job.result() == "EIO")
      let map = try job.map()
      #expect(try map.sectors("-") == [1000])
      try device.setFaults([])
      // What lacks for the copy is for ddrescue what it has not tried.
      let list = bench.disk + "/rest"
      try Files.write(list, map.text.split(separator: "\n").map { $0.replacing(/-$/, with: "?") }.joined(separator: "\n") + "\n")
      try run("ddrescue", "--force", "--quiet", source.path, device.path, list).orThrow()
      #expect(Pattern.difference(try device.loop.contents(), from: bytes) == nil)
    }
  }
}
