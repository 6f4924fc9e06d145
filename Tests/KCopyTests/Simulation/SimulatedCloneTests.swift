import FaultKit
import Glibc
import KCopy
import Testing

@Suite("Blocks that are shared, in a simulated world")
struct SimulatedCloneTests {
  private static let count: UInt64 = 1 << 20

  private static func file(_ cloning: DeviceSpec.Zeroing, change: (inout DeviceSpec) -> Void = { _ in }) -> DeviceSpec {
    var device = DeviceSpec()
    device.isFile = true
    device.logicalBlock = 1
    device.cloning = cloning
    change(&device)
    return device
  }

  private static func scenario(_ count: UInt64 = Self.count, to destinations: DeviceSpec...) -> Scenario {
    Scenario(count, from: file(.works), toAll: destinations) { $0.sharesBlocks = true }
  }

  @Test("Who can share is done without a read; what is behind the last page is copied")
  func shared() throws {
    let outcome = try Self.scenario(Self.count + 777, to: Self.file(.works), Self.file(.works)).run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes <= 2 * 777 && copy.progress.bytesDurable == Self.count + 777)
  }

  @Test("Who can't is copied with the others, in one read", arguments: [DeviceSpec.Zeroing.unknown, .refuses])
  func refused(_ cloning: DeviceSpec.Zeroing) throws {
    let outcome = try Self.scenario(to: Self.file(cloning), Self.file(.works), DeviceSpec(), Self.file(cloning)).run()
    let copy = outcome.copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count)
    #expect(copy.destinations.allSatisfy { $0.bytes == Self.count })
  }

  @Test("One that doesn't answer holds up nobody else, and is copied or done when it does")
  func hanging() throws {
    for cloning in [DeviceSpec.Zeroing.works, .refuses] {
      let hanging = Self.file(cloning) {
        $0.hangs = [.init(kind: .writes, from: SimulatedWorld.start, until: SimulatedWorld.start + 20 * Span.second)]
      }
      let copy = try Self.scenario(to: hanging, DeviceSpec()).run().copies[0]
      #expect(copy.notification.isComplete && copy.destinations[1].lastMovedAt < Span.second)
      #expect(copy.source.bytes == Self.count * (cloning == .works ? 1 : 2))
    }
  }
}
