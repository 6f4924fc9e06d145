import KCopy
import Testing

@Suite("Ascending writes, and zeroes, on simulated devices")
struct SimulatedOrderTests {
  static let count: UInt64 = 256 << 10

  @Test("Sequential writes go up, each after the one before, and the copy is whole", arguments: [1, 8])
  func sequential(_ slots: Int) throws {
    // The model objects to any other order.
    let outcome = try Scenario(Self.count, from: .paced(.medium), to: DeviceSpec(), .paced(.medium), subjob: 16384, slots: slots) {
      $0.order = .sequential
    }.run()
    #expect(outcome.copies[0].notification.isComplete && outcome.copies[0].source.bytes == Self.count)
  }

  @Test("A zoned destination is written in order by itself, and so is the one beside it")
  func zoned() throws {
    let outcome = try Scenario(Self.count, to: DeviceSpec(), .with(block: 4096) { $0.isZoned = true }, subjob: 16384).run()
    #expect(outcome.copies[0].notification.isComplete)
  }

  @Test("Sequential leaves the error mode alone: a bad sector costs one sector under ignore")
  func ignored() throws {
    let outcome = try Scenario(Self.count, from: .bad(8192), to: DeviceSpec()) {
      $0.order = .sequential
      $0.errors = .ignore
    }.run()
    #expect(outcome.copies[0].notification.maps[0].text == "durable 0-8192, failed 8192-8704, durable 8704-262144")
  }

  @Test("A read error of a sequential copy notifies all the same: the kernel's never does")
  func readError() throws {
    let outcome = try Scenario(Self.count, from: .bad(100_352), to: DeviceSpec(), subjob: 16384) { $0.order = .sequential }.run()
    #expect(outcome.copies[0].progress.readError)
  }

  @Test("A device that zeroes by itself isn't sent zeroes, and its flush makes them durable")
  func zeroing() throws {
    let outcome = try Scenario.zeroes(Self.count, to: .with { $0.zeroing = .works }).run()
    #expect(outcome.copies[0].notification.isComplete && outcome.copies[0].notification.maps[0].text == "durable 0-262144")
    #expect(outcome.devices[1].zeroings == 1 && outcome.devices[1].busy == 0)
  }

  @Test("A device that refuses to zero by itself is asked once, and zeroes are written")
  func refused() throws {
    var scenario = Scenario.zeroes(Self.count, to: .with { $0.zeroing = .refuses })
    scenario.addCopy { $0.at = 50 * Span.millisecond }
    let outcome = try scenario.run()
    #expect(outcome.copies.allSatisfy { $0.notification.isComplete } && outcome.devices[1].zeroings == 1)
  }

  @Test("A device whose zeroing fails is sent zeroes, and the bad sector costs one sector under ignore")
  func failed() throws {
    var device = DeviceSpec.bad(20_480)
    device.zeroing = .works
    let outcome = try Scenario.zeroes(Self.count, to: device) { $0.errors = .ignore }.run()
    #expect(outcome.copies[0].progress.writeErrors == 0b1)
    #expect(outcome.copies[0].notification.maps[0].text == "durable 0-20480, failed 20480-20992, durable 20992-262144")
  }

  @Test("A region that ends inside the last block of a destination is filled up with zeroes")
  func tail() throws {
    let outcome = try Scenario(Self.count + 512, to: .with(block: 4096) { _ in }) { $0.fillsTailWithZeroes = true }.run()
    #expect(outcome.copies[0].notification.isComplete && outcome.copies[0].destinations[0].bytes == Self.count + 4096)
  }
}
