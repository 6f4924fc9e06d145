import FaultKit
import Glibc
import KCopy
import Testing

/// Devices whose server was stopped: whatever is sent to them waits.
@Suite("Devices that hang, and slow ones")
struct HungDeviceTests {
  static let size = 2 << 20

  @Test(
    "The other destination is done while one hangs, within the pages; the hung one catches up by reads of its own", arguments: Rig.all)
  func oneDestination(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let from = Region(try bench.open(source.path, .reading))
      let to = try [fault.path, good.path].map { Region(try bench.open($0)) }
      let client = try rig.client(bench, slots: 4, pages: 128)
      let notified = Notified()
      let copy = try fault.frozen {
        let copy = try client.copy(from: from, to: to, notify: notified.handler)
        try eventually("the good one is done") { copy.progress.destinations[1].state == .done }
        let progress = copy.progress
        #expect(progress.destinations[1].bytesDurable == Self.size)
        #expect(progress.destinations[0].state == .running && progress.destinations[0].bytesDone == 0)
        #expect(notified.all.isEmpty)
        #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
        return copy
      }
      let notification = try notified.wait()[0]
      #expect(notification.isComplete && copy.progress.destinations.map(\.state) == [.done, .done])
      #expect(Pattern.difference(try fault.loop.contents(), from: bytes) == nil)
      #expect(client.pagesPeak <= 128 && client.pagesFree == 128)
      #expect(client.bytesWritten == 2 * Self.size, "nothing is written twice")
      // What the hung one had pages for was read once for both, the rest twice.
      #expect((2 * Self.size - 128 * 4096...2 * Self.size - Rig.subjob).contains(Int(client.bytesRead)), "\(client.bytesRead)")
    }
  }

  @Test("A client whose other copies all hang finishes one whose devices answer", arguments: Rig.few, [2, 20])
  func otherCopies(_ rig: Rig, _ hung: Int) throws {
    try withWorkbench { bench in
      let count = Self.size / 4
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let faults = try (0..<2).map { _ in try bench.faultDevice(size: 20 * count, logicalBlock: rig.block) }
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let from = try bench.open(source.path, .reading)
      let hungDevices = try faults.map { try bench.open($0.path) }
      let to = Region(try bench.open(good.path))
      let client = try rig.client(bench, slots: 8, pages: 128)
      let (slow, healthy) = (Notified(), Notified())
      try faults[0].frozen {
        try faults[1].frozen {
          for index in 0..<hung {
            let region = Region(hungDevices[index % 2], start: UInt64(index / 2 * count), count: UInt64(count))
            try client.copy(from: Region(from, start: 0, count: UInt64(count)), to: [region], notify: slow.handler)
          }
          try eventually("the hung ones have what they get") { client.pagesFree < 128 - 2 * 16 }
          try client.copy(from: Region(from), to: [to], notify: healthy.handler)
          #expect(try healthy.wait(within: 30)[0].isComplete)
          #expect(slow.all.isEmpty && client.pagesPeak <= 128)
          #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
        }
      }
      #expect(try slow.wait(hung).allSatisfy(\.isComplete))
      #expect(client.pagesFree == 128 && client.pagesPeak <= 128)
      for index in 0..<hung {
        let found = try faults[index % 2].loop.contents(index / 2 * count..<(index / 2 + 1) * count)
        #expect(Pattern.difference(found, from: Array(bytes[..<count])) == nil, "copy \(index)")
      }
    }
  }

  @Test(
    "A cancel is taken at once while a device hangs; the notification comes when it answers, and at once then", arguments: Rig.few,
    [true, false])
  func cancelled(_ rig: Rig, _ isSource: Bool) throws {
    try withWorkbench { bench in
      let (disk, _) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let from = Region(try bench.open(isSource ? fault.path : disk.path, .reading))
      let to = Region(try bench.open(isSource ? disk.path : fault.path))
      let client = try rig.client(bench, slots: 4)
      let notified = Notified()
      let written = try disk.counters.bytesWritten
      let requests = try fault.frozen {
        let copy = try client.copy(from: from, to: [to], notify: notified.handler)
        try eventually("its reads or its writes are in flight") {
          client.pagesFree == client.configuration.pages - 4 * 16 && client.bytesRead == (isSource ? 0 : 4 * Rig.subjob)
        }
        copy.cancel()
        try eventually(within: .seconds(5), "the cancel is taken") { copy.progress.phase == .cancelling }
        pause(.milliseconds(50))
        #expect(notified.all.isEmpty && copy.progress.destinations[0].state == .running)
        return try fault.requests.count
      }
      let notification = try notified.wait()[0]
      #expect(notification.wasCancelled && notification.progress.destinations[0].state == .cancelled)
      #expect(client.pagesFree == client.configuration.pages)
      client.destroy()
      let after = try fault.requests.dropFirst(requests)
      #expect(after.reduce(0) { $0 + $1.bytes } <= 4 * Rig.subjob, "nothing but what was in flight")
      if isSource { #expect(try disk.counters.bytesWritten == written, "nothing is written after it") }
    }
  }

  @Test("A source that hangs holds up no copy from another, and its own is done when it answers", arguments: Rig.few)
  func source(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (fault, bytes) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let (disk, others) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 2)
      let from = try [fault.path, disk.path].map { Region(try bench.open($0, .reading)) }
      let destinations = try (0..<2).map { _ in try bench.loop(size: Self.size, sectorSize: rig.block) }
      let to = try destinations.map { Region(try bench.open($0.path)) }
      let client = try rig.client(bench, slots: 8, pages: 128)
      let notified = Notified()
      try fault.frozen {
        let copy = try client.copy(from: from[0], to: [to[0]], notify: notified.handler)
        try eventually("it has what it gets") { client.pagesFree < 128 - 16 }
        for _ in 0..<3 { #expect(try copyAndWait(client, from: from[1], to: [to[1]]).isComplete) }
        #expect(notified.all.isEmpty && copy.progress.bytesDone == 0 && copy.progress.phase == .copy)
      }
      #expect(try notified.wait()[0].isComplete)
      #expect(Pattern.difference(try destinations[0].contents(), from: bytes) == nil)
      #expect(Pattern.difference(try destinations[1].contents(), from: others) == nil)
      #expect(client.pagesPeak <= 128 && client.pagesFree == 128)
    }
  }

  @Test("A flush that hangs holds up nobody but its destination", arguments: Rig.few)
  func hungFlush(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let good = try bench.loop(size: Self.size, sectorSize: rig.block)
      let from = Region(try bench.open(source.path, .reading))
      let hung = try bench.open(fault.path)
      let other = Region(try bench.open(good.path))
      let client = try rig.client(bench)
      let notified = Notified()
      try fault.holding(.flush) {
        let copy = try client.copy(from: from, to: [Region(hung), other], notify: notified.handler)
        try eventually("the good one is done, and the other written") {
          copy.progress.destinations[1].state == .done && copy.progress.destinations[0].bytesDone == Self.size
        }
        #expect(copy.progress.destinations[0].bytesDurable == 0 && client.pagesFree == client.configuration.pages)
        #expect(try copyAndWait(client, from: from, to: [other]).isComplete, "nor other copies")
        #expect(notified.all.isEmpty)
      }
      #expect(try notified.wait()[0].isComplete)
      #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
    }
  }

  @Test("A slow destination is far behind when the others are done, and done in the end", arguments: Rig.few)
  func slow(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      try fault.setDelay(0.3)
      let good = try (0..<2).map { _ in try bench.loop(size: Self.size, sectorSize: rig.block) }
      let from = Region(try bench.open(source.path, .reading))
      let to = try [good[0].path, fault.path, good[1].path].map { Region(try bench.open($0)) }
      let client = try rig.client(bench, slots: 2, pages: 64)
      let notified = Notified()
      let copy = try client.copy(from: from, to: to, notify: notified.handler)
      var seen = copy.progress
      try eventually("the quick ones are done") {
        seen = copy.progress
        return seen.destinations[0].state == .done && seen.destinations[2].state == .done
      }
      #expect(seen.destinations[1].bytesDone <= Self.size / 2, "\(seen.destinations[1].bytesDone) bytes of \(Self.size)")
      try fault.setDelay(0)
      #expect(try notified.wait()[0].isComplete)
      for disk in good + [fault.loop] { #expect(Pattern.difference(try disk.contents(), from: bytes) == nil) }
      #expect(client.pagesPeak <= 64 && client.pagesFree == 64 && client.bytesWritten == 3 * Self.size)
    }
  }
}
