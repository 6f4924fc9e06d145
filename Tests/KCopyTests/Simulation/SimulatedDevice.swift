import FaultKit
import Glibc
import Locking

@testable import KCopy

/// A device in memory with a volatile cache: a write changes what reads see, and only a flush changes what a power loss
/// leaves.  A flush that fails loses what it covered, and the next one knows nothing of it.
final class SimulatedDevice: DeviceMedium, @unchecked Sendable {
  /// A region of a copy on it.
  struct Claim {
    /// On the device, with the rest of the last block.
    let range: Range<UInt64>
    // The watches know their devices, which must not keep them in turn.
    unowned let watch: CopyWatch
    /// `nil`: the source.
    let destination: Int?
  }

  let number: Int
  private(set) var spec: DeviceSpec
  let world: SimulatedWorld
  private(set) var claims: [Claim] = []
  /// What reads see, and what a power loss leaves.
  let cached: UnsafeMutableRawPointer
  let platter: UnsafeMutableRawPointer
  private let initial: UnsafeRawPointer
  /// Where a device with blanks keeps what it had at the beginning.
  private let ownInitial: UnsafeMutableRawPointer?

  /// Written since the last flush began.
  private var dirty: [Range<UInt64>] = []
  private var isFlushing = false
  /// How often the cache was lost: what was given to the device before, and is taken for written after, never gets to the medium.
  private(set) var losses = 0
  private(set) var flushes: [(begun: UInt64, ended: UInt64, result: Int32)] = []
  private(set) var flushesBegun = 0
  /// Called when what a power loss leaves has changed.
  var whenFlushed: () -> Void = {}
  private(set) var isHealed = false
  private(set) var zeroings = 0
  private(set) var refusals = 0
  private(set) var bytesZeroed: UInt64 = 0
  private var freeAt: UInt64 = 0
  private var held: [() -> Void] = []
  private var isReleased = false
  private var zonePointers: [UInt64: UInt64] = [:]
  private var inFlight = 0
  private var busySince: UInt64 = 0
  private var busyBefore: UInt64 = 0

  init(_ spec: DeviceSpec, number: Int, world: SimulatedWorld) {
    self.spec = spec
    self.number = number
    self.world = world
    let size = Int(spec.size)
    let pattern = CommonPattern.bytes(at: spec.patternOffset, count: size)
    if spec.blanks.isEmpty {
      ownInitial = nil
      initial = pattern
    } else {
      let own = malloc(size)!
      memcpy(own, pattern, size)
      for blank in spec.blanks { memset(own + Int(blank.lowerBound), 0, blank.count) }
      ownInitial = own
      initial = UnsafeRawPointer(own)
    }
    cached = malloc(size)
    platter = malloc(size)
    memcpy(cached, initial, size)
    memcpy(platter, initial, size)
    if let shrinks = spec.shrinks { world.at(shrinks.at) { [unowned self] in self.world.log("device \(number) shrinks to \(shrinks.to)") } }
  }

  deinit {
    free(cached)
    free(platter)
    free(ownInitial)
  }

  /// The handle that the engine gets.
  func open() -> Device {
    let facts = DeviceFacts(
      key: spec.isFile ? .file(device: 1, inode: UInt64(number)) : .block(UInt64(number)), size: spec.size,
      logicalBlock: spec.logicalBlock, errorBlock: spec.errorBlock, directAlignment: spec.isFile ? 4096 : spec.logicalBlock,
      zeroes: spec.zeroing != .unknown, isZoned: spec.isZoned)
    return Device(facts, access: .writing(exclusive: true), medium: self)
  }

  /// What an earlier attempt has left on the medium: zeroes where there is no source.
  func preset(_ position: UInt64, _ bytes: UnsafeRawPointer?, _ count: Int) {
    for place in [cached, platter] { memcpy(place + Int(position), bytes ?? CommonPattern.zeroes(count), count) }
  }

  // MARK: Whose is what

  func add(_ claim: Claim) {
    claims.append(claim)
    zonePointers[claim.range.lowerBound] = claim.range.lowerBound
  }

  /// Another copy goes on with the regions of one that has ended.
  func passClaims(of before: CopyWatch, to watch: CopyWatch) {
    for (index, claim) in claims.enumerated() where claim.watch === before {
      claims[index] = Claim(range: claim.range, watch: watch, destination: claim.destination)
    }
  }

  func claim(at position: UInt64, count: Int, isRead: Bool) -> Claim? {
    claims.first { claim in
      (claim.destination == nil) == isRead && claim.range.lowerBound <= position && position + UInt64(count) <= claim.range.upperBound
    }
  }

  // MARK: Bytes

  func copy(to memory: UnsafeMutableRawPointer, from position: UInt64, _ count: Int) { memcpy(memory, cached + Int(position), count) }

