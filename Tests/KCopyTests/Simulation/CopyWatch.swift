import Glibc

@testable import KCopy

/// One copy of a scenario as its devices see it: objects to transfers that may not be.
final class CopyWatch: @unchecked Sendable {
  let index: Int
  private(set) var spec: Scenario.CopySpec
  unowned let world: SimulatedWorld
  let devices: [SimulatedDevice]
  var copy: Copy?
  private(set) var notifications: [KCopy.Notification] = []
  private(set) var notifiedAt: UInt64 = 0
  /// When a transfer of it ended last.
  private(set) var lastEndedAt: UInt64 = 0
  private(set) var source: SideWatch
  private(set) var destinations: [SideWatch]
  private(set) var flushesBefore: [Int] = []
  var postedAt: UInt64?
  var cancelPostedAt: UInt64?
  var suspendPostedAt: UInt64?
  /// What a map that somebody was shown has called durable, per destination: that is on the medium, whatever comes after.
  private(set) var promised: [RangeMap]
  private(set) var checkpoints: [Checkpoint] = []
  var pausePostedAt: UInt64?
  /// Whether it was ever asked to pause, or to go on.
  var wasHeldUp = false

  init(_ spec: Scenario.CopySpec, index: Int, world: SimulatedWorld, devices: [SimulatedDevice]) {
    self.spec = spec
    self.index = index
    self.world = world
    self.devices = devices
    source = SideWatch(count: spec.count)
    destinations = spec.destinations.map { _ in SideWatch(count: spec.count) }
    promised = spec.destinations.map { _ in RangeMap(count: spec.count) }
  }

  /// Goes on where another copy of the same regions was suspended.
  func goOn(from maps: [RangeMap]) {
    spec.maps = maps
    promise(maps)
  }

  /// Somebody was shown maps.
  func promise(_ maps: [RangeMap]) {
    for (destination, map) in maps.enumerated() {
      for extent in map.extents where extent.status == .durable { promised[destination].set(extent.start..<extent.end, .durable) }
    }
  }

  /// What a checkpoint shows.
  struct Checkpoint: Sendable {
    /// From the beginning of the world, in nanoseconds.
    var at: UInt64
    var progress: CopyProgress
    var maps: [RangeMap]
  }

  func checkpointed() {
    guard let copy else { return complain("a checkpoint before its life") }
    checkpoints.append(
      Checkpoint(at: world.now - SimulatedWorld.start, progress: copy.progress, maps: destinations.indices.map { copy.map(of: $0) }))
    promise(checkpoints[checkpoints.count - 1].maps)
    if !spec.takesCheckpoints { complain("a checkpoint that nobody asked for") }
    if isFinal { complain("a checkpoint after the notification") }
    // Of a destination that failed it is told at once, and without flushes too.
    if copy.progress.destinations.contains(where: { $0.state == .failed }) { return }
    if !spec.options.flushes { complain("a checkpoint that nobody asked for") }
    if world.now < (postedAt ?? .max) + Span.second { complain("a checkpoint of a copy of less than a second") }
  }

  func device(_ destination: Int) -> SimulatedDevice { devices[spec.destinations[destination].device] }
  var sourceDevice: SimulatedDevice? { spec.source.map { devices[$0.device] } }

  /// Every copy with a zoned destination is written in order too.
  var isSequential: Bool { spec.options.order == .sequential || spec.destinations.indices.contains { device($0).spec.isZoned } }

  var isFinal: Bool { !notifications.isEmpty }
  var inFlight: Int { destinations.reduce(source.inFlight) { $0 + $1.inFlight } }

  func post() {
    postedAt = world.now
    flushesBefore = spec.destinations.indices.map { device($0).flushes.count }
  }

  /// The flushes of a destination's device that ended since the copy was posted.
  func flushes(_ destination: Int) -> ArraySlice<(begun: UInt64, ended: UInt64, result: Int32)> {
    device(destination).flushes[flushesBefore[destination]...]
  }

  func notified(_ notification: KCopy.Notification) {
    promise(notification.maps)
    notifications.append(notification)
    notifiedAt = world.now
  }

  private func complain(_ what: String) { world.complain("copy \(index): \(what)") }

