import KCopy
import Testing

/// Each destination at its own pace, by virtual time.
@Suite("Slow and hung destinations, on simulated devices")
struct SimulatedPaceTests {
  static let count: UInt64 = 8 << 20
  static let even = DeviceSpec.paced(.init(latency: 8 * Span.millisecond...12 * Span.millisecond, perKiB: 1000))

  private func scenario(_ last: DeviceSpec, pages: Int = 256, change: (inout CopyOptions) -> Void = { _ in }) -> Scenario {
    Scenario(Self.count, from: Self.even, to: Self.even, Self.even, last, slots: 4, pages: pages, change: change)
  }

  /// When the first two destinations had everything, where nobody is slow.
  private func timeWithoutTheSlow() throws -> UInt64 {
    try Scenario(Self.count, from: Self.even, to: Self.even, Self.even, slots: 4).run().copies[0].destinations.map(\.lastMovedAt).max() ?? 0
  }

  @Test("With one destination slow the others are as fast as without it, and it comes to its end too", arguments: [128, 256])
  func slow(_ pages: Int) throws {
    let alone = try timeWithoutTheSlow()
    let outcome = try scenario(.paced(.slow), pages: pages).run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && outcome.pagesPeak <= pages)
    let others = max(copy.destinations[0].lastMovedAt, copy.destinations[1].lastMovedAt)
    #expect(others <= alone + alone / 10 + 250 * Span.millisecond, "\(others) ns, and \(alone) without the slow one")
    #expect(copy.destinations[2].lastMovedAt > others + others / 2, "it was to be slow")
    #expect(copy.source.bytes > Self.count, "it catches up by reads of its own")
  }

  @Test("With one destination hung the others are as fast as without it, as long as there are pages", arguments: [64, 128, 256])
  func hung(_ pages: Int) throws {
    let alone = try timeWithoutTheSlow()
    // Of few pages the one that hangs has most when that is noticed: the others go on with what is left.
    let most = pages < 256 ? 8 * alone : alone + alone / 10 + 250 * Span.millisecond
    var hung = Self.even
    let end = SimulatedWorld.start + 100 * Span.second
    hung.hangs = [.init(kind: .writes, from: SimulatedWorld.start + 50 * Span.millisecond, until: end)]
    let outcome = try scenario(hung, pages: pages).run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && outcome.pagesPeak <= pages)
    let others = max(copy.destinations[0].lastMovedAt, copy.destinations[1].lastMovedAt)
    #expect(others <= most, "\(others) ns, and \(alone) without the hung one")
  }

  @Test("Of two that hang, the one that answers again doesn't wait for the other", arguments: [1, 4])
  func twoHung(_ slots: Int) throws {
    func hanging(_ milliseconds: ClosedRange<UInt64>) -> DeviceSpec {
      let times = (milliseconds.lowerBound * Span.millisecond, milliseconds.upperBound * Span.millisecond)
      return .with { $0.hangs = [.init(kind: .writes, from: SimulatedWorld.start + times.0, until: SimulatedWorld.start + times.1)] }
    }
    // The second one hangs a piece later: when the first is there, both lack the same.
    let outcome = try Scenario(1 << 20, to: DeviceSpec(), hanging(0...10_000), hanging(100...100_000), slots: slots).run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && copy.destinations[0].lastMovedAt < Span.second)
    #expect(copy.destinations[1].lastMovedAt < 12 * Span.second, "\(copy.destinations[1].lastMovedAt) ns")
  }

  @Test("A destination whose flush hangs doesn't keep the others from being durable")
  func hungFlush() throws {
    var hung = Self.even
    hung.hangs = [.init(kind: .flushes, from: 0, until: SimulatedWorld.start + 100 * Span.second)]
    let outcome = try scenario(hung).run()
    #expect(outcome.copies[0].notification.isComplete && outcome.copies[0].notifiedAt >= 100 * Span.second)
    #expect(outcome.devices[1].flushes == [0])
  }

  @Test("A copy is as fast as ever while another one of the client waits for a device that hangs")
  func otherCopy() throws {
    let alone = try timeWithoutTheSlow()
    var hung = DeviceSpec()
    hung.hangs = [.init(kind: .writes, from: 0, until: SimulatedWorld.start + 100 * Span.second)]
    var scenario = scenario(hung)
    scenario.copies[0].destinations.removeLast()
    let last = scenario.copies[0].destinations[0].start
    // Many times the pages, to the device that hangs alone, and given first.
    var stuck = Scenario.CopySpec(source: .init(device: 0, start: 9 << 20), destinations: [.init(device: 3, start: last)], count: 4 << 20)
    stuck.options.priority = 0
    scenario.devices[0].size = 14 << 20
    scenario.copies.insert(stuck, at: 0)
    scenario.copies[1].at = Span.millisecond
    let outcome = try scenario.run()
    let others = outcome.copies[1].destinations.map(\.lastMovedAt).max() ?? 0
    #expect(outcome.copies.allSatisfy { $0.notification.isComplete })
    #expect(others <= 2 * alone + 250 * Span.millisecond, "\(others) ns, and \(alone) alone")
  }

  @Test("Who is a little slower than the others costs no second read of the source")
  func even() throws {
    var slower = Self.even
    slower.pace.latency = 10 * Span.millisecond...14 * Span.millisecond
    let copy = try scenario(slower).run().copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count)
  }

  @Test("A cancel is taken at once, with a hung device too, and final only when nothing is in flight any more")
  func cancel() throws {
    var hung = Self.even
    let release = 90 * Span.second
    hung.hangs = [.init(from: SimulatedWorld.start + 50 * Span.millisecond, until: SimulatedWorld.start + release)]
    var scenario = scenario(hung)
    scenario.script = [(60 * Span.millisecond, .cancel(0))]
    let copy = try scenario.run().copies[0]
    #expect(copy.notification.wasCancelled && copy.notifiedAt >= release && copy.notifiedAt < release + 20 * Span.millisecond)
    #expect(([copy.source] + copy.destinations).allSatisfy { $0.lastBegunAt <= 60 * Span.millisecond })
    #expect(copy.progress.destinations.map(\.state) == [.cancelled, .cancelled, .cancelled])
  }
}
