import Glibc
import KCopy
import Testing

/// A copy that stops, and another one that goes on where it was, by virtual time.
@Suite("Suspensions, on simulated devices")
struct SimulatedSuspensionTests {
  static let count: UInt64 = 1 << 20

  /// A copy of ten seconds that is suspended at a moment, and one that goes on with it.
  private func scenario(
    _ milliseconds: UInt64, from source: DeviceSpec = DeviceSpec(), to destination: DeviceSpec = DeviceSpec(),
    _ other: DeviceSpec = DeviceSpec(), change: (inout CopyOptions) -> Void = { _ in }
  ) -> Scenario {
    var scenario = SimulatedCheckpointTests.scenario(10, from: source, to: destination, other, change: change)
    scenario.copies[0].takesCheckpoints = false
    var next = scenario.copies[0]
    next.resumes = 0
    scenario.copies.append(next)
    scenario.script = [(milliseconds * Span.millisecond, .suspend(0))]
    return scenario
  }

  @Test("What it has written is flushed, its destinations stay as they are, and another copy reads and writes only the rest")
  func goesOn() throws {
    let outcome = try scenario(5000).run()
    let (first, second) = (outcome.copies[0], outcome.copies[1])
    #expect(first.notification.wasSuspended && !first.notification.wasCancelled && !first.notification.isComplete)
    #expect(first.notifiedAt < 5100 * Span.millisecond)
    #expect(first.progress.destinations.map(\.state) == [.running, .running] && first.progress.phase == .none)
    #expect(first.progress.firstError == nil && first.progress.writeErrors == 0 && !first.progress.readError)
    for (index, map) in first.notification.maps.enumerated() {
      #expect(map.bytes(.durable) == first.destinations[index].bytes && map.bytes(.durable) > Self.count / 3 && map.bytes(.written) == 0)
    }
    #expect(first.progress.bytesDurable == first.destinations[0].bytes)
    #expect(second.notification.isComplete && first.source.bytes + second.source.bytes == Self.count)
    #expect(first.destinations[0].bytes + second.destinations[0].bytes == Self.count)
    #expect(outcome.devices.map(\.flushes.count) == [0, 2, 2])
  }

  @Test("Writes in flight end and count; reads in flight are not written")
  func inFlight() throws {
    let slow = DeviceSpec.Pace(latency: 900 * Span.millisecond...950 * Span.millisecond, perKiB: 0)
    let writing = try scenario(500, to: .paced(slow)) { $0.rate = nil }.run()
    #expect(writing.copies[0].progress.destinations[0].bytesDurable == 4 * 16384, "four slots")
    #expect(writing.copies[1].notification.isComplete && writing.copies[1].source.bytes == Self.count - 4 * 16384)
    let reading = try scenario(500, from: .paced(slow)) { $0.rate = nil }.run()
    #expect(reading.copies[0].source.bytes == 4 * 16384 && reading.copies[0].destinations.allSatisfy { $0.transfers == 0 })
    #expect(reading.copies[1].notification.isComplete && reading.copies[1].source.bytes == Self.count)
  }

  @Test("A copy that hasn't begun is suspended at once, as queued, with the maps that it came with")
  func queued() throws {
    var scenario = scenario(500)
    scenario.copies.removeLast()
    // It waits for pages that another one's hung write has.
    scenario.configuration.pages = 4
    scenario.configuration.slots = 1
    scenario.devices[1].hangs = [.init(kind: .writes, from: SimulatedWorld.start, until: SimulatedWorld.start + 20 * Span.second)]
    scenario.addCopy {
      $0.at = 100 * Span.millisecond
      $0.maps = [RangeMap(count: Self.count), RangeMap(count: Self.count)]
      $0.maps[1].set(0..<65536, .durable)
    }
    scenario.script = [(500 * Span.millisecond, .suspend(1))]
    let outcome = try scenario.run()
    let copy = outcome.copies[1]
    #expect(copy.notification.wasSuspended && copy.progress.startedAt == 0 && copy.notifiedAt < 501 * Span.millisecond)
    #expect(copy.progress.destinations.map(\.state) == [.queued, .queued] && copy.progress.destinations[1].bytesDurable == 65536)
    #expect(copy.notification.maps.map(\.text) == ["missing 0-1048576", "durable 0-65536, missing 65536-1048576"])
    #expect(outcome.copies[0].notification.isComplete)
  }

