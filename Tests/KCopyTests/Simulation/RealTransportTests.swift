import FaultKit
import KCopy
import Testing

/// The data of the simulated scenarios, without their troubles, on files and the transports that move bytes for real.
@Suite("The scenarios of the simulation on the real transports")
struct RealTransportTests {
  static let seeds: UInt64 = 200
  static let parts: UInt64 = 4

  @Test("The same copies on files leave the bytes that they should, and set no bits", arguments: transports, Array(0..<parts))
  func seeds(_ transport: Client.Transport, _ part: UInt64) throws {
    for seed in part * Self.seeds / Self.parts..<(part + 1) * Self.seeds / Self.parts {
      try withWorkbench { bench in try Self.replay(ScenarioMaker.scenario(seed), bench, transport) }
    }
  }

  private static func replay(_ scenario: Scenario, _ bench: Workbench, _ transport: Client.Transport) throws {
    // Every other seed through the page cache of a tmpfs, the others past it where the file system can.
    let names = scenario.devices.indices.map { "device\($0)" }
    var contents = scenario.devices.map {
      [UInt8](UnsafeRawBufferPointer(start: CommonPattern.bytes(at: $0.patternOffset, count: Int($0.size)), count: Int($0.size)))
    }
    let paths = try zip(names, contents).map { try bench.file($0, $1, inMemory: scenario.seed % 2 == 0) }
    let devices = try paths.map { try bench.open($0) }
    var configuration = scenario.configuration
    configuration.transport = transport
    configuration.throttle = 100
    configuration.rate = nil
    let client = try Client(configuration)
    bench.atEnd { client.destroy() }
    let notified = Notified()
    let copies = scenario.copies.filter { $0.resumes == nil }
    for copy in copies {
      func region(_ start: Scenario.Start) -> Region { Region(devices[start.device], start: start.start, count: copy.count) }
      var options = copy.options
      options.rate = nil
      let destinations = copy.destinations.map(region)
      if let source = copy.source {
        try client.copy(from: region(source), to: destinations, options: options, notify: notified.handler)
      } else {
        try client.zero(destinations, options: options, notify: notified.handler)
      }
    }
    for case .reshape(let shape) in scenario.script.map(\.action) {
      try client.update {
        $0.pages = shape.pages
        $0.subjob = shape.subjob
        $0.slots = shape.slots
      }
    }
    for notification in try notified.wait(copies.count) {
      #expect(notification.isComplete, "seed \(scenario.seed): \(notification.progress)")
    }
    // Sources are never regions of a destination, so the order of the copies doesn't matter.
    for copy in copies {
      let count = Int(copy.count)
      let moved =
        copy.source.map { Array(contents[$0.device][Int($0.start)..<Int($0.start) + count]) } ?? [UInt8](repeating: 0, count: count)
      for destination in copy.destinations {
        contents[destination.device].replaceSubrange(Int(destination.start)..<Int(destination.start) + count, with: moved)
      }
    }
    for (index, path) in paths.enumerated() {
      let difference = Pattern.difference(try Files.read(path), from: contents[index])
      #expect(difference == nil, "seed \(scenario.seed), device \(index): \(difference ?? "")")
    }
    // The last change of the shape may still be on its way.
    try eventually("seed \(scenario.seed): all pages are free") { client.pagesFree == client.configuration.pages }
  }
}
