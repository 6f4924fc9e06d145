import FaultKit
import Glibc
import Testing

@Suite("sparse=yes")
struct SparseTests {
  /// Bytes with runs of zeroes in them, of 1 byte to some hundred KiB, at odd places too; and where they are.
  private static func spotted(_ count: Int, seed: UInt64) -> (bytes: [UInt8], blanks: [Range<Int>]) {
    var random = SeededGenerator(seed: seed)
    var bytes = Pattern.bytes(count, seed: seed)
    var blanks: [Range<Int>] = []
    var at = 0
    while at < count {
      at += [1, 4096, 10_000, 65_536, 300_000].randomElement(using: &random)! + Int.random(in: 0..<9000, using: &random)
      let end = min(at + [1, 4095, 4096, 8192, 50_000, 400_000].randomElement(using: &random)!, count)
      guard at < end else { break }
      bytes.replaceSubrange(at..<end, with: repeatElement(0, count: end - at))
      blanks.append(at..<end)
      at = end
    }
    return (bytes, blanks)
  }

  /// Bytes that a file takes on its file system.
  private func allocated(_ path: String) throws -> Int {
    let words = try run("stat", "-c", "%b %B", path).orThrow().line.split(separator: " ").compactMap { Int($0) }
    return words[0] * words[1]
  }