  @Test("A paused copy is suspended at once, flushed too; where an error paused it, nothing is said of that, and it is tried again")
  func paused() throws {
    var byUser = scenario(60_000)
    byUser.script.append((5000 * Span.millisecond, .pause(0)))
    let first = try byUser.run().copies[0]
    #expect(first.notification.wasSuspended && first.progress.pause == nil && first.notifiedAt < 60_010 * Span.millisecond)
    #expect(first.progress.bytesDurable > Self.count / 3 && first.progress.bytesDurable == first.source.bytes)
    let byError = try scenario(60_000, to: .bad(300_032, times: 40)) { $0.errors = .pause }.run()
    #expect(byError.copies[0].notification.wasSuspended && byError.copies[0].progress.firstError == nil)
    #expect(byError.copies[0].progress.writeErrors == 0 && byError.copies[0].progress.destinations[0].bytesFailed == 0)
    #expect(byError.copies[1].notification.isComplete)
  }

  @Test("A flush that fails while it is suspended fails nobody: its bytes are missing, and written again by the next copy")
  func flushFails() throws {
    let outcome = try scenario(5000, to: .with { $0.failingFlushes = 0..<1 }).run()
    let (first, second) = (outcome.copies[0], outcome.copies[1])
    #expect(first.notification.wasSuspended && first.progress.writeErrors == 0 && first.progress.firstError == nil)
    #expect(first.progress.destinations.map(\.state) == [.running, .running])
    #expect(first.notification.maps[0].text == "missing 0-1048576" && first.notification.maps[1].bytes(.durable) > Self.count / 3)
    #expect(second.notification.isComplete && second.destinations[0].bytes == Self.count)
    #expect(outcome.devices[1].flushes == [EIO, 0], "it isn't tried again")
  }

  @Test("A write that fails while it is suspended fails nobody either", arguments: CopyOptions.ErrorMode.allCases)
  func writeFails(_ mode: CopyOptions.ErrorMode) throws {
    let slow = DeviceSpec.with {
      $0.pace = .init(latency: 900 * Span.millisecond...950 * Span.millisecond, perKiB: 0)
      $0.faults = [.init(kind: .write, range: 4096..<8192, remaining: 1)]
    }
    let outcome = try scenario(500, to: slow) {
      $0.rate = nil
      $0.errors = mode
    }.run()
    let first = outcome.copies[0]
    #expect(first.notification.wasSuspended && first.progress.writeErrors == 0 && first.progress.destinations[0].error == nil)
    #expect(first.notification.maps[0].text == "missing 0-16384, durable 16384-65536, missing 65536-1048576")
    #expect(outcome.copies[1].notification.isComplete)
  }

  @Test("What had failed before stays failed, with its bit; the others are suspended")
  func bits() throws {
    let outcome = try scenario(5000, to: .bad(0)).run()
    let first = outcome.copies[0]
    #expect(first.notification.wasSuspended && first.progress.writeErrors == 0b01 && first.progress.firstError?.step == .write)
    #expect(first.progress.destinations.map(\.state) == [.failed, .running])
    let ignoring = try scenario(5000, to: .bad(0)) { $0.errors = .ignore }.run().copies[0]
    #expect(ignoring.notification.wasSuspended && ignoring.progress.writeErrors == 0b01)
    #expect(ignoring.notification.maps[0].bytes(.failed) == 512 && ignoring.progress.destinations[0].bytesDurable > Self.count / 3)
  }

  @Test("A copy that turns out to be complete, or that an error has ended, is notified as ever")
  func tooLate() throws {
    // In its last flush; with its last writes in flight; after a read error, while a write is in flight.
    let flushing = try scenario(10_100, to: SimulatedCheckpointTests.flushing(2000)).run()
    #expect(flushing.copies.count == 1 && flushing.copies[0].notification.isComplete && !flushing.copies[0].notification.wasSuspended)
    var writing = scenario(500, to: .paced(.init(latency: 900 * Span.millisecond...950 * Span.millisecond, perKiB: 0))) { $0.rate = nil }
    writing.configuration.slots = 64
    writing.configuration.pages = 1024
    let whole = try writing.run()
    #expect(whole.copies.count == 1 && whole.copies[0].notification.isComplete && !whole.copies[0].notification.wasSuspended)
    #expect(whole.copies[0].progress.destinations.map(\.state) == [.done, .done])
    let slow = DeviceSpec.paced(.init(latency: 900 * Span.millisecond...950 * Span.millisecond, perKiB: 0))
    let failed = try scenario(500, from: .bad(16384), to: slow) { $0.rate = nil }.run()
    #expect(failed.copies.count == 1 && failed.copies[0].progress.readError && !failed.copies[0].notification.wasSuspended)
    #expect(failed.copies[0].progress.destinations.map(\.state) == [.failed, .failed])
  }

