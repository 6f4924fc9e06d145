import FaultKit
import Glibc
import KCopy
import Testing

@Suite("Bad sectors of real devices that are ignored cost themselves")
struct BadSectorTests {
  static let size = 512 << 10
  static let start = 64 << 10

  /// Where a region is bad.
  enum Place: Sendable, CaseIterable {
    case middle, firstAndLast, aroundSubJobs

    /// Numbers of logical blocks, where the last has number `last` and a sub-job has `part` of them.
    func blocks(last: Int, part: Int) -> [ClosedRange<Int>] {
      switch self {
      case .middle: [last / 2 + 3...last / 2 + 3]
      case .firstAndLast: [0...0, last...last]
      case .aroundSubJobs: [3...3, part - 1...part, 3 * part + 1...3 * part + 1]
      }
    }
  }

  @Test("Of the source: zeroes on every destination, listed in every map, and all else is copied", arguments: Rig.all, Place.allCases)
  func source(_ rig: Rig, _ place: Place) throws {
    try withWorkbench { bench in
      let (fault, bytes) = try bench.filledFaultDevice(size: Self.size + 2 * Self.start, rig: rig, seed: 1)
      let bad = place.blocks(last: Self.size / rig.block - 1, part: Rig.subjob / rig.block)
      try fault.setFaults(bad.map { .read(rig.sectors($0.lowerBound + Self.start / rig.block...$0.upperBound + Self.start / rig.block)) })
      let disks = try (0..<2).map { try bench.filledLoop(size: Self.size + Self.start, sectorSize: rig.block, seed: 2 + UInt64($0)) }
      let source = Region(try bench.open(fault.path, .reading), start: UInt64(Self.start), count: UInt64(Self.size))
      let starts = [0, Self.start]
      let destinations = try zip(disks, starts).map { disk, start in
        Region(try bench.open(disk.loop.path), start: UInt64(start), count: UInt64(Self.size))
      }
      let client = try rig.client(bench)
      let notification = try copyAndWait(client, from: source, to: destinations, options: options(.ignore))

      let progress = notification.progress
      #expect(progress.readError && progress.writeErrors == 0 && !notification.isComplete && !notification.wasCancelled)
      let first = UInt64(Self.start + bad[0].lowerBound * rig.block)
      #expect(progress.firstError == TransferError(errno: EIO, step: .read, destination: nil, offset: first, length: UInt64(rig.block)))
      let failed = bad.map { $0.lowerBound * rig.block..<($0.upperBound + 1) * rig.block }
      var expected = Array(bytes[Self.start..<Self.start + Self.size])
      for range in failed { expected.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count)) }
      for (index, disk) in disks.enumerated() {
        Self.expect(notification, index, failed: failed)
        #expect(progress.destinations[index].error == nil)
        let found = try disk.loop.contents()
        #expect(Pattern.difference(found, from: Pattern.patched(disk.bytes, at: starts[index], with: expected)) == nil)
      }
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test("Of a destination: its bit, its map, what was there stays; the other destination is done", arguments: Rig.all, Place.allCases)
  func destination(_ rig: Rig, _ place: Place) throws {
    try withWorkbench { bench in
      let (disk, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let (fault, before) = try bench.filledFaultDevice(size: Self.size + Self.start, rig: rig, seed: 2)
      let bad = place.blocks(last: Self.size / rig.block - 1, part: Rig.subjob / rig.block)
      try fault.setFaults(bad.map { .write(rig.sectors($0.lowerBound + Self.start / rig.block...$0.upperBound + Self.start / rig.block)) })
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let failing = Region(try bench.open(fault.path), start: UInt64(Self.start), count: UInt64(Self.size))
      let client = try rig.client(bench)
      let notification = try copyAndWait(
        client, from: Region(try bench.open(disk.path, .reading)), to: [Region(try bench.open(good.path)), failing],
        options: options(.ignore))

      let progress = notification.progress
      #expect(progress.writeErrors == 0b10 && !progress.readError && !notification.isComplete)
      let first = UInt64(Self.start + bad[0].lowerBound * rig.block)
      let error = TransferError(errno: EIO, step: .write, destination: 1, offset: first, length: UInt64(rig.block))
      #expect(progress.firstError == error && progress.destinations[1].error == error && progress.destinations[0].error == nil)
      let failed = bad.map { $0.lowerBound * rig.block..<($0.upperBound + 1) * rig.block }
      Self.expect(notification, 0, failed: [])
      Self.expect(notification, 1, failed: failed)
      #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
      try fault.setFaults([])
      var expected = bytes
      for range in failed {
        expected.replaceSubrange(range, with: before[Self.start + range.lowerBound..<Self.start + range.upperBound])
      }
      #expect(Pattern.difference(try fault.loop.contents(), from: Pattern.patched(before, at: Self.start, with: expected)) == nil)
      #expect((Self.size...2 * Self.size).contains(Int(client.bytesRead)) && client.pagesFree == client.configuration.pages)
    }
  }

  @Test("Of both sides: each map lists what that destination lacks, in many slots too", arguments: Rig.few)
  func bothSides(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let (failing, before) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 2)
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let (read, write) = (Self.size / rig.block / 4, Self.size / rig.block / 2)
      try source.setFaults([.read(rig.sectors(read))])
      try failing.setFaults([.write(rig.sectors(write)), .write(rig.sectors(read + 1))])
      let client = try rig.client(bench, slots: 8)
      let notification = try copyAndWait(
        client, from: Region(try bench.open(source.path, .reading)), to: try [good.path, failing.path].map { Region(try bench.open($0)) },
        options: options(.ignore))
      #expect(notification.progress.readError && notification.progress.writeErrors == 0b10)
      let lost = read * rig.block..<(read + 1) * rig.block
      Self.expect(notification, 0, failed: [lost])
      Self.expect(notification, 1, failed: [lost.lowerBound..<lost.upperBound + rig.block, write * rig.block..<(write + 1) * rig.block])
      var expected = bytes
      expected.replaceSubrange(lost, with: [UInt8](repeating: 0, count: lost.count))
      #expect(Pattern.difference(try good.contents(), from: expected) == nil)
      try failing.setFaults([])
      for block in [read + 1, write] {
        let range = block * rig.block..<(block + 1) * rig.block
        expected.replaceSubrange(range, with: before[range])
      }
      #expect(Pattern.difference(try failing.loop.contents(), from: expected) == nil)
    }
  }

  @Test("A device that has no room behind a sector takes all before it: ENOSPC, listed from there on", arguments: Rig.few)
  func noRoom(_ rig: Rig) throws {
    try withWorkbench { bench in
      let size = 2 * Rig.subjob
      let (disk, bytes) = try bench.filledLoop(size: size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: size, logicalBlock: rig.block)
      let room = Rig.subjob + 5 * rig.block
      try fault.setFaults([.write(room / 512...size / 512, error: "ENOSPC")])
      let (from, to) = (Region(try bench.open(disk.path, .reading)), Region(try bench.open(fault.path)))
      let client = try rig.client(bench)
      for mode in [CopyOptions.ErrorMode.drop, .ignore] {
        let notification = try copyAndWait(client, from: from, to: [to], options: options(mode))
        let error = TransferError(errno: ENOSPC, step: .write, destination: 0, offset: UInt64(room), length: UInt64(rig.block))
        #expect(notification.progress.firstError == error && notification.progress.writeErrors == 1)
        #expect(notification.progress.destinations[0].state == .failed)
        #expect(notification.maps[0].ranges(.failed) == [room..<(mode == .ignore ? size : room + rig.block)])
        #expect(Pattern.difference(try fault.loop.contents(0..<room), from: Array(bytes[..<room])) == nil)
      }
    }
  }

  /// Of a bad sector under a file system nothing but the file's block is lost, and where the file lies is no matter.
  @Test("Of the disk under a source file: one block of the file", arguments: transports)
  func underFile(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice(size: 2 << 20)
      try run("mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", "-m", "0", fault.path).orThrow()
      let mount = try bench.keep(Mount(type: "ext4", device: fault.path, on: bench.disk + "/mount"))
      let bytes = Pattern.bytes(256 << 10, seed: 1)
      try Files.write(mount.path + "/file", bytes)
      try run("sync", "-f", mount.path).orThrow()
      let source = try bench.open(mount.path + "/file", .reading)
      let extents = try run("filefrag", "-s", "-v", "-b4096", mount.path + "/file").orThrow().text
      let first = extents.split(separator: "\n").compactMap { line -> Int? in
        let words = line.split { " :.".contains($0) }
        return words.first == "0" ? words.dropFirst(3).first.flatMap { Int($0) } : nil
      }
      let block = try #require(first.first, "the place of the file: \(extents)")
      try fault.setFaults([.read((block + 9) * 8 + 3...(block + 9) * 8 + 3)])
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(transport, subjob: Rig.subjob)
      let notification = try copyAndWait(
        client, from: Region(source), to: [Region(destination, start: 0, count: source.size)], options: options(.ignore))
      #expect(notification.progress.readError && notification.progress.writeErrors == 0)
      let failed = notification.maps[0].ranges(.failed)
      #expect(failed.count == 1 && failed[0].count <= 4096 && failed[0].contains(9 * 4096 + 3 * 512), "\(failed)")
      var expected = bytes
      for range in failed { expected.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count)) }
      #expect(Pattern.difference(try Files.read(bench.memory + "/destination"), from: expected) == nil)
      try fault.setFaults([])
    }
  }

  /// Checks one destination: its map, its counters, its state.
  static func expect(_ notification: KCopy.Notification, _ index: Int, failed: [Range<Int>]) {
    let map = notification.maps[index]
    let destination = notification.progress.destinations[index]
    let lost = failed.reduce(0) { $0 + $1.count }
    #expect(map.ranges(.failed) == failed, "destination \(index)")
    #expect(map.ranges(.missing).isEmpty && map.ranges(.written).isEmpty, "all else is durable")
    #expect(destination.bytesFailed == lost && destination.bytesDone == Self.size - lost && destination.bytesDurable == Self.size - lost)
    #expect(destination.state == (failed.isEmpty ? .done : .failed))
  }
}
