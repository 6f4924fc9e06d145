import Glibc
import KCopy
import Testing

/// Flushes in the middle of a copy, by virtual time.
@Suite("Checkpoints, on simulated devices")
struct SimulatedCheckpointTests {
  static let count: UInt64 = 1 << 20

  /// A copy with checkpoints that takes so many seconds, by its rate.
  static func scenario(
    _ seconds: UInt64, from source: DeviceSpec = DeviceSpec(), to destinations: DeviceSpec...,
    change: (inout CopyOptions) -> Void = { _ in }
  ) -> Scenario {
    var scenario = Scenario(count, from: source, to: destinations[0], subjob: 16384)
    for (index, device) in destinations.enumerated().dropFirst() {
      scenario.devices.append(device)
      scenario.devices[index + 1].size = count + 8192
      scenario.devices[index + 1].patternOffset = (index + 1) << 20
      scenario.copies[0].destinations.append(.init(device: index + 1, start: 4096))
    }
    scenario.copies[0].takesCheckpoints = true
    scenario.copies[0].options.rate = count / seconds
    change(&scenario.copies[0].options)
    return scenario
  }

  static func flushing(_ milliseconds: UInt64, change: (inout DeviceSpec) -> Void = { _ in }) -> DeviceSpec {
    .with {
      $0.flushLatency = milliseconds * Span.millisecond...milliseconds * Span.millisecond
      change(&$0)
    }
  }

  static func moment(_ milliseconds: UInt64) -> UInt64 { SimulatedWorld.start + milliseconds * Span.millisecond }