  func copy(from memory: UnsafeRawPointer, to position: UInt64, _ count: Int, isLost: Bool) {
    memcpy(cached + Int(position), memory, count)
    if !isLost { dirty.append(position..<position + UInt64(count)) }
  }

  /// Whether a range is as it was at the beginning, in the cache and on the medium.
  func isUntouched(_ range: Range<UInt64>) -> Bool {
    let (start, count) = (Int(range.lowerBound), range.count)
    return memcmp(cached + start, initial + start, count) == 0 && memcmp(platter + start, initial + start, count) == 0
  }

  /// What a source had at the beginning, and has to the end.
  func original(_ position: UInt64) -> UnsafeRawPointer { initial + Int(position) }

  // MARK: Transfers

  /// How long a client kept it busy until now: the time with a transfer in flight.
  var busy: UInt64 { busyBefore + (inFlight > 0 ? world.now - busySince : 0) }

  /// Takes a transfer; its result comes later.
  func submit(_ transfer: SimulatedTransfer, _ done: @escaping (Int64) -> Void) {
    if transfer.position % UInt64(spec.logicalBlock) != 0 || transfer.count % spec.logicalBlock != 0 {
      world.complain("\(transfer.name): not a multiple of the logical block")
    }
    if !spec.isFile, transfer.place.offset % 512 != 0 { world.complain("\(transfer.name): memory that is not aligned to a sector") }
    if inFlight == 0 { busySince = world.now }
    inFlight += 1
    let kind = transfer.isRead ? DeviceSpec.Hang.Kind.reads : .writes
    finish(kind, after: delay(of: transfer.count, spec.pace.latency)) { [self] in
      let result = perform(transfer)
      inFlight -= 1
      if inFlight == 0 { busyBefore += world.now - busySince }
      done(result)
    }
  }

  /// One transfer after the other through the same wire, and each with a time of its own: so they overtake each other.
  private func delay(of count: Int, _ latency: ClosedRange<UInt64>) -> UInt64 {
    freeAt = max(freeAt, world.now) + UInt64(count) * spec.pace.perKiB / 1024
    return freeAt - world.now + world.random.within(latency)
  }

  private func finish(_ kind: DeviceSpec.Hang.Kind, after delay: UInt64, _ done: @escaping () -> Void) {
    world.after(delay) { [self] in
      let now = world.now
      let hang = spec.hangs.first { ($0.kind == kind || $0.kind == .all) && $0.from <= now && now < $0.until ?? .max }
      guard let hang, !isReleased else { return done() }
      if let until = hang.until {
        world.at(until + world.random.within(0...Span.millisecond), done)
      } else {
        held.append(done)
      }
    }
  }

  /// Whether something hangs that will never end by itself.
  var isHolding: Bool { !held.isEmpty }

  /// Ends all hangs.
  func release() {
    world.log("device \(number) goes on")
    isReleased = true
    for done in held { world.after(world.random.within(0...Span.millisecond), done) }
    held = []
  }

  /// So many flushes fail from now on.
  func breakFlushes(_ count: Int) { spec.failingFlushes = flushesBegun..<flushesBegun + count }

  /// Its errors go away.
  func heal() {
    world.log("device \(number) is well again")
    isHealed = true
    spec.faults = []
    spec.failingFlushes = 0..<0
    if spec.zeroing == .fails { spec.zeroing = .works }
    spec.goneAt = nil
    spec.shrinks = nil
  }

  private var sizeNow: UInt64 {
    guard let shrinks = spec.shrinks, shrinks.at <= world.now else { return spec.size }
    return shrinks.to
  }

  private var isGone: Bool { spec.goneAt.map { $0 <= world.now } ?? false }

  private func perform(_ transfer: SimulatedTransfer) -> Int64 {
    if isGone { return Int64(-spec.goneErrno) }
    guard transfer.position < sizeNow else { return transfer.isRead ? 0 : Int64(-ENOSPC) }
    var count = Int(min(UInt64(transfer.count), sizeNow - transfer.position))
    if let fault = meetFault(transfer.isRead, transfer.position..<transfer.position + UInt64(count)) {
      let before = fault.range.lowerBound > transfer.position ? Int(fault.range.lowerBound - transfer.position) : 0
      let unit = spec.transferUnit
      guard spec.movesUpToFault, before >= unit else {
        // What a write that failed leaves on the device is anybody's guess.
        if !transfer.isRead, !spec.isZoned, world.random.happens(oneIn: 2) { transfer.move(before / unit * unit) }
        return Int64(-fault.errno)
      }
      count = before / unit * unit
    } else if world.random.happens(oneIn: spec.shortOneIn), count > spec.transferUnit {
      count = (world.random.below(count / spec.transferUnit - 1) + 1) * spec.transferUnit
    }
    if spec.isZoned, !transfer.isRead, !advanceZone(transfer, by: count) { return Int64(-EIO) }
    transfer.move(count)
    return Int64(count)
  }

