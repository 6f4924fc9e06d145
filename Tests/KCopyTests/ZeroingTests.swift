import FaultKit
import Glibc
import KCopy
import Testing

@Suite("Zeroes on real devices and files")
struct ZeroingTests {
  static let size = 1 << 20
  static let range = 192 << 10..<704 << 10

  static func region(_ device: Device) -> Region {
    Region(device, start: UInt64(range.lowerBound), count: UInt64(range.count))
  }

  static func zeroed(_ bytes: [UInt8], _ range: Range<Int> = range) -> [UInt8] {
    Pattern.patched(bytes, at: range.lowerBound, with: [UInt8](repeating: 0, count: range.count))
  }

  @Test("A device that can does it by itself: no zeroes are moved; what is beside it stays", arguments: Rig.all)
  func byDevice(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (fault, before) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let client = try rig.client(bench)
      let writes = try fault.count(.write)
      let notification = try zeroAndWait(client, [Self.region(try bench.open(fault.path))])
      #expect(notification.isComplete && notification.progress.destinations[0].state == .done)
      #expect(notification.maps[0].extents == [.init(start: 0, end: UInt64(Self.range.count), status: .durable)])
      #expect(try fault.count(.write) == writes)
      #expect(try fault.requests.filter { $0.kind == .zero }.reduce(0) { $0 + $1.bytes } == Self.range.count)
      #expect(client.pagesPeak == 0 && client.bytesRead == 0 && client.bytesWritten == Self.range.count)
      #expect(Pattern.difference(try fault.loop.contents(), from: Self.zeroed(before)) == nil)
    }
  }

  @Test("Loop devices on a disk, which can, and on a tmpfs, which can't, at once", arguments: Rig.all)
  func loops(_ rig: Rig) throws {
    try withWorkbench { bench in
      let loops = try [true, false].map { try bench.loop(size: Self.size, sectorSize: rig.block, onDisk: $0) }
      let before = try loops.enumerated().map { try $0.element.fill(seed: UInt64($0.offset)) }
      let devices = try loops.map { try bench.open($0.path) }
      let client = try rig.client(bench, slots: 4)
      for _ in 0..<2 {
        let notification = try zeroAndWait(client, devices.map(Self.region))
        #expect(notification.isComplete && notification.progress.destinations.map(\.state) == [.done, .done])
      }
      for (loop, before) in zip(loops, before) {
        #expect(Pattern.difference(try loop.contents(), from: Self.zeroed(before)) == nil, "\(loop.path)")
      }
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test(
    "Files on a disk and on a tmpfs, to the byte, also behind their end", arguments: transports,
    [192 << 10..<704 << 10, 1000..<70_001, 4097..<4098, 1_000_000..<1_100_000, 1_200_000..<1_300_000])
  func files(_ transport: Client.Transport, _ range: Range<Int>) throws {
    try withWorkbench { bench in
      let before = Pattern.bytes(Self.size, seed: 1)
      let paths = try [true, false].map { try bench.file("file", before, inMemory: $0) }
      let regions = try paths.map { Region(try bench.open($0), start: UInt64(range.lowerBound), count: UInt64(range.count)) }
      let client = try bench.client(transport, subjob: Rig.subjob)
      let notification = try zeroAndWait(client, regions)
      #expect(notification.isComplete && notification.maps.allSatisfy { $0.isComplete(durable: true) })
      for path in paths { #expect(Pattern.difference(try Files.read(path), from: Self.zeroed(before, range)) == nil, "\(path)") }
    }
  }

  @Test(
    "A sector that cannot be zeroed: found by writing, and under ignore listed alone", arguments: Rig.all,
    [CopyOptions.ErrorMode.drop, .ignore])
  func badSector(_ rig: Rig, _ mode: CopyOptions.ErrorMode) throws {
    try withWorkbench { bench in
      let (fault, before) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let good = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 2)
      let block = (Self.range.lowerBound + 2 * Rig.subjob) / rig.block + 3
      try fault.setFaults([.zero(rig.sectors(block)), .write(rig.sectors(block))])
      let regions = try [fault.path, good.loop.path].map { Self.region(try bench.open($0)) }
      let client = try rig.client(bench)
      let notification = try zeroAndWait(client, regions, options: options(mode))
      let progress = notification.progress
      let place = block * rig.block
      let error = TransferError(errno: EIO, step: .write, destination: 0, offset: UInt64(place), length: UInt64(rig.block))
      #expect(progress.firstError == error && progress.writeErrors == 0b01 && !progress.readError)
      #expect(progress.destinations.map(\.state) == [.failed, .done])
      let failed = place - Self.range.lowerBound..<place - Self.range.lowerBound + rig.block
      #expect(notification.maps[0].ranges(.failed) == [failed])
      #expect(Pattern.difference(try good.loop.contents(), from: Self.zeroed(good.bytes)) == nil)
      try fault.setFaults([])
      if mode == .ignore {
        #expect(notification.maps[0].ranges(.durable) == [0..<failed.lowerBound, failed.upperBound..<Self.range.count])
        let expected = Pattern.patched(Self.zeroed(before), at: place, with: before[place..<place + rig.block])
        #expect(Pattern.difference(try fault.loop.contents(), from: expected) == nil)
      }
    }
  }

  @Test("A zeroing that fails and a write that works leave no bit", arguments: Rig.few, ["EIO", "ENOSPC", "EINVAL"])
  func onlyZeroingFails(_ rig: Rig, _ error: String) throws {
    try withWorkbench { bench in
      let (fault, before) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      try fault.setFaults([.zero(0...Self.size / 512, error: error)])
      let client = try rig.client(bench)
      let notification = try zeroAndWait(client, [Self.region(try bench.open(fault.path))])
      #expect(notification.isComplete && notification.progress.firstError == nil)
      #expect(Pattern.difference(try fault.loop.contents(), from: Self.zeroed(before)) == nil)
    }
  }

  @Test("While a zeroing hangs a cancel is taken, the other region is done, and the notification comes with the answer", arguments: Rig.few)
  func hung(_ rig: Rig) throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let good = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 2)
      let regions = try [fault.path, good.loop.path].map { Self.region(try bench.open($0)) }
      let client = try rig.client(bench)
      let notified = Notified()
      try fault.holding(.zero) {
        let copy = try client.zero(regions, notify: notified.handler)
        try eventually("the good one is done") { copy.progress.destinations[1].state == .done }
        copy.cancel()
        try eventually(within: .seconds(5), "the cancel is taken") { copy.progress.phase == .cancelling }
        pause(.milliseconds(50))
        #expect(notified.all.isEmpty)
      }
      let notification = try notified.wait()[0]
      #expect(notification.wasCancelled && notification.progress.destinations[0].state == .cancelled)
      #expect(notification.progress.destinations[1].state == .done)
      #expect(Pattern.difference(try good.loop.contents(), from: Self.zeroed(good.bytes)) == nil)
    }
  }
}
