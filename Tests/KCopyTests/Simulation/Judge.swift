import Crypto
import Glibc

@testable import KCopy

/// Judges what a copy says of itself by what its devices saw and hold.
struct Judge {
  let watch: CopyWatch
  let world: SimulatedWorld

  init(_ watch: CopyWatch, _ world: SimulatedWorld) {
    self.watch = watch
    self.world = world
  }

  var options: CopyOptions { watch.spec.options }
  func complain(_ what: String) { world.complain("copy \(watch.index): \(what)") }

  /// The notification of a copy, at the moment it comes.
  func judge(_ notification: KCopy.Notification) {
    let progress = notification.progress
    if watch.inFlight != 0 { complain("notified with \(watch.inFlight) transfers in flight") }
    if notification.maps.count != watch.spec.destinations.count || progress.destinations.count != notification.maps.count {
      return complain("\(notification.maps.count) maps and \(progress.destinations.count) destinations")
    }
    if let copy = watch.copy {
      if copy.progress != progress { complain("the copy's progress is not that of its notification") }
      for (index, map) in notification.maps.enumerated() where copy.map(of: index) != map {
        complain("the copy's map \(index) is not that of its notification")
      }
    }
    if progress.phase != .none || progress.pause != nil {
      complain("notified in phase \(progress.phase), paused \(String(describing: progress.pause))")
    }
    if notification.wasCancelled, watch.cancelPostedAt == nil { complain("cancelled by nobody") }
    if notification.wasSuspended { judgeSuspended(notification) }
    judgePromised()
    judgeMaps(notification)
    judgeCounters(progress, notification.maps)
    judgeStates(notification)
    judgeBits(notification)
    judgeFirstError(progress)
    // What is taken into a digest is no transfer.
    if !options.hashes { judgePromptness(notification) }
    judgeDigest(notification)
    if options.errors == .ignore, !notification.wasCancelled, !notification.wasSuspended { judgeIgnored(notification) }
  }

  /// What a copy publishes while it runs, as if the power failed now.
  func inspect() {
    guard let copy = watch.copy, !watch.isFinal else { return }
    judgePromised()
    judgeCounters(copy.progress, watch.destinations.indices.map { copy.map(of: $0) })
    for destination in watch.destinations.indices {
      for extent in copy.map(of: destination).extents where extent.status == .durable {
        if !holds(destination, extent.start..<extent.end, onMedium: true), !watch.device(destination).isLiar {
          complain("inspected: \(extent) of destination \(destination) is not on the medium")
        }
      }
      for extent in copy.map(of: destination).extents where extent.status == .written {
        if !holds(destination, extent.start..<extent.end, onMedium: false), !watch.device(destination).isLiar {
          complain("inspected: \(extent) of destination \(destination) is wrong")
        }
      }
    }
  }

  /// What was ever called durable is on the medium, and what is on its way there is the same: so it doesn't matter which
  /// sectors of that a power loss would keep.
  func judgePromised() {
    for (destination, map) in watch.promised.enumerated() {
      for extent in map.extents where extent.status == .durable && !watch.device(destination).isLiar {
        for onMedium in [true, false] where !holds(destination, extent.start..<extent.end, onMedium: onMedium) {
          complain("promised, but not \(onMedium ? "on the medium" : "in the cache"): \(extent) of destination \(destination)")
        }
      }
    }
  }

  /// A copy that another one is to go on with.
  private func judgeSuspended(_ notification: KCopy.Notification) {
    if watch.suspendPostedAt == nil { complain("suspended by nobody") }
    if notification.wasCancelled || notification.isComplete { complain("suspended, and cancelled or complete") }
    for (index, destination) in notification.progress.destinations.enumerated() {
      let isUnfinished = destination.state == .queued || destination.state == .running
      if destination.state == .queued, notification.progress.startedAt != 0 { complain("destination \(index) is queued and had begun") }
      if isUnfinished, options.flushes, notification.maps[index].bytes(.written) != 0 {
        complain("suspended with unflushed bytes of destination \(index): \(notification.maps[index].text)")
      }
    }
  }

