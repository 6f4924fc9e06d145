import FaultKit
import Glibc
import Testing

@Suite("A restart in the middle of every kind of copy")
struct RestartKindTests {
  private static let size = 4 << 20

  /// Takes the daemon away when something of the job is done, and durable where it is flushed, and waits for the job's end.
  ///
  /// - Returns: what `result` says, and its status.
  private func interrupt(_ mount: KeptMount, _ departure: Departure, _ record: String, flushes: Bool = true) throws -> (String, Words) {
    let lasting = try Lasting(mount.daemon.submit(record + " rate=1500K"))
    if flushes { try mount.awaitCheckpoint() } else { try eventually("some is done") { try mount.job().status().number("bytes_done") > 0 } }
    try mount.restart(departure)
    #expect(try Lasting(mount.job()) == lasting)
    #expect(try mount.job().control("rate=max") == "")
    return (try mount.job().result(), try mount.job().status())
  }

  @Test("Zeroes", arguments: Departure.allCases)
  func zeroes(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let device = try bench.loop(size: Self.size)
      let before = try device.fill(seed: 1)
      let (result, status) = try interrupt(mount, departure, "op=zero to=\(device.path)@512K+3M")
      #expect(result == "ok" && status.number("bytes_durable") == 3 << 20, "\(status)")
      let expected = Pattern.patched(before, at: 512 << 10, with: [UInt8](repeating: 0, count: 3 << 20))
      #expect(try Pattern.difference(device.contents(), from: expected) == nil)
    }
  }

  @Test("A file that the job has made", arguments: Departure.allCases)
  func created(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let bytes = Pattern.bytes(Self.size - 13, seed: 1)
      let (source, copy) = (try bench.file("source", bytes), bench.disk + "/copy")
      let (result, status) = try interrupt(mount, departure, "from=\(source) to=\(copy)@13B create=yes")
      #expect(result == "ok" && status.number("bytes_durable") == bytes.count, "\(status)")
      #expect(try Pattern.difference(Files.read(copy), from: [UInt8](repeating: 0, count: 13) + bytes) == nil)
    }
  }

  @Test("Without flushes nothing counts as durable, and all is copied anew", arguments: Departure.allCases)
  func unflushed(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device) = (try bench.loop(size: Self.size), try bench.faultDevice(size: Self.size))
      let bytes = try source.fill(seed: 1)
      let (result, status) = try interrupt(mount, departure, "from=\(source.path) to=\(device.path) sync=none", flushes: false)
      #expect(result == "ok" && status["bytes_durable"] == "0", "\(status)")
      let written = try device.sectors(.write)
      #expect(Set(written).count == Self.size / 512 && written.count > Self.size / 512)
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("Ascending writes go on ascending, behind what is durable", arguments: Departure.allCases)
  func sequential(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device) = (try bench.loop(size: Self.size), try bench.faultDevice(size: Self.size))
      let bytes = try source.fill(seed: 1)
      let (result, status) = try interrupt(mount, departure, "from=\(source.path) to=\(device.path) order=sequential")
      #expect(result == "ok" && status.number("bytes_durable") == Self.size, "\(status)")
      let offsets = try device.requests.filter { $0.kind == .write }.map(\.offset)
      let turns = zip(offsets, offsets.dropFirst()).count { $0 >= $1 }
      // What was written and not flushed when it was killed is written again, from there on.
      #expect(turns <= (departure == .killed ? 1 : 0) && !offsets.dropFirst().contains(0), "\(offsets)")
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test(
    "errors=ignore: what could not be read or written is listed at the end as ever, and the bits are set", arguments: Departure.allCases)
  func ignoring(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device, other) = (try bench.faultDevice(), try bench.faultDevice(), try bench.loop())
      var bytes = try source.loop.fill(seed: 1)
      let before = try device.loop.contents()
      // Before the checkpoint.
      try source.setFaults([.read(100...101)])
      try device.setFaults([.write(200...200)])
      let record = "from=\(source.path) to=\(device.path) to=\(other.path) errors=ignore"
      let (result, status) = try interrupt(mount, departure, record)
      #expect(result == "EIO" && status["read_err"] == "1" && status["write_err"] == "0x1", "\(status)")
      #expect(try mount.job().lacking(0) == [100, 101, 200] && mount.job().lacking(1) == [100, 101])
      bytes.replaceSubrange(100 * 512..<102 * 512, with: [UInt8](repeating: 0, count: 1024))
      #expect(try Pattern.difference(other.contents(), from: bytes) == nil)
      bytes.replaceSubrange(200 * 512..<201 * 512, with: before[200 * 512..<201 * 512])
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("A destination that is done is not opened again while the others go on", arguments: Departure.allCases)
  func doneBefore(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, fast, slow) = (try bench.loop(), try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      let link = bench.disk + "/fast"
      try Files.symlink(to: fast.path, as: link)
      try slow.hold(.flush)
      _ = try mount.daemon.submit("from=\(source.path) to=\(link) to=\(slow.path) rate=1500K")
      let isDone = "SELECT group_concat(instr(progress, 'state=done') > 0) FROM (SELECT progress FROM destinations ORDER BY number)"
      try eventually(within: .seconds(20), "one of two is done, and the journal has it") { try sql(isDone, on: mount.journal) == "1,0" }
      try mount.stop(departure) { try slow.open(.flush) }
      try slow.loop.awaitFree()
      let untouched = try fast.counters.bytesWritten
      try Files.unlink(link)
      try mount.start()
      #expect(try mount.job().result() == "ok" && fast.counters.bytesWritten == untouched)
      for device in [fast, slow.loop] { #expect(try Pattern.difference(device.contents(), from: bytes) == nil) }
    }
  }
}
