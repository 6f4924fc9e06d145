import FaultKit
import Glibc
import KCopy
import Testing

@Suite("The digest of the source, on simulated devices")
struct SimulatedHashTests {
  static let count: UInt64 = 256 << 10

  private func hashing(
    _ destinations: DeviceSpec..., from source: DeviceSpec = DeviceSpec(), change: (inout CopyOptions) -> Void = { _ in }
  ) -> Scenario {
    Scenario(Self.count, from: source, toAll: destinations) {
      $0.hashes = true
      change(&$0)
    }
  }

  // That the digest is the right one the model of all scenarios looks at.

  @Test("Of one destination and of three the source is read once, and all of it is in the digest")
  func once() throws {
    for scenario in [hashing(DeviceSpec()), hashing(DeviceSpec(), DeviceSpec(), DeviceSpec())] {
      let copy = try scenario.run().copies[0]
      #expect(copy.notification.isComplete && copy.progress.digest?.count == 64 && copy.source.bytes == Self.count)
    }
  }

  @Test("A destination that is left behind reads for itself, and the digest waits for nobody")
  func slow() throws {
    let copy = try hashing(DeviceSpec(), .paced(.verySlow)).run().copies[0]
    #expect(copy.notification.isComplete && copy.progress.digest != nil)
  }

  @Test("What no destination lacks is read for the digest alone, and nothing twice")
  func resumed() throws {
    for ranges in [[0..<Self.count], [0..<65536], [131072..<Self.count], [4096..<8192, 65536..<131072]] as [[Range<UInt64>]] {
      var scenario = hashing(DeviceSpec())
      var map = RangeMap(count: Self.count)
      for range in ranges { map.set(range, .durable) }
      scenario.copies[0].maps = [map]
      let copy = try scenario.run().copies[0]
      #expect(copy.notification.isComplete && copy.progress.digest != nil && copy.source.bytes == Self.count)
      #expect(copy.destinations[0].bytes == map.bytes(.missing))
    }
  }

  @Test("A read that fails and is tried again, or waited out, is in the digest once")
  func retries() throws {
    let again = try hashing(DeviceSpec(), from: .bad(70_144, kind: .read, times: 2)) { $0.retries = 3 }.run().copies[0]
    #expect(again.notification.isComplete && again.progress.digest != nil)
    let paused = try hashing(DeviceSpec(), from: .bad(70_144, kind: .read)) { $0.errors = .pause }.run().copies[0]
    #expect(paused.notification.isComplete && paused.progress.digest != nil)
  }

  @Test("With ignore what can't be read is in the digest as the zeroes that are written")
  func ignored() throws {
    let copy = try hashing(DeviceSpec(), from: .bad(70_144, kind: .read)) { $0.errors = .ignore }.run().copies[0]
    #expect(copy.progress.readError && copy.progress.digest != nil)
  }

  @Test("A destination that fails changes nothing of it; where the source can't be read there is none")
  func failed() throws {
    let written = try hashing(.bad(70_144, kind: .write), DeviceSpec()).run().copies[0]
    #expect(written.progress.writeErrors == 0b01 && written.progress.digest != nil)
    let unread = try hashing(DeviceSpec(), from: .bad(70_144, kind: .read)).run().copies[0]
    #expect(unread.progress.readError && unread.progress.digest == nil)
  }

  @Test("Suspended in its middle, a later copy reads the beginning again")
  func suspended() throws {
    var scenario = hashing(DeviceSpec()) { $0.rate = Self.count }
    scenario.script = [(500 * Span.millisecond, .suspend(0))]
    var next = scenario.copies[0]
    next.resumes = 0
    scenario.copies.append(next)
    let outcome = try scenario.run()
    #expect(outcome.copies[0].notification.wasSuspended && outcome.copies[0].progress.digest == nil)
    #expect(outcome.copies[1].notification.isComplete && outcome.copies[1].progress.digest != nil)
    #expect(outcome.copies[1].source.bytes == Self.count)
  }

  @Test("Cancelled, it ends without a digest")
  func cancelled() throws {
    var scenario = hashing(DeviceSpec()) { $0.rate = Self.count }
    scenario.script = [(500 * Span.millisecond, .cancel(0))]
    let copy = try scenario.run().copies[0]
    #expect(copy.notification.wasCancelled && copy.progress.digest == nil)
  }
}
