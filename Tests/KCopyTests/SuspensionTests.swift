import FaultKit
import Glibc
import KCopy
import Synchronization
import Testing

/// Copies that stop and go on, and their checkpoints, on what moves the bytes for real.
@Suite("A copy that is suspended")
struct SuspensionTests {
  static let size = 1 << 20

  /// Slow enough to be met in its middle, however busy the machine is.
  static func slowly() -> CopyOptions {
    var options = CopyOptions()
    options.rate = UInt64(size / 20)
    return options
  }

  @Test("It flushes what it has, another copy goes on from its maps, and together they write everything once", arguments: Rig.few)
  func goesOn(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let targets = try (0..<2).map { _ in try bench.loop(size: Self.size, sectorSize: rig.block) }
      let from = Region(try bench.open(source.path, .reading))
      let to = try targets.map { Region(try bench.open($0.path)) }
      let client = try rig.client(bench)
      let (first, second) = (Notified(), Notified())
      let copy = try client.copy(from: from, to: to, options: Self.slowly(), notify: first.handler)
      try eventually("something is written") { copy.progress.bytesDone > 0 }
      copy.suspend()
      let notification = try first.wait()[0]
      #expect(notification.wasSuspended && !notification.wasCancelled && !notification.isComplete)
      #expect(notification.progress.destinations.map(\.state) == [.running, .running])
      #expect(notification.progress.bytesDurable > 0 && notification.progress.bytesDurable < Self.size)
      #expect(notification.maps.allSatisfy { $0.bytes(.written) == 0 && $0.bytes(.failed) == 0 })
      try client.copy(from: from, to: to, maps: notification.maps, notify: second.handler)
      #expect(try second.wait()[0].isComplete)
      #expect(client.bytesWritten == 2 * Self.size)
      for target in targets { #expect(Pattern.difference(try target.contents(), from: bytes) == nil) }
    }
  }

  @Test("A write that is in flight ends first; a failing flush leaves its bytes to the next copy, and no error", arguments: transports)
  func failingFlush(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(Self.size, seed: 1)
      let source = try bench.openFile("source", bytes, .reading)
      let fault = try bench.faultDevice(size: Self.size)
      let destination = try bench.open(fault.path)
      let client = try bench.client(transport, subjob: 64 << 10, slots: 2)
      let (first, second) = (Notified(), Notified())
      try fault.setFaults([.flush(times: 1)])
      try fault.holding(.write) {
        let copy = try client.copy(from: Region(source), to: [Region(destination)], notify: first.handler)
        try fault.awaitRequest(.write)
        copy.suspend()
        // What is asked of a client is taken in order: after this one the suspension has been.
        let marker = Notified()
        try client.prepareNotification(marker.handler).fire()
        try marker.wait()
        #expect(first.all.isEmpty, "a write is in flight")
      }
      let notification = try first.wait()[0]
      #expect(notification.wasSuspended && notification.progress.firstError == nil && notification.progress.writeErrors == 0)
      #expect(notification.maps[0].bytes(.missing) == Self.size)
      try client.copy(from: Region(source), to: [Region(destination)], maps: notification.maps, notify: second.handler)
      #expect(try second.wait()[0].isComplete)
      #expect(Pattern.difference(try fault.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("A copy of some seconds has checkpoints, by flushes of its device, each with more that is durable", arguments: transports)
  func checkpoints(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Pattern.bytes(Self.size, seed: 1), .reading)
      let fault = try bench.faultDevice(size: Self.size)
      let destination = try bench.open(fault.path)
      let client = try bench.client(transport, subjob: 64 << 10)
      let notified = Notified()
      let checkpoints = Atomic(0)
      let before = try fault.count(.flush)
      let copy = try client.copy(
        from: Region(source), to: [Region(destination)], options: Self.slowly(),
        checkpointed: { checkpoints.add(1, ordering: .sequentiallyConsistent) }, notify: notified.handler)
      try eventually(within: .seconds(30), "a checkpoint comes") { checkpoints.load(ordering: .sequentiallyConsistent) > 0 }
      let map = copy.map(of: 0)
      #expect(map.bytes(.durable) > 0 && map.bytes(.durable) < Self.size && notified.all.isEmpty)
      #expect(copy.progress.phase == .copy && copy.progress.bytesDurable >= map.bytes(.durable))
      copy.setRate(nil)
      #expect(try notified.wait()[0].isComplete && client.bytesRead == Self.size)
      #expect(try fault.count(.flush) - before == checkpoints.load(ordering: .sequentiallyConsistent) + 1)
    }
  }
}