  /// The first fault that a transfer meets; what moves up to one doesn't wear it off.
  private func meetFault(_ isRead: Bool, _ range: Range<UInt64>) -> DeviceSpec.BlockFault? {
    var first: Int?
    for (index, fault) in spec.faults.enumerated()
    where fault.remaining != 0 && fault.concerns(isRead) && fault.range.overlaps(range) {
      if first.map({ fault.range.lowerBound < spec.faults[$0].range.lowerBound }) ?? true { first = index }
    }
    guard let first else { return nil }
    let fault = spec.faults[first]
    let isMet = !spec.movesUpToFault || fault.range.lowerBound < range.lowerBound + UInt64(spec.transferUnit)
    if isMet, let remaining = fault.remaining { spec.faults[first].remaining = remaining - 1 }
    return fault
  }

  private func advanceZone(_ transfer: SimulatedTransfer, by count: Int) -> Bool {
    guard let zone = transfer.claim?.range.lowerBound, zonePointers[zone] == transfer.position else { return false }
    zonePointers[zone] = transfer.position + UInt64(count)
    return true
  }

  // MARK: DeviceMedium

  func flush(_ done: @escaping @Sendable (Int32) -> Void) {
    if isFlushing { world.complain("device \(number): two flushes at once") }
    isFlushing = true
    let (number, begun, covered) = (flushesBegun, world.now, dirty)
    flushesBegun += 1
    dirty = []
    world.log("flush \(number) of device \(self.number)")
    finish(.flushes, after: world.random.within(spec.flushLatency)) { [self] in
      let result = isGone ? spec.goneErrno : spec.failingFlushes.contains(number) ? spec.flushErrno : 0
      for range in covered where result == 0 || world.random.happens(oneIn: 3) {
        memcpy(platter + Int(range.lowerBound), cached + Int(range.lowerBound), range.count)
      }
      if result != 0, spec.losesAllByFlush {
        losses += 1
        dirty = []
      }
      isFlushing = false
      flushes.append((begun, world.now, result))
      world.log("flush \(number) of device \(self.number): \(result)")
      whenFlushed()
      done(result)
    }
  }

  func zero(at position: UInt64, count: UInt64, asHole: Bool, _ done: @escaping @Sendable (Int32) -> Void) {
    zeroings += 1
    if position % UInt64(spec.logicalBlock) != 0 || count % UInt64(spec.logicalBlock) != 0 {
      world.complain("device \(number): zeroing at \(position)+\(count), not a multiple of the logical block")
    }
    let claim = claim(at: position, count: Int(count), isRead: false)
    world.log("zero device \(number) at \(position)+\(count)")
    if let claim {
      claim.watch.begins(claim, position, Int(count), isZeroing: true)
    } else {
      world.complain("device \(number): zeroing at \(position)+\(count) is in no region")
    }
    let losses = losses
    finish(.writes, after: delay(of: 0, spec.pace.latency)) { [self] in
      let result = zeroNow(position, count, isLost: losses != self.losses)
      world.log("zero device \(number) at \(position)+\(count): \(result)")
      if let claim {
        // A device that can't do it hasn't failed.
        claim.watch.ends(claim, position, Int(count), result == 0 ? Int64(count) : Int64(-result), isRefused: result == EOPNOTSUPP)
      }
      done(result)
    }
  }

  func findHoles(
    in range: Range<UInt64>, most: Int, _ done: @escaping @Sendable (_ holes: [Range<UInt64>], _ end: UInt64) -> Void
  ) {
    world.log("look for holes of device \(number) at \(range)")
    let claim = claim(at: range.lowerBound, count: range.count, isRead: true)
    finish(.reads, after: world.random.within(spec.pace.latency)) { [self] in
      claim?.watch.hasLooked()
      guard spec.tellsHoles else { return done([], range.upperBound) }
      let holes = spec.blanks.map { $0.clamped(to: range) }.filter { !$0.isEmpty }
      // A few at a time, so that they are asked for again.
      let told = Array(holes.prefix(2))
      done(told, told.count < holes.count ? told[told.count - 1].upperBound : range.upperBound)
    }
  }

  private func zeroNow(_ position: UInt64, _ count: UInt64, isLost: Bool) -> Int32 {
    if isGone { return spec.goneErrno }
    switch spec.zeroing {
    case .unknown, .refuses:
      refusals += 1
      return EOPNOTSUPP
    case .fails: return EIO
    case .works: break
    }
    guard position + count <= sizeNow else { return ENOSPC }
    if let fault = meetFault(false, position..<position + count) { return fault.errno }
    memset(cached + Int(position), 0, Int(count))
    if !isLost { dirty.append(position..<position + count) }
    bytesZeroed += count
    return 0
  }

  func currentSize() throws(DeviceError) -> UInt64 { sizeNow }

  func close(_ done: @escaping @Sendable (Int32) -> Void) { done(0) }
}
