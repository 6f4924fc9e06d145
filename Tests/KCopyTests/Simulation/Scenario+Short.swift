import FaultKit
import Glibc
import KCopy

/// Short ways to write down the scenario of one sentence.
extension Scenario {
  /// Copies from device 0 to the others, each a device of its own; a region of `count` bytes on each, after the first block.
  init(
    _ count: UInt64, from source: DeviceSpec = DeviceSpec(), to destinations: DeviceSpec..., subjob: Int = 65536, slots: Int = 4,
    pages: Int = 256, change: (inout CopyOptions) -> Void = { _ in }
  ) {
    self.init(count, from: source, toAll: destinations, subjob: subjob, slots: slots, pages: pages, change: change)
  }

  /// The same to destinations of a list.
  init(
    _ count: UInt64, from source: DeviceSpec = DeviceSpec(), toAll destinations: [DeviceSpec], subjob: Int = 65536, slots: Int = 4,
    pages: Int = 256, change: (inout CopyOptions) -> Void = { _ in }
  ) {
    devices = [source] + destinations
    for index in devices.indices {
      devices[index].size = count + 8192
      devices[index].patternOffset = index << 20
    }
    var copy = CopySpec(source: Start(device: 0, start: 4096), destinations: [], count: count)
    copy.destinations = destinations.indices.map { Start(device: $0 + 1, start: 4096) }
    change(&copy.options)
    copies = [copy]
    configuration.subjob = subjob
    configuration.slots = slots
    configuration.pages = pages
  }

  /// The same without a source: zeroes.
  static func zeroes(
    _ count: UInt64, to destination: DeviceSpec, change: (inout CopyOptions) -> Void = { _ in }
  ) -> Scenario {
    var scenario = Scenario(count, to: destination, change: change)
    scenario.copies[0].source = nil
    return scenario
  }

  /// Adds a copy of its own regions on the same devices.
  mutating func addCopy(change: (inout CopySpec) -> Void = { _ in }) {
    let first = copies[0]
    var copy = first
    let number = UInt64(copies.count)
    let distance = number * (first.count + 4096)
    copy.source?.start += distance
    for index in copy.destinations.indices { copy.destinations[index].start += distance }
    for index in devices.indices { devices[index].size = max(devices[index].size, 8192 + (number + 1) * (first.count + 4096)) }
    change(&copy)
    copies.append(copy)
  }

  /// Runs it; nothing may be wrong with it, as far as the model of all scenarios goes.  With `KCOPY_LOG` set it prints all
  /// that happens.
  func run() throws -> Outcome {
    let outcome = try Rehearsal.run(self, isLogging: getenv("KCOPY_LOG") != nil)
    if !outcome.complaints.isEmpty { throw Missing("a simulation without complaints: \(outcome.complaints.joined(separator: "\n"))") }
    return outcome
  }
}

extension DeviceSpec {
  /// A device with these blocks, and something changed.
  static func with(block: Int = 512, _ change: (inout DeviceSpec) -> Void) -> DeviceSpec {
    var device = DeviceSpec()
    device.logicalBlock = block
    device.errorBlock = block
    change(&device)
    return device
  }

  /// A device one block of which is bad, `offset` bytes behind the start of the region (`Scenario.init`).
  static func bad(
    _ offset: UInt64, block: Int = 512, kind: BlockFault.Kind = .both, blocks: UInt64 = 1, times: Int? = nil
  ) -> DeviceSpec {
    with(block: block) {
      let start = 4096 + offset
      $0.faults = [BlockFault(kind: kind, range: start..<start + blocks * UInt64(block), remaining: times)]
    }
  }

  static func paced(_ pace: Pace) -> DeviceSpec { with { $0.pace = pace } }
}

extension RangeMap {
  /// Its extents in short: "durable 0-4096, failed 4096-4608".
  var text: String { extents.map { "\($0.status) \($0.start)-\($0.end)" }.joined(separator: ", ") }
}