  /// The notification comes as soon as nothing of the copy is in flight any more.
  private func judgeDigest(_ notification: KCopy.Notification) {
    guard options.hashes, let source = watch.spec.source, let device = watch.sourceDevice else {
      if notification.progress.digest != nil { complain("a digest that nobody asked for") }
      return
    }
    guard let digest = notification.progress.digest else {
      if notification.isComplete { complain("complete, and without a digest") }
      return
    }
    var bytes = [UInt8](UnsafeRawBufferPointer(start: device.original(source.start), count: Int(watch.spec.count)))
    if notification.progress.readError, options.errors == .ignore {
      if notification.wasSuspended || notification.wasCancelled { return }
      // Where something was not written either nobody can tell which bytes were zeroed.
      guard notification.progress.writeErrors == 0, !options.verifies, let map = notification.maps.first else { return }
      for extent in map.extents where extent.status == .failed {
        for offset in extent.start..<extent.end { bytes[Int(offset)] = 0 }
      }
    }
    if let map = notification.maps.first {
      for extent in map.extents.reversed() where extent.status == .outside { bytes.removeSubrange(Int(extent.start)..<Int(extent.end)) }
    }
    let expected = SHA256.hash(data: bytes).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    if digest != expected { complain("the digest is \(digest), and not \(expected)") }
  }

  private func judgePromptness(_ notification: KCopy.Notification) {
    guard notification.wasCancelled || notification.wasSuspended || !watch.wasHeldUp else { return }
    var last = max(watch.lastEndedAt, watch.postedAt ?? 0)
    if notification.wasCancelled { last = max(last, watch.cancelPostedAt ?? 0) }
    last = max(last, watch.suspendPostedAt ?? 0)
    // Who has had everything from an earlier attempt, and need not flush, waits for its turn only.
    guard watch.lastEndedAt > 0 || !watch.spec.takesCheckpoints else { return }
    for destination in watch.destinations.indices { last = max(last, watch.flushes(destination).last?.ended ?? 0) }
    if watch.notifiedAt > last + 10 * Span.microsecond { complain("notified \(watch.notifiedAt - last) ns after all was over") }
  }

  // MARK: Bytes

  /// Whether a destination has what the copy is to bring in a range of the region: in the cache, or on the medium.
  func holds(_ destination: Int, _ range: Range<UInt64>, onMedium: Bool) -> Bool {
    let device = watch.device(destination)
    let found = (onMedium ? device.platter : device.cached) + Int(watch.spec.destinations[destination].start + range.lowerBound)
    guard let source = watch.spec.source, let sourceDevice = watch.sourceDevice else {
      return memcmp(found, CommonPattern.zeroes(range.count), range.count) == 0
    }
    return memcmp(found, sourceDevice.original(source.start + range.lowerBound), range.count) == 0
  }

  private func isZero(_ destination: Int, _ range: Range<UInt64>) -> Bool {
    let found = watch.device(destination).cached + Int(watch.spec.destinations[destination].start + range.lowerBound)
    return memcmp(found, CommonPattern.zeroes(range.count), range.count) == 0
  }

  private func judgeMaps(_ notification: KCopy.Notification) {
    for (destination, map) in notification.maps.enumerated() {
      var end: UInt64 = 0
      var before: RangeMap.Status?
      for extent in map.extents {
        if extent.start != end || extent.end <= extent.start || extent.status == before {
          complain("map \(destination) is torn at \(extent)")
        }
        (end, before) = (extent.end, extent.status)
        // Who holds something else is found out when all has been read back.
        let isFoundOut = options.verifies && notification.progress.destinations[destination].state == .done
        if isFoundOut || !watch.device(destination).isLiar { judge(extent, of: destination) }
      }
      if let last = map.extents.last, last.status == .durable || last.status == .written { judgeTail(destination, last.status) }
      let left = watch.spec.maps.isEmpty ? 0 : watch.spec.maps[destination].bytes(.outside)
      if map.bytes(.outside) != left { complain("map \(destination) leaves out \(map.bytes(.outside)) bytes, and not \(left)") }
      if end != watch.spec.count { complain("map \(destination) ends at \(end) of \(watch.spec.count)") }
    }
  }

  /// Behind a region that ends inside a block the rest of that block is zeroes.
  private func judgeTail(_ destination: Int, _ status: RangeMap.Status) {
    let device = watch.device(destination)
    let block = device.spec.logicalBlock
    let end = Int(watch.spec.destinations[destination].start + watch.spec.count)
    let rest = (end + block - 1) / block * block - end
    let isRight = memcmp(device.cached + end, CommonPattern.zeroes(rest), rest) == 0
    let isDurable = status != .durable || memcmp(device.platter + end, CommonPattern.zeroes(rest), rest) == 0
    if !isRight || !isDurable { complain("the rest of the last block of destination \(destination) isn't zeroes") }
  }