  private func counter(_ name: String, _ daemon: Daemon) throws -> Int {
    try #require(
      try Files.text(daemon.path("stats")).split(separator: "\n").first { $0.hasPrefix(name + "=") }.flatMap {
        Int($0.dropFirst(name.count + 1))
      })
  }

  @Test("Of 16 GiB with a MiB of data here and there the data alone is read and written, and the copy has the same holes")
  func image() throws {
    try withDaemon { bench, daemon in
      let source = bench.disk + "/image"
      let count = 16 << 30
      try run("truncate", "-s", String(count), source).orThrow()
      let megabyte = try bench.file("megabyte", Pattern.bytes(1 << 20, seed: 1))
      for index in 0..<16 {
        let place = ["seek=\((index << 30) + 12_345_678 + index * 777)", "oflag=seek_bytes", "conv=notrunc", "status=none"]
        try Command("dd", ["if=\(megabyte)", "of=\(source)", "bs=1M"] + place).run().orThrow()
      }
      try daemon.copy("from=\(source) to=\(bench.disk)/copy create=yes sparse=yes clone=no")
      let read = try counter("bytes_read", daemon)
      #expect(read >= 16 << 20 && read < 20 << 20, "\(read)")
      #expect(try allocated(bench.disk + "/copy") < 20 << 20 && Files.facts(bench.disk + "/copy").size == count)
      try run("cmp", source, bench.disk + "/copy").orThrow()
    }
  }

  @Test("Holes and runs of zeroes become holes of a file that held something else before", arguments: ["ext4", "xfs", "btrfs", "tmpfs"])
  func files(type: String) throws {
    try withDaemon { bench, daemon in
      let place = type == "tmpfs" ? try bench.memory : try bench.fileSystem(type)
      for (number, shift) in [0, 512, 4096, 1000].enumerated() {
        let (bytes, blanks) = Self.spotted(6_000_000, seed: UInt64(number))
        let source = try bench.file("source", bytes)
        // Of some of what is zeroes the source has nothing on its disk.
        for blank in blanks.prefix(4) {
          try run("fallocate", "-p", "-o", String(blank.lowerBound), "-l", String(blank.count), source).orThrow()
        }
        let copy = place + "/copy\(number)"
        let before = Pattern.bytes(7_000_000, seed: 99)
        try Files.write(copy, before)
        try run("sync", copy).orThrow()
        let full = try allocated(copy)
        try daemon.copy("from=\(source) to=\(copy)@\(shift)B sparse=yes clone=no", as: "job\(number)")
        #expect(try Pattern.difference(Files.read(copy), from: Pattern.patched(before, at: shift, with: bytes)) == nil)
        let whole = blanks.reduce(0) { $0 + max(0, $1.count / 4096 - 2) * 4096 }
        if shift % 4096 == 0 { #expect(try allocated(copy) <= full - whole, "\(full) before, \(whole) of zeroes") }
      }
    }
  }

  @Test("A device zeroes runs of 4 KiB and more by itself, and is written the rest; what it held before is gone")
  func devices() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let (bytes, _) = Self.spotted(4 << 20, seed: 5)
      try source.fill(bytes)
      try device.loop.fill(seed: 6)
      let mark = try device.requests.count
      try daemon.copy("from=\(source.path) to=\(device.path) sparse=yes")
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
      let blanks = (0..<1024).filter { block in bytes[block * 4096..<block * 4096 + 4096].allSatisfy { $0 == 0 } }
      #expect(try !blanks.isEmpty && device.sectors(.zero, since: mark).sorted() == blanks.flatMap { Array($0 * 8..<$0 * 8 + 8) })
      #expect(try Set(device.sectors(.write, since: mark)).isDisjoint(with: device.sectors(.zero, since: mark)))
    }
  }

  @Test("What can't zero by itself, or fails to, is written the zeroes", arguments: ["EOPNOTSUPP", "EIO"])
  func refusing(error: String) throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let (bytes, _) = Self.spotted(4 << 20, seed: 7)
      try source.fill(bytes)
      try device.loop.fill(seed: 8)
      try device.setFaults([.zero(0...8191, error: error)])
      let file = try bench.file("copy", Pattern.bytes(5 << 20, seed: 9))
      try daemon.copy("from=\(source.path) to=\(device.path) to=\(file) sparse=yes")
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
      #expect(try Pattern.difference(Files.read(file), from: bytes + Pattern.bytes(5 << 20, seed: 9)[(4 << 20)...]) == nil)
    }
  }

  @Test("Bad sectors of a copy that keeps holes are those of any other", arguments: ["drop", "ignore"])
  func faults(mode: String) throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let (bytes, _) = Self.spotted(4 << 20, seed: 10)
      try source.fill(bytes)
      try device.setFaults([.write(3000...3001), .zero(3000...3001)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) sparse=yes errors=\(mode)")
      #expect(try job.result() == "EIO" && job.value("write_err") == "0x1")
      try device.setFaults([])
      #expect(try job.control("retry") == "" && job.result() == "ok")
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("op=zero sparse=yes gives back what a file had, and its length stays")
  func zeroes() throws {
    try withDaemon { bench, daemon in
      let before = Pattern.bytes(4 << 20, seed: 11)
      let file = try bench.file("file", before)
      try run("sync", file).orThrow()
      try daemon.copy("op=zero to=\(file)@1M+2M sparse=yes")
      let zeroes = [UInt8](repeating: 0, count: 2 << 20)
      #expect(try Pattern.difference(Files.read(file), from: Pattern.patched(before, at: 1 << 20, with: zeroes)) == nil)
      #expect(try allocated(file) <= 2 << 20)
    }
  }

  @Test("After kill -9 in the middle it ends with the source's bytes", arguments: [1, 2])
  func restarted(destinations: Int) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (bytes, _) = Self.spotted(24 << 20, seed: 12)
      let source = try bench.file("source", bytes)
      let copies = try (0..<destinations).map { try bench.file("copy\($0)", Pattern.bytes(24 << 20, seed: 13)) }
      _ = try mount.daemon.submit("from=\(source)\(copies.map { " to=" + $0 }.joined()) sparse=yes clone=no rate=4M")
      try mount.awaitCheckpoint()
      try mount.restart(.killed)
      #expect(try mount.job().control("rate=max") == "" && mount.job().result() == "ok")
      for copy in copies { #expect(try Pattern.difference(Files.read(copy), from: bytes) == nil) }
    }
  }
}
