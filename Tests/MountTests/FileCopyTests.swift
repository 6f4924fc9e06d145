import FaultKit
import Testing

@Suite("Copies from and to regular files")
struct FileCopyTests {
  @Test("A file is copied into a block device, and a block device into a file that create makes")
  func mixed() throws {
    try withDaemon { bench, daemon in
      let device = try bench.loop()
      try device.fill(seed: 1)
      let source = try bench.file("source", Pattern.bytes(1 << 20, seed: 2))
      try checkedCopy(daemon, from: .file(source), at: 0, count: 1 << 20, to: [(.block(device), 1 << 20)], as: "into")
      let made = bench.disk + "/made"
      try checkedCopy(daemon, from: .block(device), at: 0, count: 4 << 20, to: [(.file(made), 0)], keys: "create=yes", as: "outof")
      #expect(try Files.facts(made).size == 4 << 20)
    }
  }

  /// Where in the source, how much, and where in the destination, in bytes.
  struct Odd: Sendable, CustomTestStringConvertible {
    let from: Int
    let count: Int
    let to: Int
    var testDescription: String { "\(count) bytes from \(from) to \(to)" }
  }

  static let odd = [
    Odd(from: 0, count: 1, to: 0), Odd(from: 0, count: 511, to: 0), Odd(from: 0, count: 513, to: 0), Odd(from: 0, count: 4097, to: 0),
    Odd(from: 1, count: 4096, to: 0), Odd(from: 0, count: 4096, to: 1), Odd(from: 511, count: 513, to: 4097),
    Odd(from: 4095, count: 2, to: 511), Odd(from: 3, count: 1_048_579, to: 3), Odd(from: 513, count: 1_500_001, to: 1),
    Odd(from: 4096, count: 1_048_576 + 1, to: 8192), Odd(from: 512, count: 1_048_576, to: 1024),
  ]

  @Test("Odd sizes at odd places change these bytes and no other, on a disk and in memory", arguments: FileCopyTests.odd, [false, true])
  func oddSizes(odd: Odd, inMemory: Bool) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(2_000_003, seed: 3), inMemory: inMemory)
      let destination = try bench.file("destination", Pattern.bytes(2_100_001, seed: 4), inMemory: inMemory)
      try checkedCopy(daemon, from: .file(source), at: odd.from, count: odd.count, to: [(.file(destination), odd.to)])
    }
  }

  @Test("Bytes go between a file system without direct I/O and one with it", arguments: [true, false])
  func mixedDirectIO(fromMemory: Bool) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(3_000_001, seed: 5), inMemory: fromMemory)
      let destination = try bench.file("destination", Pattern.bytes(10, seed: 6), inMemory: !fromMemory)
      try checkedCopy(daemon, from: .file(source), at: 0, count: 3_000_001, to: [(.file(destination), 0)])
    }
  }

  @Test("A longer destination is not truncated; a shorter one grows to the region's end and no further")
  func lengths() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(5000, seed: 7))
      let long = try bench.file("long", Pattern.bytes(70_000, seed: 8))
      let short = try bench.file("short", Pattern.bytes(100, seed: 9))
      let empty = try bench.file("empty", [])
      let destinations: [(medium: Medium, start: Int)] = [(.file(long), 1000), (.file(short), 50), (.file(empty), 12_345)]
      try checkedCopy(daemon, from: .file(source), at: 0, count: 5000, to: destinations)
      #expect(try Files.facts(long).size == 70_000)
      #expect(try Files.facts(short).size == 5050)
      #expect(try Files.facts(empty).size == 17_345)
    }
  }

  @Test("Without a count a file is copied to its end")
  func toTheEnd() throws {
    try withDaemon { bench, daemon in
      let bytes = Pattern.bytes(10_007, seed: 10)
      let source = try bench.file("source", bytes)
      let destination = try bench.file("destination", [])
      try daemon.copy("from=\(source)@7B to=\(destination)")
      #expect(Pattern.difference(try Files.read(destination), from: Array(bytes[7...])) == nil)
    }
  }

  @Test("A job has 64 destinations, files and a device among them")
  func manyDestinations() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: 1 << 20)
      try source.fill(seed: 11)
      let device = try bench.loop(size: 1 << 20)
      var destinations: [(medium: Medium, start: Int)] = [(.block(device), 0)]
      for index in 1..<64 {
        let file = try bench.file("d\(index)", Pattern.bytes(index * 100, seed: UInt64(index)), inMemory: index % 2 == 0)
        destinations.append((.file(file), index * 1111))
      }
      let job = try checkedCopy(daemon, from: .block(source), at: 0, count: 1 << 20, to: destinations)
      let status = try job.status()
      #expect(status["dests"] == "64")
      #expect(status["dest63_state"] == "done")
      #expect(try Files.names(in: job.path + "/dest").count == 64)
    }
  }

  @Test("create makes a regular file as the caller's umask has it, and leaves an existing one's mode alone")
  func createdMode() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(1000, seed: 12))
      let made = bench.disk + "/made"
      let record = "from=\(source) to=\(made) create=yes"
      let client = try shell("umask 027; echo \"$R\" > \"$J\"", environment: ["R": record, "J": daemon.path("jobs/a")])
      #expect(client.succeeded, "\(client)")
      #expect(try daemon.job("a").result() == "ok")
      #expect(try Files.facts(made).permissions & 0o027 == 0)
      try run("chmod", "0604", made).orThrow()
      try daemon.copy(record, as: "b")
      #expect(try Files.facts(made).permissions == 0o604)
    }
  }

  @Test("tail=zero fills the destination's last block with zeroes and leaves the next alone", arguments: [512, 4096])
  func tail(sectorSize: Int) throws {
    try withDaemon { bench, daemon in
      let bytes = Pattern.bytes(3 * 4096 + 100, seed: 13)
      let source = try bench.file("source", bytes)
      let device = try bench.loop(sectorSize: sectorSize)
      let before = try device.fill(seed: 14)
      try daemon.copy("from=\(source) to=\(device.path)@4096B tail=zero")
      let padding = [UInt8](repeating: 0, count: sectorSize - 100)
      #expect(Pattern.difference(try device.contents(), from: Pattern.patched(before, at: 4096, with: bytes + padding)) == nil)
    }
  }

  @Test("A symlink and a hard link lead to the file")
  func links() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(9999, seed: 15))
      let destination = try bench.file("destination", Pattern.bytes(20_000, seed: 16))
      let (symlink, link) = (bench.disk + "/symlink", bench.disk + "/link")
      try Files.symlink(to: source, as: symlink)
      try Files.link(destination, as: link)
      try checkedCopy(daemon, from: .file(symlink), at: 0, count: 9999, to: [(.file(link), 3)])
      #expect(Pattern.difference(try Files.read(destination), from: try Files.read(link)) == nil)
    }
  }
}