  private func judge(_ extent: RangeMap.Extent, of destination: Int) {
    let range = extent.start..<extent.end
    switch extent.status {
    case .durable:
      if !holds(destination, range, onMedium: true) { complain("durable, but not on the medium: \(extent) of destination \(destination)") }
      if !holds(destination, range, onMedium: false) { complain("durable, but wrong: \(extent) of destination \(destination)") }
      if !options.flushes { complain("durable without a flush: \(extent) of destination \(destination)") }
    case .written:
      if !holds(destination, range, onMedium: false) { complain("written, but wrong: \(extent) of destination \(destination)") }
    case .failed: judgeFailed(extent, of: destination)
    case .missing: break
    case .outside: judgeOutside(extent, of: destination)
    }
  }

  /// What is no part of the copy is neither written nor read for it.
  private func judgeOutside(_ extent: RangeMap.Extent, of destination: Int) {
    let given = watch.spec.maps.indices.contains(destination) ? watch.spec.maps[destination] : RangeMap(count: watch.spec.count)
    if given.bytes(.outside, in: extent.start..<extent.end) != extent.count { complain("map \(destination) leaves out \(extent)") }
    let sides = [watch.destinations[destination]] + (watch.spec.source == nil ? [] : [watch.source])
    for side in sides where SideWatch.touchedUnits(extent.start, Int(extent.count), of: side.units).contains(where: { side.touched[$0] }) {
      complain("\(extent) of destination \(destination) is outside, and was touched")
    }
  }

  /// What failed has a reason in each of its units, and what could not be read is zeroes where it was written.
  private func judgeFailed(_ extent: RangeMap.Extent, of destination: Int) {
    let side = watch.destinations[destination]
    for unit in SideWatch.touchedUnits(extent.start, Int(extent.count), of: side.units) {
      let start = UInt64(unit) * SideWatch.unit
      guard side.failures(of: unit) == 0, watch.readBacks[destination].failures(of: unit) == 0 else { continue }
      guard watch.source.failures(of: unit) > 0 else {
        return complain("failed without a reason: \(extent) of destination \(destination), at \(start)")
      }
      let part = max(start, extent.start)..<min(start + SideWatch.unit, extent.end)
      // What can't be compared with the source, as that has gone meanwhile, has failed too, whatever it is.
      if options.errors == .ignore, !options.verifies, side.moved[unit], !isZero(destination, part) {
        return complain("unreadable, but not zeroed: \(extent) of destination \(destination), at \(start)")
      }
    }
  }

  private func judgeCounters(_ progress: CopyProgress, _ maps: [RangeMap]) {
    for (index, map) in maps.enumerated() {
      let destination = progress.destinations[index]
      let (written, durable) = (map.bytes(.written), map.bytes(.durable))
      if destination.bytesDone != written + durable || destination.bytesDurable != durable || destination.bytesFailed != map.bytes(.failed)
      {
        complain("destination \(index) counts \(destination), and its map \(map.extents)")
      }
    }
    // Which of them an error has ended only the engine knows where errors are ignored.
    var live: UInt64 = 0
    for index in maps.indices where progress.writeErrors & .only(index) == 0 { live |= .only(index) }
    if options.errors != .ignore, live != 0 {
      let durable = Copy.Published(progress: progress, maps: maps).common(live, in: 0..<watch.spec.count, onlyDurable: true)
      if durable != progress.bytesDurable { complain("\(progress.bytesDurable) bytes count as durable, and \(durable) are") }
    }
    if progress.bytesDone > watch.spec.count || progress.bytesDurable > progress.bytesDone { complain("counters \(progress)") }
  }

  // MARK: States and bits