  @Test("A cancel after it makes it a cancel")
  func cancelled() throws {
    var scenario = scenario(5000, to: SimulatedCheckpointTests.flushing(2000))
    scenario.script.append((6000 * Span.millisecond, .cancel(0)))
    let outcome = try scenario.run()
    let copy = outcome.copies[0]
    #expect(outcome.copies.count == 1 && copy.notification.wasCancelled && !copy.notification.wasSuspended)
    #expect(copy.progress.destinations.map(\.state) == [.cancelled, .cancelled] && copy.notifiedAt / Span.second == 7)
  }

  @Test("Pauses, resumes and another suspension after it change nothing")
  func after() throws {
    var scenario = scenario(5000, to: SimulatedCheckpointTests.flushing(2000))
    for (index, action) in [Scenario.Action.pause(0), .resume(0), .suspend(0)].enumerated() {
      scenario.script.append((5500 * Span.millisecond + UInt64(index) * 100 * Span.millisecond, action))
    }
    let outcome = try scenario.run()
    #expect(outcome.copies[0].notification.wasSuspended && outcome.copies[0].notifiedAt / Span.second == 7)
    #expect(outcome.copies[1].notification.isComplete)
  }

  @Test("A source or a destination that hangs keeps the notification, and no other destination from being flushed", arguments: [0, 2])
  func hung(_ device: Int) throws {
    var scenario = scenario(5000)
    let hang = DeviceSpec.Hang(from: SimulatedWorld.start + 4 * Span.second, until: SimulatedWorld.start + 90 * Span.second)
    scenario.devices[device].hangs = [hang]
    let outcome = try scenario.run()
    #expect(outcome.copies[0].notification.wasSuspended && outcome.copies[0].notifiedAt >= 90 * Span.second)
    #expect(outcome.devices[1].flushTimes[0] < 5010 * Span.millisecond)
    #expect(outcome.copies[1].notification.isComplete)
  }

  @Test("A checkpoint that is in flight is waited for, and what came after it is flushed once more")
  func inCheckpoint() throws {
    var scenario = scenario(1500, to: SimulatedCheckpointTests.flushing(2000))
    scenario.copies[0].takesCheckpoints = true
    let outcome = try scenario.run()
    let first = outcome.copies[0]
    #expect(first.notification.wasSuspended && first.notifiedAt / Span.second == 5)
    #expect(first.progress.destinations[0].bytesDurable == first.destinations[0].bytes)
    #expect(outcome.copies[1].notification.isComplete && outcome.copies[1].source.bytes == Self.count - first.source.bytes)
  }

  @Test("Without flushes none is made: the map says what was written, and the next copy begins anew")
  func withoutFlushes() throws {
    let outcome = try scenario(5000) { $0.flushes = false }.run()
    #expect(outcome.copies[0].notification.wasSuspended && outcome.devices.allSatisfy { $0.flushes.isEmpty })
    #expect(outcome.copies[0].notification.maps[0].bytes(.written) == outcome.copies[0].destinations[0].bytes)
    #expect(outcome.copies[1].notification.isComplete && outcome.copies[1].source.bytes == Self.count)
  }

  @Test("In order, what waits in line behind a write is not written any more")
  func sequential() throws {
    let slow = DeviceSpec.paced(.init(latency: 900 * Span.millisecond...950 * Span.millisecond, perKiB: 0))
    let outcome = try scenario(500, to: slow) {
      $0.rate = nil
      $0.order = .sequential
    }.run()
    #expect(outcome.copies[0].notification.maps[0].text == "durable 0-16384, missing 16384-1048576")
    #expect(outcome.copies[1].notification.isComplete)
  }
}
