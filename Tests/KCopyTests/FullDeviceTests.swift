import FaultKit
import Glibc
import KCopy
import Testing

@Suite("The end of a destination")
struct FullDeviceTests {
  static let size = 2 << 20
  static let subjob = 256 << 10
  static let bytes = Pattern.bytes(size, seed: 1)

  @Test(
    "A file system that gets full within a sub-job is ENOSPC at the byte where it is full; the other destination is done",
    arguments: transports)
  func fileSystem(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let small = try bench.keep(Mount(type: "tmpfs", on: bench.disk + "/small", options: "size=1m"))
      try Files.write(small.path + "/other", [UInt8](repeating: 1, count: 100_000))
      let room = (1 << 20) - 25 * 4096
      let source = try bench.openFile("source", Self.bytes, .reading)
      try Files.write(small.path + "/file", [])
      let full = try bench.open(small.path + "/file")
      let good = try bench.openFile("good", [])
      let client = try bench.client(transport, subjob: Self.subjob, slots: 1)
      let regions = [full, good].map { Region($0, start: 0, count: UInt64(Self.size)) }
      let progress = try copyAndWait(client, from: Region(source), to: regions).progress
      #expect(progress.writeErrors == 0b01 && !progress.readError)
      let error = TransferError(errno: ENOSPC, step: .write, destination: 0, offset: UInt64(room), length: 4096)
      #expect(progress.firstError == error && progress.destinations[0].error == error)
      #expect(progress.destinations.map(\.state) == [.failed, .done])
      #expect(progress.destinations.map(\.bytesDone) == [UInt64(room), UInt64(Self.size)])
      #expect(client.bytesWritten == room + Self.size, "the short write counts for what it wrote")
      #expect(Pattern.difference(try Files.read(small.path + "/file"), from: Array(Self.bytes[..<room])) == nil)
      #expect(Pattern.difference(try Files.read(bench.memory + "/good"), from: Self.bytes) == nil)
    }
  }

  @Test(
    "A full file system on disk is ENOSPC too, for direct writes and for those through the page cache", arguments: transports,
    [0, 100] as [UInt64])
  func fullDisk(_ transport: Client.Transport, _ start: UInt64) throws {
    try withWorkbench { bench in
      let disk = try bench.loop(size: 4 << 20)
      try run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", disk.path).orThrow()
      let mount = try bench.keep(Mount(type: "ext4", device: disk.path, on: bench.disk + "/full"))
      try Files.write(mount.path + "/file", [])
      let source = try bench.openFile("source", Pattern.bytes(6 << 20, seed: 3), .reading)
      let full = try bench.open(mount.path + "/file")
      let client = try bench.client(transport)
      let progress = try copyAndWait(client, from: Region(source), to: [Region(full, start: start, count: source.size)]).progress
      #expect(progress.writeErrors == 0b01 && !progress.readError)
      #expect(progress.firstError?.errno == ENOSPC && progress.firstError?.step == .write)
      #expect(progress.destinations[0].state == .failed && progress.destinations[0].bytesDone < source.size)
    }
  }

  @Test("A region that ends with the last sector is copied, one that ends behind it is ENOSPC there", arguments: transports, [512, 4096])
  func lastSector(_ transport: Client.Transport, _ sectorSize: Int) throws {
    try withWorkbench { bench in
      let disks = try (0..<2).map { _ in try bench.loop(size: Self.size, sectorSize: sectorSize) }
      let bytes = try disks[0].fill(seed: 1)
      let before = try disks[1].fill(seed: 2)
      let source = try bench.open(disks[0].path, .reading)
      let destination = try bench.open(disks[1].path)
      let client = try bench.client(transport, subjob: Self.subjob, slots: 1)
      let count = Self.subjob + sectorSize
      let start = Self.size - count
      let end = try copyAndWait(
        client, from: Region(source, start: UInt64(start), count: UInt64(count)),
        to: [Region(destination, start: UInt64(start), count: UInt64(count))])
      #expect(end.isComplete)
      var expected = Pattern.patched(before, at: start, with: bytes[start...])
      #expect(Pattern.difference(try disks[1].contents(), from: expected) == nil)

      // A sector too far: a write across the end is short, the rest of it fails.
      let progress = try copyAndWait(
        client, from: Region(source, start: 0, count: UInt64(count + sectorSize)),
        to: [Region(destination, start: UInt64(start), count: UInt64(count + sectorSize))]
      ).progress
      #expect(progress.writeErrors == 1)
      #expect(
        progress.firstError
          == TransferError(errno: ENOSPC, step: .write, destination: 0, offset: UInt64(Self.size), length: UInt64(sectorSize)))
      expected = Pattern.patched(expected, at: start, with: bytes[..<count])
      #expect(Pattern.difference(try disks[1].contents(), from: expected) == nil)
    }
  }

  @Test(
    "A region that ends within a sector is filled up with zeroes on disks, not on files, and nothing behind it changes",
    arguments: transports, [1, 511, 512, 4095, 4097, 65_537, (1 << 20) + 1])
  func tail(_ transport: Client.Transport, _ count: Int) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.bytes, .reading)
      let disks = try [512, 4096].map { try bench.loop(size: Self.size, sectorSize: $0) }
      let before = try disks.map { try $0.fill(seed: 2) }
      let file = try bench.openFile("file", before[0])
      let start = 8192
      let destinations = try disks.map { try bench.open($0.path) } + [file]
      let client = try bench.client(transport, pages: 64, subjob: 64 << 10)
      // The pages hold something else than zeroes.
      #expect(try copyAndWait(client, from: Region(source), to: [Region(destinations[2])]).isComplete)
      try Files.write(bench.memory + "/file", before[0])
      var options = CopyOptions()
      options.fillsTailWithZeroes = true
      let progress = try copyAndWait(
        client, from: Region(source, start: 3, count: UInt64(count)),
        to: destinations.map { Region($0, start: UInt64(start), count: UInt64(count)) }, options: options
      ).progress
      #expect(progress.destinations.map(\.state) == [.done, .done, .done])
      #expect(progress.bytesDone == count && progress.bytesDurable == count, "the filling is not counted")
      let patch = Self.bytes[3..<3 + count]
      for (index, sectorSize) in [512, 4096].enumerated() {
        let filling = [UInt8](repeating: 0, count: (sectorSize - count % sectorSize) % sectorSize)
        let expected = Pattern.patched(before[index], at: start, with: patch + filling)
        #expect(Pattern.difference(try disks[index].contents(), from: expected) == nil, "\(sectorSize) bytes a sector")
      }
      #expect(Pattern.difference(try Files.read(bench.memory + "/file"), from: Pattern.patched(before[0], at: start, with: patch)) == nil)
    }
  }

  @Test("The last sector of a disk is filled up too", arguments: transports, [512, 4096])
  func tailAtTheEnd(_ transport: Client.Transport, _ sectorSize: Int) throws {
    try withWorkbench { bench in
      let disk = try bench.loop(size: Self.size, sectorSize: sectorSize)
      try disk.fill(seed: 2)
      let source = try bench.openFile("source", Array(Self.bytes.dropLast(100)), .reading)
      let destination = try bench.open(disk.path)
      let client = try bench.client(transport, subjob: Self.subjob)
      var options = CopyOptions()
      options.fillsTailWithZeroes = true
      let region = Region(destination, start: 0, count: source.size)
      #expect(try copyAndWait(client, from: Region(source), to: [region], options: options).isComplete)
      #expect(Pattern.difference(try disk.contents(), from: Self.bytes.dropLast(100) + [UInt8](repeating: 0, count: 100)) == nil)
    }
  }
}
