import FaultKit
import Glibc
import KCopy
import Testing

/// After a flush that failed nothing says what is on the medium, and the next one only says that there is nothing more to
/// write: what was written has to be written again.
@Suite("Flushes of real devices that fail")
struct LostFlushTests {
  static let count = 64 << 10

  static func region(_ device: Device, _ index: Int) -> Region { Region(device, start: UInt64(index * count), count: UInt64(count)) }

  @Test("Once: both of two copies on one handle write again, flush again, and are done", arguments: Rig.all)
  func once(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: 2 * Self.count, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: 1 << 20, logicalBlock: rig.block)
      let (from, to) = (try bench.open(source.path, .reading), try bench.open(fault.path))
      let client = try rig.client(bench)
      let notified = Notified()
      try to.holdingFlush {
        let copies = try (0..<2).map {
          try client.copy(from: Self.region(from, $0), to: [Self.region(to, $0)], notify: notified.handler)
        }
        try eventually("both wait for a flush") { copies.allSatisfy { $0.progress.phase == .flush } }
        #expect(try fault.count(.write) == 2)
        try fault.setFaults([.flush(times: 1)])
      }
      let notifications = try notified.wait(2)
      #expect(notifications.allSatisfy { $0.isComplete && $0.progress.firstError == nil })
      #expect(notifications.allSatisfy { $0.progress.destinations[0].state == .done && $0.maps[0].isComplete(durable: true) })
      let writes = try fault.requests.filter { $0.kind == .write }
      #expect(writes.count == 4 && writes.map(\.offset).sorted() == [0, 0, Self.count, Self.count])
      #expect(client.bytesWritten == 4 * Self.count)
      #expect(Pattern.difference(try fault.loop.contents(0..<2 * Self.count), from: bytes) == nil)
      // The last flush that succeeded came after the last write.
      let events = try fault.events
      let lastWrite = events.lastIndex { if case .ended(let request) = $0 { request.kind == .write } else { false } }
      let lastFlush = events.lastIndex { if case .ended(let request) = $0 { request.kind == .flush } else { false } }
      #expect(try #require(lastFlush) > (try #require(lastWrite)))
    }
  }

  @Test("Between a copy's writes and its flush, for another copy: what the first one lost is written again", arguments: Rig.few)
  func ofAnother(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: 2 * Self.count, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: 1 << 20, logicalBlock: rig.block)
      let (from, to) = (try bench.open(source.path, .reading), try bench.open(fault.path))
      let client = try rig.client(bench)
      let (paused, other) = (Notified(), Notified())
      // A copy that has written and then pauses comes to its flush when it is resumed.
      let copy = try fault.holding(.write) {
        let copy = try client.copy(from: Self.region(from, 0), to: [Self.region(to, 0)], notify: paused.handler)
        try fault.awaitRequest(.write)
        copy.pause()
        try eventually("the pause is taken") { copy.progress.pause == .user }
        return copy
      }
      try eventually("it has written") { copy.progress.destinations[0].bytesDone == Self.count }
      try fault.setFaults([.flush(times: 1)])
      try client.copy(from: Self.region(from, 1), to: [Self.region(to, 1)], notify: other.handler)
      #expect(try other.wait()[0].isComplete)
      #expect(paused.all.isEmpty)
      copy.resume()
      #expect(try paused.wait()[0].isComplete && copy.progress.destinations[0].state == .done)
      let writes = try fault.requests.filter { $0.kind == .write }.map(\.offset)
      #expect(writes == [0, Self.count, Self.count, 0])
      #expect(Pattern.difference(try fault.loop.contents(0..<2 * Self.count), from: bytes) == nil)
    }
  }

  @Test(
    "Always: after another try, or as many as there are retries, it is a write error with the step flush", arguments: Rig.few, [0, 3])
  func always(_ rig: Rig, _ retries: Int) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.count, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: 1 << 20, logicalBlock: rig.block)
      let good = try bench.loop(size: Self.count, sectorSize: rig.block)
      let from = Region(try bench.open(source.path, .reading))
      let failing = Self.region(try bench.open(fault.path), 3)
      let destinations = [failing, Region(try bench.open(good.path))]
      let client = try rig.client(bench)
      for mode in CopyOptions.ErrorMode.allCases where mode != .pause {
        try fault.setFaults([.flush])
        let before = try (fault.count(.write), fault.count(.flush))
        let notification = try copyAndWait(client, from: from, to: destinations, options: options(mode, retries: retries))
        let error = TransferError(errno: EIO, step: .flush, destination: 0, offset: UInt64(3 * Self.count), length: UInt64(Self.count))
        let progress = notification.progress
        #expect(progress.firstError == error && progress.writeErrors == 0b01 && !progress.readError, "\(mode)")
        #expect(progress.destinations[0].state == .failed && progress.destinations[0].error == error)
        #expect(progress.destinations[0].bytesDurable == 0 && notification.maps[0].bytes(.durable) == 0)
        if mode != .stop { #expect(progress.destinations[1].state == .done) }
        let rounds = max(1, retries) + 1
        #expect(try fault.count(.write) - before.0 == rounds && fault.count(.flush) - before.1 == rounds)
        if mode != .stop { #expect(Pattern.difference(try good.contents(), from: bytes) == nil) }
        try fault.setFaults([])
      }
    }
  }

  @Test("A copy that does not flush hears of none, and its map says that it is only written", arguments: transports)
  func without(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice(size: 1 << 20)
      let source = try bench.openFile("source", Pattern.bytes(Self.count, seed: 1), .reading)
      let to = try bench.open(fault.path)
      try fault.setFaults([.flush])
      let client = try bench.client(transport)
      var options = CopyOptions()
      options.flushes = false
      let before = try fault.count(.flush)
      let notification = try copyAndWait(client, from: Region(source), to: [Self.region(to, 0)], options: options)
      #expect(notification.isComplete && notification.progress.destinations[0].state == .done)
      #expect(notification.maps[0].extents == [.init(start: 0, end: UInt64(Self.count), status: .written)])
      #expect(try fault.count(.flush) == before)
      try fault.setFaults([])
    }
  }
}