  @Test(
    "The first comes a second after the beginning, the next after 50 times what the last took, from 1 s to 60 s; the source is read once",
    arguments: [(1, 1000), (20, 1000), (100, 5000), (1000, 50_000), (3000, 60_000)] as [(UInt64, UInt64)])
  func schedule(_ took: UInt64, _ spacing: UInt64) throws {
    let seconds: UInt64 = 200
    let outcome = try Self.scenario(seconds, to: Self.flushing(took)).run()
    let (copy, device) = (outcome.copies[0], outcome.devices[1])
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count && copy.destinations[0].bytes == Self.count)
    // The last one is that of the end.
    let wanted = 1 + (copy.destinations[0].lastMovedAt / Span.millisecond - 1000) / (took + spacing)
    #expect(copy.checkpoints.count == Int(wanted) && device.flushes.count == Int(wanted) + 1)
    for (number, begun) in device.flushTimes.dropLast().enumerated() {
      let due = (1000 + UInt64(number) * (took + spacing)) * Span.millisecond
      #expect(begun >= due && begun < due + 5 * Span.millisecond, "checkpoint \(number) at \(begun) ns, and not at \(due)")
    }
    for checkpoint in copy.checkpoints {
      #expect(checkpoint.progress.phase == .copy && checkpoint.progress.bytesDurable > 0)
    }
  }

  @Test("A copy that takes less than a second takes none, however slow its flush")
  func short() throws {
    var scenario = Self.scenario(1, to: Self.flushing(3000), Self.flushing(1))
    scenario.copies[0].options.rate = Self.count * 10 / 8
    let outcome = try scenario.run()
    #expect(outcome.copies[0].checkpoints.isEmpty && outcome.copies[0].notification.isComplete)
    #expect(outcome.devices.map(\.flushes.count) == [0, 1, 1])
  }

  @Test("Without a handler, or without flushes, a copy is flushed as often as ever", arguments: [false, true])
  func none(_ flushes: Bool) throws {
    var scenario = Self.scenario(10, to: DeviceSpec()) { $0.flushes = flushes }
    scenario.copies[0].takesCheckpoints = !flushes
    let outcome = try scenario.run()
    #expect(outcome.copies[0].checkpoints.isEmpty && outcome.copies[0].notification.isComplete)
    #expect(outcome.devices[1].flushes.count == (flushes ? 1 : 0))
  }

  @Test("What was written after a flush had begun isn't durable by it, and the copy goes on meanwhile")
  func covered() throws {
    let outcome = try Self.scenario(10, to: Self.flushing(2000)).run()
    let first = try #require(outcome.copies[0].checkpoints.first)
    let perSecond = Self.count / 10
    #expect(first.at / Span.second == 3)
    #expect(first.progress.bytesDurable <= perSecond * 11 / 10, "what was written in the first second")
    #expect(first.progress.bytesDone >= perSecond * 28 / 10, "and two seconds of the flush")
    #expect(first.maps[0].bytes(.durable) == first.progress.bytesDurable)
  }

  @Test("Destinations are flushed each by itself, and durable is what all of them have on the medium")
  func several() throws {
    let outcome = try Self.scenario(20, to: Self.flushing(1), Self.flushing(500), Self.flushing(1)).run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count)
    #expect(outcome.devices[1].flushes.count > 15 && outcome.devices[2].flushes.count == 2)
    for checkpoint in copy.checkpoints {
      #expect(checkpoint.progress.bytesDurable <= checkpoint.progress.destinations.map(\.bytesDurable).min() ?? 0)
    }
    #expect(copy.checkpoints.contains { $0.progress.bytesDurable > 0 })
  }

  @Test("A destination that nothing was written to isn't flushed; it is as soon as something is, and the others all the time")
  func nothingWritten() throws {
    let hung = DeviceSpec.with { $0.hangs = [.init(kind: .writes, from: SimulatedWorld.start, until: Self.moment(5500))] }
    let outcome = try Self.scenario(20, to: hung, DeviceSpec()).run()
    let first = try #require(outcome.devices[1].flushTimes.first)
    #expect(first >= 5500 * Span.millisecond && first < 5600 * Span.millisecond)
    #expect(outcome.devices[2].flushTimes[0] < 1100 * Span.millisecond && outcome.devices[2].flushes.count >= 19)
    #expect(outcome.copies[0].notification.isComplete)
  }

  @Test("A flush that hangs doesn't hold up the copying, also at a throttle; its destination ends by another one", arguments: [100, 50])
  func hung(_ throttle: Int) throws {
    let hung = DeviceSpec.with { $0.hangs = [.init(kind: .flushes, from: SimulatedWorld.start, until: Self.moment(100_000))] }
    var scenario = Self.scenario(5, to: hung, DeviceSpec())
    scenario.configuration.throttle = throttle
    let outcome = try scenario.run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count && copy.notifiedAt >= 100 * Span.second)
    #expect(copy.destinations.allSatisfy { $0.lastMovedAt < 6 * Span.second })
    #expect(outcome.devices[1].flushes == [0, 0] && outcome.devices[2].flushes.count >= 5)
    #expect(copy.checkpoints.contains { $0.progress.destinations[1].state == .done && $0.progress.destinations[0].bytesDurable == 0 })
  }

  @Test("Who has everything durable from an earlier attempt isn't flushed again where there are checkpoints", arguments: [true, false])
  func allDurable(_ takesCheckpoints: Bool) throws {
    var scenario = Self.scenario(5, to: DeviceSpec(), DeviceSpec())
    scenario.copies[0].takesCheckpoints = takesCheckpoints
    scenario.copies[0].maps = [RangeMap(count: Self.count, status: .durable), RangeMap(count: Self.count)]
    let outcome = try scenario.run()
    #expect(outcome.copies[0].progress.destinations.map(\.state) == [.done, .done])
    #expect(outcome.devices[1].flushes.count == (takesCheckpoints ? 0 : 1))
  }

  @Test("Who lacks less than a block, beside somebody who lacks what is around it, gets that too")
  func lessThanABlock() throws {
    var scenario = Self.scenario(5, to: DeviceSpec(), DeviceSpec())
    scenario.devices[0].logicalBlock = 4096
    // Whole blocks are read, which the judge of what is clean doesn't know.
    scenario.devices[0].pace = .medium
    scenario.copies[0].maps = [RangeMap(count: Self.count, status: .durable), RangeMap(count: Self.count, status: .durable)]
    scenario.copies[0].maps[0].set(32768..<61440, .missing)
    scenario.copies[0].maps[0].set(61440..<63488, .missing)
    scenario.copies[0].maps[1].set(63488..<64000, .missing)
    let outcome = try scenario.run()
    #expect(outcome.copies[0].notification.isComplete)
  }

  // MARK: Flushes that fail

  @Test("One that fails costs its destination all that isn't durable: it is read and written again, and nobody else's is")
  func failsOnce() throws {
    let failing = Self.flushing(500) { $0.failingFlushes = 0..<1 }
    let outcome = try Self.scenario(10, to: failing, DeviceSpec()).run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && copy.progress.bytesDurable == Self.count)
    let again = copy.destinations[0].bytes - Self.count
    #expect(again >= Self.count * 14 / 100 && again <= Self.count * 17 / 100, "\(again) bytes: what was written in 1.5 s")
    #expect(copy.destinations[1].bytes == Self.count && copy.source.bytes == Self.count + again)
    #expect(outcome.devices[1].flushes.first == EIO && outcome.devices[1].flushes.dropFirst().allSatisfy { $0 == 0 })
  }

  @Test("What is being written when a flush fails is written again too: the device may have lost it before it said so", arguments: [1, 4])
  func inFlight(_ slots: Int) throws {
    let failing = Self.flushing(500) {
      $0.pace = .init(latency: 900 * Span.millisecond...950 * Span.millisecond, perKiB: 0)
      $0.failingFlushes = 0..<1
      $0.losesAllByFlush = true
    }
    var scenario = Self.scenario(1, to: failing)
    scenario.configuration.slots = slots
    let copy = try scenario.run().copies[0]
    #expect(copy.notification.isComplete)
    #expect(copy.destinations[0].bytes >= Self.count + UInt64((1 + slots) * 16384), "what was flushed in vain, and what was in flight")
  }

  @Test("What others still wait for is lost by a flush that fails as all the rest")
  func heldBack() throws {
    let failing = Self.flushing(500) {
      $0.failingFlushes = 0..<1
      $0.losesAllByFlush = true
    }
    let slow = DeviceSpec.paced(.init(latency: 120 * Span.millisecond...180 * Span.millisecond, perKiB: 0))
    let copy = try Self.scenario(3, to: failing, slow).run().copies[0]
    #expect(copy.notification.isComplete && copy.destinations[0].bytes > Self.count && copy.destinations[1].bytes == Self.count)
  }

  @Test("What is durable and has to be written once more, with the rest of its block, doesn't count as durable meanwhile")
  func writtenOnceMore() throws {
    // The first destination knows what it has by 512 bytes, and the second one has to be written by 4096.
    var bad = DeviceSpec.bad(100_352 + 512, kind: .write, times: 40)
    bad.pace = .init(latency: 20 * Span.millisecond...30 * Span.millisecond, perKiB: 0)
    bad.flushLatency = Span.millisecond...Span.millisecond
    var scenario = Self.scenario(5, to: bad, .with(block: 4096) { _ in }) { $0.errors = .pause }
    scenario.script = [(2 * Span.second, .heal(1)), (2 * Span.second, .resume(0))]
    for number in 0..<2000 { scenario.script.append((UInt64(number) * 5 * Span.millisecond, .inspect)) }
    let outcome = try scenario.run()
    #expect(outcome.copies[0].notification.isComplete && outcome.copies[0].destinations[0].bytes > Self.count)
  }

  @Test("Zeroes that the device makes by itself are flushed, and lost, as what is written")
  func zeroes() throws {
    let failing = Self.flushing(100) {
      $0.zeroing = .works
      $0.failingFlushes = 0..<1
      $0.losesAllByFlush = true
    }
    var scenario = Self.scenario(10, to: failing)
    scenario.copies[0].source = nil
    let outcome = try scenario.run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && !copy.checkpoints.isEmpty && copy.destinations[0].bytes > Self.count)
    #expect(outcome.devices[1].zeroings > 0 && outcome.devices[1].flushes.first == EIO)
  }

  @Test(
    "One that fails for ever is a write error after as many rounds as there are retries, at the pace of checkpoints", arguments: [0, 1, 3])
  func failsForEver(_ retries: Int) throws {
    let failing = DeviceSpec.with { $0.failingFlushes = 0..<Int.max }
    let outcome = try Self.scenario(20, to: failing, DeviceSpec()) { $0.retries = retries }.run()
    let copy = outcome.copies[0]
    #expect(copy.progress.destinations.map(\.state) == [.failed, .done] && copy.progress.writeErrors == 0b01)
    #expect(copy.progress.firstError == TransferError(errno: EIO, step: .flush, destination: 0, offset: 4096, length: Self.count))
    #expect(outcome.devices[1].flushes.count == max(1, retries) + 1 && copy.progress.destinations[0].bytesDurable == 0)
    #expect(copy.source.bytes == Self.count && copy.destinations[1].bytes == Self.count)
  }

  @Test("Rounds are counted from the last flush that succeeded: two that failed hours apart are each one", arguments: [0, 1])
  func countsAnew(_ retries: Int) throws {
    var scenario = Self.scenario(10, to: .with { $0.failingFlushes = 0..<1 }) { $0.retries = retries }
    scenario.addCopy {
      $0.takesCheckpoints = false
      $0.options.rate = nil
      $0.at = 5 * Span.second
    }
    // The second copy's flush fails as well, and so does what the first has written before that.
    scenario.script = [(4900 * Span.millisecond, .breakFlushes(1, 1))]
    let outcome = try scenario.run()
    #expect(outcome.copies.allSatisfy { $0.notification.isComplete } && outcome.devices[1].flushes.count { $0 != 0 } == 2)
  }

  @Test("With stop one that fails for ever ends the copy; with pause it pauses, and goes on to its end when it is resumed")
  func modes() throws {
    let failing = DeviceSpec.with { $0.failingFlushes = 0..<Int.max }
    let stopped = try Self.scenario(20, to: failing, DeviceSpec()) { $0.errors = .stop }.run().copies[0]
    #expect(stopped.progress.writeErrors == 0b01 && stopped.progress.destinations.map(\.state) == [.failed, .failed])
    #expect(stopped.notifiedAt < 3 * Span.second && stopped.source.bytes < Self.count / 5)
    let paused = try Self.scenario(20, to: failing, DeviceSpec()) { $0.errors = .pause }.run().copies[0]
    #expect(paused.notification.isComplete && paused.progress.bytesDurable == Self.count)
  }

  @Test("A copy that wrote before another's flush of the device failed has no checkpoint of that: it is written again")
  func missed() throws {
    var scenario = Self.scenario(10, to: .with { $0.failingFlushes = 1..<2 })
    scenario.addCopy {
      $0.takesCheckpoints = false
      $0.options.rate = nil
      $0.at = 1500 * Span.millisecond
    }
    let outcome = try scenario.run()
    #expect(outcome.copies.allSatisfy { $0.notification.isComplete } && outcome.copies[1].destinations[0].bytes == 2 * Self.count)
    let again = outcome.copies[0].destinations[0].bytes - Self.count
    #expect(again > 0 && again <= Self.count / 10 * 12 / 10, "\(again) bytes: what was written since the first checkpoint")
    #expect(outcome.copies[0].checkpoints[0].at < 1100 * Span.millisecond && outcome.copies[0].checkpoints[1].at > 2900 * Span.millisecond)
  }

  // MARK: Pauses and cancels

  @Test("While a copy is paused none is taken, and after that they go on")
  func paused() throws {
    var scenario = Self.scenario(10, to: DeviceSpec())
    scenario.script = [(2500 * Span.millisecond, .pause(0)), (60 * Span.second, .resume(0))]
    let outcome = try scenario.run()
    #expect(outcome.copies[0].notification.isComplete && outcome.copies[0].source.bytes == Self.count)
    #expect(!outcome.devices[1].flushTimes.contains { (2500 * Span.millisecond..<60 * Span.second).contains($0) })
    #expect(outcome.devices[1].flushTimes.count { $0 >= 60 * Span.second } >= 7)
  }

  @Test("A cancel waits for the flush that is in flight and begins no other; what it covered is durable, and there is one notification")
  func cancelled() throws {
    var scenario = Self.scenario(10, to: Self.flushing(2000), DeviceSpec())
    scenario.script = [(1500 * Span.millisecond, .cancel(0))]
    let outcome = try scenario.run()
    let copy = outcome.copies[0]
    #expect(copy.notification.wasCancelled && copy.notifiedAt / Span.second == 3 && outcome.devices.map(\.flushes.count) == [0, 1, 1])
    #expect(copy.progress.destinations.map(\.state) == [.cancelled, .cancelled])
    #expect(copy.notification.maps[0].bytes(.durable) >= Self.count / 11 && copy.notification.maps[0].bytes(.written) > 0)
  }
}