  func begins(_ claim: SimulatedDevice.Claim, _ position: UInt64, _ count: Int, isZeroing: Bool) {
    let offset = position - claim.range.lowerBound
    let side = claim.destination.map { "write of destination \($0)" } ?? "read"
    if postedAt == nil || isFinal { complain("a \(side) outside of its life") }
    if let cancelPostedAt, world.now > cancelPostedAt || copy?.progress.phase == .cancelling {
      complain("a \(side) at \(offset) that began after its cancel was taken")
    }
    if let suspendPostedAt, world.now > suspendPostedAt, !hasEndedByError { complain("a \(side) at \(offset) although it is suspended") }
    checkPause(claim.destination, offset, side)
    guard let destination = claim.destination else { return source.begins(offset, count, at: world.now) }
    if isZeroing, spec.source != nil, !isBlank(offset, count) { complain("zeroes at \(offset)+\(count) instead of a copy") }
    if isSequential { checkOrder(destination, offset, count) }
    destinations[destination].begins(offset, count, at: world.now)
  }

  /// A look for holes of its source is over.
  func hasLooked() { lastEndedAt = world.now }

  /// Whether a copy that keeps holes may have a piece zeroed; what fills up the last block is zeroes anyway.
  private func isBlank(_ offset: UInt64, _ count: Int) -> Bool {
    guard spec.options.keepsHoles, let source = spec.source, let sourceDevice else { return false }
    let count = min(count, Int(spec.count - offset))
    // What can't be read is zeroes too, where that is ignored.
    for unit in SideWatch.touchedUnits(offset, count, of: self.source.units) where self.source.failures(of: unit) == 0 {
      let start = max(offset, UInt64(unit) * SideWatch.unit)
      let part = Int(min(offset + UInt64(count), UInt64(unit + 1) * SideWatch.unit) - start)
      if memcmp(sourceDevice.original(source.start + start), CommonPattern.zeroes(part), part) != 0 { return false }
    }
    return true
  }

  /// Whether an error has ended it, after which a suspension changes nothing.
  private var hasEndedByError: Bool {
    guard let progress = copy?.progress else { return false }
    return switch spec.options.errors {
    case .ignore: false
    case .stop: progress.readError || progress.writeErrors != 0
    case .drop, .pause: progress.readError
    }
  }

  /// While it is paused no sub-job starts; what was under way ends, with its writes, and with reads of parts that failed.
  private func checkPause(_ destination: Int?, _ offset: UInt64, _ side: String) {
    let isTaken = pausePostedAt.map { world.now > $0 } ?? false
    guard isTaken || spec.options.errors == .pause && copy?.progress.pause != nil else { return }
    let unit = Int(offset / SideWatch.unit)
    let isUnderWay = destination == nil ? source.touched[unit] : spec.source != nil || destinations[destination ?? 0].touched[unit]
    // In order, what waits in its line is under way too.
    if !isUnderWay, !(isSequential && destination != nil) { complain("a \(side) at \(offset) although it is paused") }
  }

  private func checkOrder(_ destination: Int, _ offset: UInt64, _ count: Int) {
    let side = destinations[destination]
    if side.inFlight > 0 { complain("two writes of destination \(destination) at once although it is sequential") }
    guard offset < side.front else { return }
    // Back only to what failed, or was lost by a flush.
    let isLost = flushes(destination).contains { $0.result != 0 }
    if !isLost, !SideWatch.touchedUnits(offset, count, of: side.units).contains(where: side.hasLastFailed), !isRest(side, offset) {
      complain("destination \(destination) is written at \(offset) after \(side.front)")
    }
  }

  /// Whether it is the rest of a transfer that was short.
  private func isRest(_ side: SideWatch, _ offset: UInt64) -> Bool {
    let unit = Int(offset / SideWatch.unit)
    return !side.moved[min(unit, side.units - 1)] || offset % SideWatch.unit != 0
  }

  func ends(_ claim: SimulatedDevice.Claim, _ position: UInt64, _ count: Int, _ result: Int64, isRefused: Bool) {
    let offset = position - claim.range.lowerBound
    let isGone = [ENODEV, ENXIO, ENOMEDIUM, ENOTCONN, ESHUTDOWN, EBADF].contains(Int32(clamping: -result))
    lastEndedAt = world.now
    if isFinal { complain("a transfer that ended after the notification") }
    if let destination = claim.destination {
      destinations[destination].ends(offset, count, result, isGone: isGone, isRefused: isRefused, at: world.now)
    } else {
      source.ends(offset, count, result, isGone: isGone, isRefused: isRefused, at: world.now)
    }
  }
}
