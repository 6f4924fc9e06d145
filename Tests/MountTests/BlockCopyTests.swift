import FaultKit
import Testing

@Suite("Copies between block devices")
struct BlockCopyTests {
  @Test("A whole device is copied to one destination, and to three", arguments: [1, 3])
  func whole(destinations: Int) throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: 16 << 20)
      let bytes = try source.fill(seed: 1)
      let devices = try (0..<destinations).map { _ in try bench.loop(size: 16 << 20) }
      try daemon.copy("from=\(source.path) " + devices.map { "to=\($0.path)" }.joined(separator: " "))
      for device in devices { #expect(Pattern.difference(try device.contents(), from: bytes) == nil) }
    }
  }

  /// A start and a count as they are written, and what they mean in bytes.
  struct Size: Sendable, CustomTestStringConvertible {
    let start: String
    let startBytes: Int
    let count: String
    let countBytes: Int
    var testDescription: String { "@\(start)+\(count)" }
  }

  @Test(
    "A start and a count are read in each unit",
    arguments: [
      Size(start: "0", startBytes: 0, count: "1s", countBytes: 512),
      Size(start: "3s", startBytes: 1536, count: "2048s", countBytes: 1 << 20),
      Size(start: "512B", startBytes: 512, count: "4608B", countBytes: 4608),
      Size(start: "12K", startBytes: 12 << 10, count: "100K", countBytes: 100 << 10),
      Size(start: "1M", startBytes: 1 << 20, count: "2M", countBytes: 2 << 20),
    ])
  func units(size: Size) throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let destination = try bench.loop()
      let bytes = try source.fill(seed: 2)
      let before = try destination.fill(seed: 3)
      try daemon.copy("from=\(source.path)@\(size.start)+\(size.count) to=\(destination.path)@\(size.start)+\(size.count)")
      let region = bytes[size.startBytes..<size.startBytes + size.countBytes]
      #expect(Pattern.difference(try destination.contents(), from: Pattern.patched(before, at: size.startBytes, with: region)) == nil)
    }
  }

  @Test("A start in gigabytes finds its place")
  func gigabytes() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: (1 << 30) + (1 << 20))
      let destination = try bench.loop(size: 1 << 20)
      let bytes = Pattern.bytes(1 << 20, seed: 4)
      try source.fill(bytes, at: 1 << 30)
      try daemon.copy("from=\(source.path)@1G to=\(destination.path)")
      #expect(Pattern.difference(try destination.contents(), from: bytes) == nil)
    }
  }

  @Test("Destinations with starts of their own get the region there, and their neighbours keep their bytes")
  func ownStarts() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      try source.fill(seed: 5)
      let destinations = try [0, 512, (1 << 20) + 3 * 512].enumerated().map { index, start in
        let device = try bench.loop()
        try device.fill(seed: 6 + UInt64(index))
        return (medium: Medium.block(device), start: start)
      }
      try checkedCopy(daemon, from: .block(source), at: 7 * 512, count: (2 << 20) + 512, to: destinations)
    }
  }

  @Test("Regions of one device side by side may be source and destination")
  func sameDevice() throws {
    try withDaemon { bench, daemon in
      let device = try bench.loop()
      let bytes = try device.fill(seed: 9)
      try daemon.copy("from=\(device.path)@0+1M to=\(device.path)@1M to=\(device.path)@3M")
      let once = Pattern.patched(bytes, at: 1 << 20, with: bytes[..<(1 << 20)])
      #expect(Pattern.difference(try device.contents(), from: Pattern.patched(once, at: 3 << 20, with: bytes[..<(1 << 20)])) == nil)
    }
  }

  @Test("Devices with logical blocks of 4096 bytes are copied to each other and to devices with 512", arguments: [4096, 512], [4096, 512])
  func blockSizes(from: Int, to: Int) throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(sectorSize: from)
      let destination = try bench.loop(sectorSize: to)
      try source.fill(seed: 10)
      try destination.fill(seed: 11)
      try checkedCopy(daemon, from: .block(source), at: 8192, count: 4096 * 301, to: [(.block(destination), 4096)])
    }
  }

  @Test("The source is read once and each destination written once, however many there are")
  func readOnce() throws {
    try withDaemon { bench, daemon in
      let size = 8 << 20
      let source = try bench.loop(size: size)
      try source.fill(seed: 12)
      let devices = try (0..<3).map { _ in try bench.loop(size: size) }
      let before = try source.counters
      let written = try devices.map { try $0.counters }
      try daemon.copy("from=\(source.path) " + devices.map { "to=\($0.path)" }.joined(separator: " "))
      #expect(try source.counters.bytesRead - before.bytesRead == size)
      for (device, before) in zip(devices, written) {
        #expect(try device.counters.bytesWritten - before.bytesWritten == size)
        #expect(try device.counters.flushes > before.flushes)
      }
    }
  }

  @Test("Many jobs at once each leave their own bytes at their own place")
  func manyJobs() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let destination = try bench.loop()
      let bytes = try source.fill(seed: 13)
      let piece = 64 << 10
      let count = bytes.count / piece
      // The pieces change places: the first becomes the last.
      let records = (0..<count).map { "from=\(source.path)@\($0 * 64)K+64K to=\(destination.path)@\((count - 1 - $0) * 64)K name=p\($0)\n" }
      try Files.write(daemon.path("submit"), records.joined())
      for index in 0..<count { #expect(try daemon.job("p\(index)").result() == "ok") }
      let expected = (0..<count).reversed().flatMap { bytes[$0 * piece..<($0 + 1) * piece] }
      #expect(Pattern.difference(try destination.contents(), from: expected) == nil)
    }
  }

  @Test("After done the medium holds the bytes, and the last flush came after the last write")
  func durable() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 14)
      let destination = try bench.faultDevice()
      try daemon.copy("from=\(source.path) to=\(destination.path)")
      let requests = try destination.requests
      let lastWrite = try #require(requests.lastIndex { $0.kind == .write })
      let lastFlush = try #require(requests.lastIndex { $0.kind == .flush })
      #expect(lastFlush > lastWrite)
      try run("blockdev", "--flushbufs", destination.path).orThrow()
      #expect(Pattern.difference(try destination.loop.contents(), from: bytes) == nil)
    }
  }
}
