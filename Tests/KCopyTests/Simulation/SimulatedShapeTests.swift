import KCopy
import Testing

/// Throttle, rate, priority, pages: all by virtual time.
@Suite("The shape of a client, on simulated devices")
struct SimulatedShapeTests {
  static let steady = DeviceSpec.paced(.init(latency: 2 * Span.millisecond...3 * Span.millisecond, perKiB: 500))

  /// Runs a copy at a throttle; returns the percentage of its time that the busiest device was busy.
  private func busiest(_ throttle: Int, copies: Int = 1, slots: Int = 4) throws -> Double {
    var scenario = Scenario(4 << 20, from: Self.steady, to: Self.steady, slots: slots)
    scenario.configuration.throttle = throttle
    for _ in 1..<copies { scenario.addCopy() }
    let outcome = try scenario.run()
    let elapsed = outcome.copies.map { $0.destinations[0].lastMovedAt }.max() ?? 1
    return Double(outcome.devices.map(\.busy).max() ?? 0) / Double(elapsed) * 100
  }

  @Test("At a throttle of 10 the devices are busy for 10 % of the time, whatever the slots and copies", arguments: [1, 4], [1, 3])
  func throttle(_ slots: Int, _ copies: Int) throws {
    let busy = try busiest(10, copies: copies, slots: slots)
    #expect(abs(busy - 10) <= 2, "\(busy) %")
  }

  @Test("No throttle is passed, and most of what it leaves is used", arguments: [1, 5, 25, 50, 90])
  func throttles(_ throttle: Int) throws {
    let busy = try busiest(throttle)
    #expect(busy <= Double(throttle) + 2 && busy >= Double(throttle) * 0.8, "\(busy) % at \(throttle)")
  }

  @Test("A throttle never keeps a notification waiting")
  func throttledNotification() throws {
    var scenario = Scenario(65536, from: Self.steady, to: Self.steady) { $0.flushes = false }
    scenario.configuration.throttle = 1
    let copy = try scenario.run().copies[0]
    #expect(copy.notifiedAt <= copy.destinations[0].lastMovedAt + Span.millisecond)
  }

  @Test("A rate is held, of a copy and of all copies together", arguments: [true, false])
  func rate(_ isCopys: Bool) throws {
    var scenario = Scenario(4 << 20, to: DeviceSpec()) { if isCopys { $0.rate = 1 << 20 } }
    if !isCopys {
      scenario.configuration.rate = 1 << 20
      scenario.addCopy()
    }
    let outcome = try scenario.run()
    let wanted = Double(isCopys ? 4 * Span.second : 8 * Span.second)
    let took = Double(outcome.copies.map { $0.destinations[0].lastMovedAt }.max() ?? 0)
    #expect(abs(took / wanted - 1) < 0.06, "\(took) ns, and not \(wanted)")
  }

  @Test("A rate that is set while a copy runs holds from then on")
  func rateLater() throws {
    var scenario = Scenario(4 << 20, to: DeviceSpec()) { $0.rate = 1 << 20 }
    scenario.script = [(Span.second, .rate(0, 3 << 20))]
    let took = Double(try scenario.run().copies[0].destinations[0].lastMovedAt)
    #expect(abs(took / Double(2 * Span.second) - 1) < 0.06, "\(took) ns")
  }

  @Test("Of copies that wait for pages the one with the lower priority number comes first")
  func priority() throws {
    var scenario = Scenario(2 << 20, from: Self.steady, to: Self.steady, slots: 4, pages: 64) { $0.priority = 9 }
    scenario.addCopy { $0.options.priority = 5 }
    scenario.addCopy { $0.options.priority = 0 }
    let outcome = try scenario.run()
    #expect(outcome.order == ["copy 2", "copy 1", "copy 0"])
    #expect(outcome.copies[2].source.lastBegunAt <= outcome.copies[1].destinations[0].firstBegunAt)
  }

  @Test("Copies of the same priority take turns: a small one that comes later doesn't wait for a large one")
  func turns() throws {
    var scenario = Scenario(6 << 20, from: Self.steady, to: Self.steady, slots: 8, pages: 64)
    scenario.addCopy {
      $0.count = 65536
      $0.at = 10 * Span.millisecond
    }
    let outcome = try scenario.run()
    #expect(outcome.order == ["copy 1", "copy 0"] && outcome.copies[1].notifiedAt < outcome.copies[0].notifiedAt / 4)
  }

  @Test("A client of one page copies all the same")
  func onePage() throws {
    let outcome = try Scenario(256 << 10, to: DeviceSpec(), .with(block: 4096) { _ in }, subjob: 4096, pages: 1).run()
    #expect(outcome.copies[0].notification.isComplete && outcome.pagesPeak == 1)
  }

  @Test("The number of pages changes while copies run, down and up, and all is copied within it")
  func reshape() throws {
    var scenario = Scenario(8 << 20, from: Self.steady, to: Self.steady, slots: 8, pages: 128)
    var shape = scenario.configuration
    for (index, pages) in [16, 400, 20, 64].enumerated() {
      shape.pages = pages
      shape.slots = index + 2
      scenario.script.append((UInt64(index + 1) * 20 * Span.millisecond, .reshape(shape)))
    }
    let outcome = try scenario.run()
    #expect(outcome.copies[0].notification.isComplete && outcome.pagesPeak > 64)
  }

  @Test("A drain comes after all that was given before it, and before what was given later has ended")
  func drain() throws {
    var scenario = Scenario(65536, from: Self.steady, to: Self.steady)
    scenario.addCopy { $0.at = 3 * Span.millisecond }
    scenario.addCopy {
      $0.count = 4096
      $0.at = 3 * Span.millisecond
    }
    scenario.script = [
      (Span.millisecond, .drain(0)), (2 * Span.millisecond, .prepare(0)), (4 * Span.millisecond, .drain(1)),
      (Span.second, .fire(0)),
    ]
    let outcome = try scenario.run()
    #expect(outcome.order.firstIndex(of: "drain 0") == outcome.order.firstIndex(of: "copy 0").map { $0 + 1 })
    #expect(outcome.order.suffix(2) == ["prepared 0", "drain 1"])
  }

  @Test("Destroying waits for the copies that there are, and takes no more")
  func destroy() throws {
    var scenario = Scenario(1 << 20, from: Self.steady, to: Self.steady)
    scenario.addCopy { $0.at = 10 * Span.millisecond }
    scenario.script = [(5 * Span.millisecond, .destroy)]
    let outcome = try scenario.run()
    #expect(outcome.order == ["copy 0"] && outcome.copies[0].notification.isComplete)
  }

  @Test("A copy that a notification gives is done like any other")
  func follower() throws {
    var scenario = Scenario(65536, to: DeviceSpec())
    scenario.addCopy { $0.after = 0 }
    let outcome = try scenario.run()
    #expect(outcome.order == ["copy 0", "copy 1"])
  }
}
