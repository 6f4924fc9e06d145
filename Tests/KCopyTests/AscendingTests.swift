import FaultKit
import KCopy
import Testing

@Suite("Ascending writes, as the device sees them")
struct AscendingTests {
  static let size = 1 << 20

  static let sequential: CopyOptions = {
    var options = CopyOptions()
    options.order = .sequential
    return options
  }()

  /// Checks that each write arrived when the one before it had been ended; returns their places.
  static func writes(_ events: ArraySlice<FaultDevice.Event>) -> [FaultDevice.Request] {
    var writes: [FaultDevice.Request] = []
    var isOpen = false
    for event in events {
      switch event {
      case .arrived(let request) where request.kind == .write:
        #expect(!isOpen, "a write at \(request.offset) while one is in flight")
        isOpen = true
        writes.append(request)
      case .ended(let request) where request.kind == .write: isOpen = false
      default: break
      }
    }
    return writes
  }

  @Test("Each write comes behind the one before it, after that was completed, at each of two destinations", arguments: Rig.all)
  func order(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledFaultDevice(size: Self.size, rig: rig, seed: 1)
      let faults = try (0..<2).map { _ in try bench.faultDevice(size: Self.size, logicalBlock: rig.block) }
      // One is slower than the other, and the source's reads overtake one another.
      try faults[1].setDelay(0.02)
      let client = try rig.client(bench, slots: 8)
      let notification = try copyAndWait(
        client, from: Region(try bench.open(source.path, .reading)), to: faults.map { Region(try bench.open($0.path)) },
        options: Self.sequential)
      #expect(notification.isComplete)
      for fault in faults {
        let writes = Self.writes(try fault.events[...])
        #expect(writes.map(\.offset) == (0..<Self.size / Rig.subjob).map { $0 * Rig.subjob })
        #expect(writes.allSatisfy { $0.bytes == Rig.subjob })
        #expect(Pattern.difference(try fault.loop.contents(), from: bytes) == nil)
      }
    }
  }

  @Test("After an error nothing is written behind the gap, but what was read goes to the other destination", arguments: Rig.all)
  func error(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let faults = try (0..<2).map { _ in try bench.faultDevice(size: Self.size, logicalBlock: rig.block) }
      let place = 5 * Rig.subjob + 2 * rig.block
      try faults[0].setFaults([.write(rig.sectors(place / rig.block))])
      let client = try rig.client(bench, slots: 8)
      let notification = try copyAndWait(
        client, from: Region(try bench.open(source.path, .reading)), to: faults.map { Region(try bench.open($0.path)) },
        options: Self.sequential)
      #expect(notification.progress.writeErrors == 0b01 && notification.progress.firstError?.offset == UInt64(place))
      #expect(notification.progress.destinations.map(\.state) == [.failed, .done])
      #expect(try faults[0].requests.filter { $0.kind == .write }.allSatisfy { $0.offset + $0.bytes <= 6 * Rig.subjob })
      #expect(Self.writes(try faults[1].events[...]).map(\.offset) == (0..<Self.size / Rig.subjob).map { $0 * Rig.subjob })
      #expect(Pattern.difference(try faults[1].loop.contents(), from: bytes) == nil)
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test("Resumed after a pause by an error, the writes go on ascending where it stopped", arguments: Rig.few)
  func paused(_ rig: Rig) throws {
    try withWorkbench { bench in
      let (source, bytes) = try bench.filledLoop(size: Self.size, sectorSize: rig.block, seed: 1)
      let fault = try bench.faultDevice(size: Self.size, logicalBlock: rig.block)
      let place = 5 * Rig.subjob + 2 * rig.block
      try fault.setFaults([.write(rig.sectors(place / rig.block))])
      let (from, to) = (Region(try bench.open(source.path, .reading)), Region(try bench.open(fault.path)))
      var options = Self.sequential
      options.errors = .pause
      let client = try rig.client(bench, slots: 8)
      let notified = Notified()
      let copy = try client.copy(from: from, to: [to], options: options, notify: notified.handler)
      try eventually("it is paused") { copy.progress.pause != nil && client.pagesFree == client.configuration.pages }
      #expect(try fault.requests.filter { $0.kind == .write }.allSatisfy { $0.offset + $0.bytes <= 6 * Rig.subjob })
      try fault.setFaults([])
      let before = try fault.events.count
      copy.resume()
      #expect(try notified.wait()[0].isComplete)
      let writes = Self.writes(try fault.events[before...])
      for (first, second) in zip(writes, writes.dropFirst()) { #expect(first.offset + first.bytes <= second.offset) }
      #expect((5 * Rig.subjob...place).contains(writes.first?.offset ?? -1))
      #expect(Pattern.difference(try fault.loop.contents(), from: bytes) == nil)
    }
  }
}
