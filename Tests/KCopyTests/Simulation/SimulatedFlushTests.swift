import Glibc
import KCopy
import Testing

@Suite("Flushes, on simulated devices")
struct SimulatedFlushTests {
  static let count: UInt64 = 128 << 10

  private func failing(_ flushes: Range<Int>) -> DeviceSpec { .with { $0.failingFlushes = flushes } }

  @Test("What a flush that failed covered is read and written again, and flushed: then it is durable")
  func once() throws {
    let outcome = try Scenario(Self.count, to: failing(0..<1), DeviceSpec()).run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && copy.progress.bytesDurable == Self.count)
    #expect(outcome.devices[1].flushes == [EIO, 0] && copy.destinations[0].bytes == 2 * Self.count)
    #expect(copy.destinations[1].bytes == Self.count && outcome.devices[2].flushes == [0])
  }

  @Test(
    "A flush that fails for ever is a write error of that destination, after as many rounds as there are retries", arguments: [0, 1, 3])
  func always(_ retries: Int) throws {
    let outcome = try Scenario(Self.count, to: failing(0..<Int.max), DeviceSpec()) { $0.retries = retries }.run()
    let progress = outcome.copies[0].progress
    #expect(progress.writeErrors == 0b01 && progress.destinations.map(\.state) == [.failed, .done])
    #expect(
      progress.firstError == TransferError(errno: EIO, step: .flush, destination: 0, offset: 4096, length: Self.count))
    #expect(progress.destinations[0].bytesDurable == 0)
    #expect(outcome.devices[1].flushes.count == max(1, retries) + 1)
  }

  @Test("Two copies on one device whose flush fails once both write again, and are both durable")
  func shared() throws {
    var scenario = Scenario(Self.count, to: failing(0..<1))
    scenario.addCopy()
    let outcome = try scenario.run()
    #expect(outcome.copies.allSatisfy { $0.notification.isComplete && $0.progress.bytesDurable == Self.count })
    #expect(outcome.copies.map { $0.destinations[0].bytes } == [2 * Self.count, 2 * Self.count])
  }

  @Test("A copy that wrote before another's flush of the device failed writes again too, although its own succeeds")
  func missed() throws {
    // The first copy's other destination keeps it from its flush until the second copy's has failed.
    var scenario = Scenario(
      Self.count, to: failing(0..<1), .with { $0.hangs = [.init(from: 0, until: SimulatedWorld.start + 20 * Span.millisecond)] })
    scenario.configuration.slots = 1
    scenario.configuration.subjob = Int(Self.count)
    scenario.addCopy {
      $0.destinations.removeLast()
      $0.at = 5 * Span.millisecond
    }
    let outcome = try scenario.run()
    #expect(outcome.copies.allSatisfy { $0.notification.isComplete })
    #expect(outcome.copies[0].destinations.map(\.bytes) == [2 * Self.count, Self.count])
  }

  @Test("Without flushes no flush is made, and nothing counts as durable")
  func none() throws {
    let outcome = try Scenario(Self.count, to: DeviceSpec(), DeviceSpec()) { $0.flushes = false }.run()
    #expect(outcome.devices.allSatisfy { $0.flushes.isEmpty })
    #expect(outcome.copies[0].notification.isComplete && outcome.copies[0].progress.bytesDurable == 0)
    #expect(outcome.copies[0].notification.maps.allSatisfy { $0.text == "written 0-131072" })
  }

  @Test("Copies that end while a flush is in flight ride one next flush")
  func train() throws {
    var scenario = Scenario(4096, to: .with { $0.flushLatency = 50 * Span.millisecond...50 * Span.millisecond })
    for _ in 0..<20 { scenario.addCopy() }
    let outcome = try scenario.run()
    #expect(outcome.copies.allSatisfy { $0.notification.isComplete })
    #expect(outcome.devices[1].flushes.count <= 3)
  }

  @Test("With pause a flush that fails for good is waited out as well")
  func pause() throws {
    let outcome = try Scenario(Self.count, to: failing(0..<Int.max)) { $0.errors = .pause }.run()
    #expect(outcome.copies[0].notification.isComplete && outcome.copies[0].progress.bytesDurable == Self.count)
  }
}
