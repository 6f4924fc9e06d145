import CSystemShims
import FaultKit
import Glibc
import KCopy
import Locking
import Testing

@Suite("What an error of a real device does to the rest of a copy")
struct ErrorModeTests {
  static let size = 512 << 10
  static let badBlock = 5

  /// A fault in one block of a sub-job, and its place.
  static func place(_ rig: Rig, subJob: Int = 3) -> (sectors: ClosedRange<Int>, offset: Int) {
    let offset = subJob * Rig.subjob + badBlock * rig.block
    return (rig.sectors(offset / rig.block), offset)
  }

  @Test("drop: the destination is written no more, and the others are done", arguments: Rig.all)
  func drop(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let (sectors, offset) = Self.place(rig)
      try fault.setFaults([.write(sectors)])
      let client = try rig.client(bench)
      let notification = try copyAndWait(
        client, from: Region(try bench.open(source.path, .reading)), to: try [fault.path, good.path].map { Region(try bench.open($0)) })
      let error = TransferError(errno: EIO, step: .write, destination: 0, offset: UInt64(offset), length: UInt64(rig.block))
      #expect(notification.progress.firstError == error && notification.progress.writeErrors == 0b01)
      #expect(notification.progress.destinations.map(\.state) == [.failed, .done])
      #expect(notification.maps[0].ranges(.failed) == [offset..<offset + rig.block])
      #expect(notification.maps[1].isComplete(durable: true))
      #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
      let last = try fault.requests.filter { $0.kind == .write }.map { $0.offset + $0.bytes }.max()
      #expect(last == 4 * Rig.subjob, "the sub-job that failed is the last one")
      let written = notification.maps[0].ranges(.written).map(\.upperBound).max() ?? 0
      #expect(written <= offset, "what is said to be written was")
    }
  }

  @Test("stop: nothing more is read; what is written is flushed, and the map says how far that is", arguments: Rig.all)
  func stop(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let (good, before) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 2)
      let (sectors, offset) = Self.place(rig)
      try fault.setFaults([.write(sectors)])
      let client = try rig.client(bench)
      let flushes = try good.counters.flushes
      let notification = try copyAndWait(
        client, from: Region(try bench.open(source.path, .reading)), to: try [good.path, fault.path].map { Region(try bench.open($0)) },
        options: options(.stop))
      let error = TransferError(errno: EIO, step: .write, destination: 1, offset: UInt64(offset), length: UInt64(rig.block))
      #expect(notification.progress.firstError == error && notification.progress.writeErrors == 0b10)
      #expect(!notification.progress.readError && !notification.wasCancelled)
      #expect(notification.progress.destinations.map(\.state) == [.failed, .failed], "neither is complete")
      #expect(notification.progress.destinations[0].error == nil)
      let done = 4 * Rig.subjob
      #expect(client.bytesRead == done)
      #expect(notification.maps[0].ranges(.durable) == [0..<done] && notification.maps[0].ranges(.missing) == [done..<Self.size])
      #expect(try good.counters.flushes > flushes)
      #expect(Pattern.difference(try good.contents(), from: Array(bytes[..<done] + before[done...])) == nil)
    }
  }

  @Test(
    "pause: nothing starts and nobody is told until the fault is gone and it is resumed; then it is done without a bit",
    arguments: Rig.all, [FaultDevice.Kind.read, .write, .flush])
  func pauses(_ rig: Rig, _ kind: FaultDevice.Kind) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let failing = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let (sectors, offset) = Self.place(rig)
      switch kind {
      case .read: try source.setFaults([.read(sectors)])
      case .write, .zero: try failing.setFaults([.write(sectors)])
      case .flush: try failing.setFaults([.flush])
      }
      let from = Region(try bench.open(source.path, .reading))
      let to = try [good.path, failing.path].map { Region(try bench.open($0)) }
      let client = try rig.client(bench, slots: 4)
      let notified = Notified()
      let copy = try client.copy(from: from, to: to, options: options(.pause), notify: notified.handler)
      try eventually("it is paused") { copy.progress.pause != nil && client.pagesFree == client.configuration.pages }
      guard case .error(let error) = copy.progress.pause else { throw Missing("a pause with its error: \(copy.progress)") }
      #expect(error.errno == EIO)
      if kind == .flush {
        #expect(error.step == .flush && error.destination == 1)
      } else {
        #expect(error.offset == offset && error.length == rig.block && error.destination == (kind == .read ? nil : 1))
      }
      let count = { try source.requests.count + failing.requests.count }
      let before = try count()
      pause(.milliseconds(50))
      #expect(try count() == before && notified.all.isEmpty, "nothing starts")
      try source.setFaults([])
      try failing.setFaults([])
      pause(.milliseconds(20))
      #expect(try count() == before && copy.progress.pause != nil, "it takes a resume")
      copy.resume()
      let notification = try notified.wait()[0]
      #expect(notification.isComplete && notification.progress.firstError == nil && notification.progress.pause == nil)
      #expect(notification.progress.destinations.map(\.state) == [.done, .done])
      #expect(notification.maps.allSatisfy { $0.isComplete(durable: true) })
      #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
      #expect(Pattern.difference(try failing.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("pause: a resume with the fault still there pauses again; a cancel ends it", arguments: Rig.few)
  func cancelledWhilePaused(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, _) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let sectors = Self.place(rig).sectors
      try fault.setFaults([.write(sectors)])
      let touching = { try fault.requests.count { $0.kind == .write && $0.bytes == rig.block && $0.offset / 512 == sectors.lowerBound } }
      let (from, to) = (Region(try bench.open(source.path, .reading)), Region(try bench.open(fault.path)))
      let client = try rig.client(bench)
      let notified = Notified()
      let copy = try client.copy(from: from, to: [to], options: options(.pause), notify: notified.handler)
      try eventually("it is paused") { copy.progress.pause != nil }
      let before = try touching()
      #expect(before > 0)
      copy.resume()
      try eventually("it is tried again, and paused again") { try touching() > before && copy.progress.pause != nil }
      #expect(notified.all.isEmpty)
      copy.cancel()
      let notification = try notified.wait()[0]
      #expect(notification.wasCancelled && notification.progress.pause == nil)
      #expect(notification.progress.destinations[0].state == .cancelled)
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test("An error that goes away after n tries is none with n retries, and one with n - 1", arguments: Rig.all, [true, false])
  func retries(_ rig: Rig, _ isRead: Bool) throws {
    try withWorkbench { bench in
      let times = 3
      let (fault, bytes) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let (disk, pattern) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 2)
      let from = Region(try bench.open(isRead ? fault.path : disk.path, .reading))
      let to = Region(try bench.open(isRead ? disk.path : fault.path))
      let client = try rig.client(bench)
      let (sectors, offset) = Self.place(rig)
      let touching = {
        try fault.requests.count {
          $0.kind == (isRead ? .read : .write) && $0.offset <= offset && $0.offset + $0.bytes > offset
        }
      }
      for retries in [times, times - 1] {
        try fault.setFaults([isRead ? .read(sectors, times: times) : .write(sectors, times: times)])
        let before = try touching()
        let notification = try copyAndWait(client, from: from, to: [to], options: options(.drop, retries: retries))
        if retries == times {
          #expect(notification.isComplete && notification.progress.firstError == nil)
          #expect(try touching() - before == times + 1)
          let found = try isRead ? disk.contents() : fault.loop.contents()
          #expect(Pattern.difference(found, from: isRead ? bytes : pattern) == nil)
        } else {
          #expect(notification.progress.readError == isRead && notification.progress.writeErrors == (isRead ? 0 : 1))
          // When it is looked for it has gone: the whole transfer is what is known of its place.
          let error = TransferError(
            errno: EIO, step: isRead ? .read : .write, destination: isRead ? nil : 0, offset: UInt64(3 * Rig.subjob),
            length: UInt64(Rig.subjob))
          #expect(notification.progress.firstError == error)
          #expect(notification.progress.destinations[0].state == .failed)
        }
      }
    }
  }

  @Test("ignore: an error that goes away while it is looked for leaves no bit", arguments: Rig.few)
  func passingErrors(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let destination = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      try source.setFaults([.read(Self.place(rig, subJob: 1).sectors, times: 1)])
      try destination.setFaults([.write(Self.place(rig, subJob: 2).sectors, times: 1)])
      let client = try rig.client(bench)
      let notification = try copyAndWait(
        client, from: Region(try bench.open(source.path, .reading)), to: [Region(try bench.open(destination.path))],
        options: options(.ignore))
      #expect(notification.isComplete && notification.progress.firstError == nil)
      #expect(notification.progress.destinations[0].state == .done && notification.maps[0].isComplete(durable: true))
      #expect(Pattern.difference(try destination.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("Whoever keeps how far a copy is hears of a destination that failed while the others go on", arguments: transports, [true, false])
  func failureIsTold(_ transport: Client.Transport, flushes: Bool) throws {
    try withWorkbench { bench in
      let (source, _) = try bench.filledLoop(size: Self.size, sectorSize: 512, seed: 1)
      let (bad, slow) = (try bench.faultDevice(size: Self.size), try bench.faultDevice(size: Self.size))
      try bad.setFaults([.write(0...0)])
      let client = try bench.client(transport, subjob: Rig.subjob)
      let notified = Notified()
      let told = Semaphore()
      var options = CopyOptions()
      options.flushes = flushes
      let (from, to) = (Region(try bench.open(source.path, .reading)), try [bad, slow].map { Region(try bench.open($0.path)) })
      try slow.holding(.write) {
        let copy = try client.copy(from: from, to: to, options: options, checkpointed: { told.signal() }, notify: notified.handler)
        #expect(told.wait(until: kcs_monotonic() + 30_000_000_000))
        #expect(copy.progress.destinations.map(\.state) == [.failed, .running] && copy.progress.writeErrors == 0b01)
        #expect(notified.all.isEmpty)
      }
      #expect(try notified.wait()[0].progress.destinations.map(\.state) == [.failed, .done])
    }
  }

  @Test("Paused by its user nothing starts; resumed it goes on where it was", arguments: transports)
  func userPause(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: 512, seed: 1)
      let fault = try bench.faultDevice(size: Self.size)
      let (from, to) = (Region(try bench.open(source.path, .reading)), Region(try bench.open(fault.path)))
      let client = try bench.client(transport, subjob: Rig.subjob, slots: 1)
      let notified = Notified()
      let copy = try fault.holding(.write) {
        let copy = try client.copy(from: from, to: [to], notify: notified.handler)
        try fault.awaitRequest(.write)
        copy.pause()
        try eventually("the pause is taken") { copy.progress.pause == .user }
        return copy
      }
      try eventually("what was in flight has ended") { client.pagesFree == client.configuration.pages }
      let writes = try fault.count(.write)
      pause(.milliseconds(50))
      #expect(try fault.count(.write) == writes && writes == 1 && notified.all.isEmpty)
      #expect(copy.progress.destinations[0].bytesDone == Rig.subjob)
      copy.resume()
      #expect(try notified.wait()[0].isComplete)
      #expect(client.bytesRead == Self.size, "nothing is read twice")
      #expect(Pattern.difference(try fault.loop.contents(), from: bytes) == nil)
    }
  }
}