  private func judgeStates(_ notification: KCopy.Notification) {
    let progress = notification.progress
    for (index, map) in notification.maps.enumerated() {
      let destination = progress.destinations[index]
      let wanted = options.flushes ? map.bytes(.durable) : map.bytes(.written)
      let asked = watch.spec.maps.isEmpty ? watch.spec.count : watch.spec.maps[index].bytesToCopy
      let hasBit = progress.writeErrors & .only(index) != 0
      switch destination.state {
      case .done: if wanted != asked { complain("destination \(index) is done with \(wanted) bytes of \(asked)") }
      case .failed:
        if !hasBit, !progress.readError, options.errors != .stop || progress.writeErrors == 0 {
          complain("destination \(index) failed without an error")
        }
      case .cancelled: if !notification.wasCancelled { complain("destination \(index) was cancelled by nobody") }
      case .queued, .running: if !notification.wasSuspended { complain("destination \(index) ends as \(destination.state)") }
      }
      // Who had to stop before it was read back has everything, too.
      let isStopped = notification.wasSuspended || progress.readError || options.errors == .stop
      if destination.state != .done, wanted == asked, !hasBit, !notification.wasCancelled, !(options.verifies && isStopped) {
        complain("destination \(index) has everything, and is \(destination.state)")
      }
      // Who ignores errors hasn't failed before the end.
      if hasBit, destination.state != .failed, !(notification.wasSuspended && options.errors == .ignore) {
        complain("destination \(index) has an error and is \(destination.state)")
      }
      if hasBit != (destination.error != nil) {
        complain("destination \(index) with bit \(hasBit) has error \(String(describing: destination.error))")
      }
    }
    let errors = progress.readError || progress.writeErrors != 0
    // What a flush lost is read again, by whole blocks, and then a bad block of before may be readable.
    let isCured = watch.destinations.indices.contains { index in watch.flushes(index).contains { $0.result != 0 } }
    if notification.isComplete != progress.destinations.allSatisfy({ $0.state == .done }), !notification.wasCancelled, !isCured,
      !(options.hashes && (notification.wasSuspended || progress.readError))
    {
      complain("complete: \(notification.isComplete), with destinations \(progress.destinations.map(\.state))")
    }
    if errors != (progress.firstError != nil) {
      complain("bits \(progress.readError) \(progress.writeErrors), first error \(String(describing: progress.firstError))")
    }
  }

  private func judgeBits(_ notification: KCopy.Notification) {
    let progress = notification.progress
    if progress.readError { judgeReason(watch.source, "the read error") }
    for index in watch.destinations.indices where progress.writeErrors & .only(index) != 0 {
      let error = progress.destinations[index].error
      if error?.step == .flush {
        judgeFlushes(index, progress)
      } else if error?.step == .verify {
        if let error, explains(index, error) { continue }
        judgeReason(watch.readBacks[index], "the bit of destination \(index)")
      } else {
        judgeReason(watch.destinations[index], "the bit of destination \(index)")
      }
    }
    if progress.writeErrors >> UInt64(watch.destinations.count) != 0 { complain("bits of destinations that there aren't") }
  }

  /// Whether what a device is like explains an error of its verification that no read of it said.
  private func explains(_ destination: Int, _ error: TransferError) -> Bool {
    error.errno == EILSEQ && watch.device(destination).isLiar
  }

  private func judgeReason(_ side: SideWatch, _ what: String) {
    if !side.hasFailures { complain("\(what) is set and nothing failed") }
    if side.mostFailures <= options.retries, !side.sawEnd {
      complain("\(what) is set after \(side.mostFailures) failures with \(options.retries) retries")
    }
  }

  private func judgeFlushes(_ destination: Int, _ progress: CopyProgress) {
    let failures = watch.flushes(destination).count { $0.result != 0 }
    // Who has ended for another reason doesn't begin again.
    let isOnce = watch.device(destination).spec.isZoned || options.errors == .stop || progress.readError || watch.cancelPostedAt != nil
    let rounds = isOnce ? 0 : max(1, options.retries)
    if failures <= rounds { complain("destination \(destination) failed by \(failures) flushes, with \(rounds) rounds") }
  }

  private func judgeFirstError(_ progress: CopyProgress) {
    for error in [progress.firstError].compactMap({ $0 }) + progress.destinations.compactMap(\.error) {
      guard let start = error.destination.map({ watch.spec.destinations[$0] }) ?? watch.spec.source else {
        complain("an error of no side: \(error)")
        continue
      }
      let block = UInt64(watch.devices[start.device].spec.logicalBlock)
      let end = start.start + (watch.spec.count + block - 1) / block * block
      if error.offset < start.start || error.offset + error.length > end || error.length == 0 {
        complain("an error outside of its region: \(error)")
      }
      guard error.step != .flush else { continue }
      if error.step == .verify, let destination = error.destination, explains(destination, error) { continue }
      let side = error.destination.map { error.step == .verify ? watch.readBacks[$0] : watch.destinations[$0] } ?? watch.source
      if !side.errnos.contains(error.errno), !(error.errno == EIO && side.errnos.contains(0)) {
        complain("an errno that nobody said: \(error)")
      }
      if (error.step == .read) != (error.destination == nil) { complain("an error of two sides: \(error)") }
    }
    for (index, destination) in progress.destinations.enumerated() {
      if let error = destination.error, error.destination != index { complain("destination \(index) has the error of another: \(error)") }
    }
  }
}
