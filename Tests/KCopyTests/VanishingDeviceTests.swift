import FaultKit
import Glibc
import KCopy
import Testing

@Suite("Devices that shrink or go away under a copy")
struct VanishingDeviceTests {
  static let size = 512 << 10
  /// Within the fourth sub-job, and a multiple of a page.
  static let rest = 3 * Rig.subjob + 5 * 4096

  @Test("A source that shrinks: a read error where it ends; ignored, zeroes and a list from there on", arguments: Rig.all)
  func sourceShrinks(_ rig: Rig) throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let to = Region(try bench.open(fault.path))
      let client = try rig.client(bench)
      for mode in [CopyOptions.ErrorMode.drop, .ignore] {
        let (disk, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
        let from = Region(try bench.open(disk.path, .reading))
        let notified = Notified()
        let before = try fault.count(.write)
        try fault.holding(.write) {
          try client.copy(from: from, to: [to], options: options(mode), notify: notified.handler)
          try fault.awaitRequest(.write, after: before)
          try disk.shrink(to: Self.rest)
        }
        let notification = try notified.wait()[0]
        let progress = notification.progress
        #expect(progress.readError && progress.writeErrors == 0)
        let end = 4 * Rig.subjob
        #expect(
          progress.firstError
            == TransferError(errno: EIO, step: .read, destination: nil, offset: UInt64(Self.rest), length: UInt64(end - Self.rest)))
        #expect(progress.destinations[0].state == .failed && progress.destinations[0].error == nil)
        let durable = mode == .ignore ? Self.rest : 3 * Rig.subjob
        #expect(notification.maps[0].ranges(.durable) == [0..<durable])
        if mode == .ignore { #expect(notification.maps[0].ranges(.failed) == [Self.rest..<Self.size]) }
        let expected = Array(bytes[..<durable]) + [UInt8](repeating: 0, count: mode == .ignore ? Self.size - durable : 0)
        #expect(Pattern.difference(try fault.loop.contents(0..<expected.count), from: expected) == nil)
        #expect(client.pagesFree == client.configuration.pages)
      }
    }
  }

  @Test("A destination that shrinks: ENOSPC where it ends; ignored, listed from there on; the other one is done", arguments: Rig.all)
  func destinationShrinks(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (fault, bytes) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let from = Region(try bench.open(fault.path, .reading))
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let other = Region(try bench.open(good.path))
      let client = try rig.client(bench)
      for mode in [CopyOptions.ErrorMode.drop, .ignore] {
        let disk = try bench.loop(size: Self.size, sectorSize: rig.block)
        let to = Region(try bench.open(disk.path))
        let notified = Notified()
        let before = try fault.count(.read)
        try fault.holding(.read) {
          try client.copy(from: from, to: [to, other], options: options(mode), notify: notified.handler)
          try fault.awaitRequest(.read, after: before)
          try disk.shrink(to: Self.rest)
        }
        let notification = try notified.wait()[0]
        let progress = notification.progress
        #expect(progress.writeErrors == 0b01 && !progress.readError && progress.destinations.map(\.state) == [.failed, .done])
        let error = progress.firstError
        #expect(error?.errno == ENOSPC && error?.step == .write && error?.destination == 0 && error?.offset == UInt64(Self.rest))
        if mode == .ignore {
          #expect(notification.maps[0].ranges(.failed) == [Self.rest..<Self.size])
          #expect(notification.maps[0].ranges(.durable) == [0..<Self.rest])
        }
        #expect(Pattern.difference(try disk.contents(0..<Self.rest), from: Array(bytes[..<Self.rest])) == nil)
        #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
      }
    }
  }

  @Test(
    "A source that goes away: a read error, and what was copied before is durable", arguments: Rig.few,
    [CopyOptions.ErrorMode.drop, .ignore])
  func sourceDies(_ rig: Rig, _ mode: CopyOptions.ErrorMode) throws {
    try withWorkbench { bench in
      let (fault, bytes) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let gate = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let (from, to) = (Region(try bench.open(fault.path, .reading)), Region(try bench.open(gate.path)))
      let client = try rig.client(bench)
      let notified = Notified()
      try gate.holding(.write) {
        try client.copy(from: from, to: [to], options: options(mode), notify: notified.handler)
        try gate.awaitRequest(.write)
        try fault.die()
      }
      let notification = try notified.wait()[0]
      let progress = notification.progress
      #expect(progress.readError && progress.writeErrors == 0 && progress.firstError?.step == .read)
      #expect(progress.firstError?.offset == UInt64(Rig.subjob) && progress.firstError?.errno != 0)
      #expect(notification.maps[0].ranges(.durable) == [0..<Rig.subjob])
      if mode == .ignore { #expect(notification.maps[0].ranges(.failed) == [Rig.subjob..<Self.size]) }
      #expect(Pattern.difference(try gate.loop.contents(0..<Rig.subjob), from: Array(bytes[..<Rig.subjob])) == nil)
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test(
    "A destination that goes away while it is written: its bit, nothing durable, and the other one is done", arguments: Rig.few,
    [CopyOptions.ErrorMode.drop, .ignore])
  func destinationDies(_ rig: Rig, _ mode: CopyOptions.ErrorMode) throws {
    try withWorkbench { bench in
      let (disk, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let from = Region(try bench.open(disk.path, .reading))
      let to = try [good.path, fault.path].map { Region(try bench.open($0)) }
      let client = try rig.client(bench, slots: 4)
      let notified = Notified()
      try fault.holding(.write) {
        try client.copy(from: from, to: to, options: options(mode), notify: notified.handler)
        try fault.awaitRequest(.write)
        try fault.die()
      }
      let notification = try notified.wait()[0]
      let progress = notification.progress
      #expect(progress.writeErrors == 0b10 && !progress.readError && progress.firstError?.destination == 1)
      #expect(progress.destinations.map(\.state) == [.done, .failed] && progress.destinations[1].bytesDurable == 0)
      if mode == .ignore { #expect(notification.maps[1].ranges(.failed) == [0..<Self.size]) }
      #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test("A destination that goes away before the flush is a write error", arguments: Rig.few)
  func diesBeforeFlush(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (disk, _) = try bench.filledLoop(size: Rig.subjob, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let (from, to) = (Region(try bench.open(disk.path, .reading)), try bench.open(fault.path))
      let client = try rig.client(bench)
      let notified = Notified()
      try to.holdingFlush {
        let copy = try client.copy(from: from, to: [Region(to, start: 0, count: UInt64(Rig.subjob))], notify: notified.handler)
        try eventually("it waits for its flush") { copy.progress.phase == .flush }
        try fault.die()
      }
      let notification = try notified.wait()[0]
      #expect(notification.progress.writeErrors == 1 && notification.progress.destinations[0].state == .failed)
      #expect(notification.progress.bytesDurable == 0 && notification.maps[0].bytes(.durable) == 0)
    }
  }

  @Test("A file that gets full under ignore: listed from the byte on where it was full", arguments: transports)
  func fullFile(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let small = try bench.keep(Mount(type: "tmpfs", on: bench.disk + "/small", options: "size=256k"))
      let bytes = Pattern.bytes(Self.size, seed: 1)
      let source = try bench.openFile("source", bytes, .reading)
      try Files.write(small.path + "/file", [])
      let full = try bench.open(small.path + "/file")
      let client = try bench.client(transport, subjob: 96 << 10, slots: 1)
      let notification = try copyAndWait(
        client, from: Region(source), to: [Region(full, start: 0, count: source.size)], options: options(.ignore))
      #expect(notification.progress.writeErrors == 1 && notification.progress.firstError?.errno == ENOSPC)
      #expect(notification.progress.firstError?.offset == 256 << 10)
      #expect(notification.maps[0].ranges(.failed) == [256 << 10..<Self.size])
      #expect(notification.maps[0].ranges(.durable) == [0..<256 << 10])
      #expect(Pattern.difference(try Files.read(small.path + "/file"), from: Array(bytes[..<(256 << 10)])) == nil)
    }
  }
}
