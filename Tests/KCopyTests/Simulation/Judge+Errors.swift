@testable import KCopy

/// What can be known of the outcome before a scenario begins.
extension Judge {
  /// A copy that ignores errors goes on to its end, and lists exactly what was bad.
  func judgeIgnored(_ notification: KCopy.Notification) {
    guard !watch.source.sawEnd else { return }
    for (index, map) in notification.maps.enumerated() {
      let hasLost = watch.flushes(index).contains { $0.result != 0 }
      guard !watch.destinations[index].sawEnd, !hasLost, map.bytes(.missing) > 0 else { continue }
      if watch.device(index).spec.isZoned, notification.progress.destinations[index].error != nil { continue }
      complain("errors are ignored, but \(map.bytes(.missing)) bytes of destination \(index) were never copied")
    }
    judgeLasting(notification)
  }

  private func judgeLasting(_ notification: KCopy.Notification) {
    let sides = watch.spec.destinations.indices.map { watch.device($0) } + [watch.sourceDevice].compactMap { $0 }
    guard sides.allSatisfy({ $0.spec.hasOnlyLastingFaults && !$0.isHealed && !$0.isLiar }) else { return }
    // Of a file whole pages are read back.
    if options.verifies, sides.contains(where: { $0.spec.isFile && !$0.spec.faults.isEmpty }) { return }
    var unreadable: [Range<UInt64>] = []
    if let source = watch.spec.source, let device = watch.sourceDevice { unreadable = bad(device, source.start, isRead: true) }
    if notification.progress.readError != !unreadable.isEmpty {
      complain("read error \(notification.progress.readError), with \(unreadable) that can't be read")
    }
    for (index, map) in notification.maps.enumerated() {
      let (device, start) = (watch.device(index), watch.spec.destinations[index].start)
      var unwritable = bad(device, start, isRead: false)
      if options.verifies {
        let unverifiable = bad(device, start, isRead: true)
        // What could not be read from the source isn't read back.
        if unverifiable.contains(where: { range in unreadable.contains(where: range.overlaps) }) { continue }
        unwritable += unverifiable
      }
      if (notification.progress.writeErrors & .only(index) != 0) != !unwritable.isEmpty {
        complain("bit of destination \(index) is wrong, with \(unwritable) that can't be written")
      }
      var expected = RangeMap(count: watch.spec.count, status: options.flushes ? .durable : .written)
      for range in unreadable + unwritable { expected.set(range, .failed) }
      if map != expected { complain("destination \(index) lists \(map.extents), and not \(expected.extents)") }
    }
  }

  /// The bad ranges of a region, from its start; an error is told from the next by whole blocks.
  private func bad(_ device: SimulatedDevice, _ start: UInt64, isRead: Bool) -> [Range<UInt64>] {
    let region = start..<start + watch.spec.count
    return device.spec.faults.compactMap { fault in
      guard fault.concerns(isRead), fault.range.overlaps(region) else { return nil }
      let clamped = fault.range.clamped(to: region)
      return clamped.lowerBound - start..<clamped.upperBound - start
    }
  }

  /// Bytes of the region that a destination lacks at the beginning, and that some destination does: one read serves all.
  private func lackingAtStart() -> (bySome: UInt64, byEach: [UInt64]) {
    let count = watch.spec.count
    guard !watch.spec.maps.isEmpty else { return (count, watch.spec.destinations.map { _ in count }) }
    var all = RangeMap(count: count)
    for map in watch.spec.maps { for extent in map.extents where extent.status == .missing { all.set(extent.start..<extent.end, .failed) } }
    return (all.bytes(.failed), watch.spec.maps.map { $0.bytes(.missing) })
  }

  /// Where nothing goes wrong and nobody is slow, everything is moved once.
  func judgeClean() {
    guard watch.isFinal else { return }
    let notification = watch.notifications[0]
    if !notification.isComplete { complain("nothing went wrong, but it is not complete: \(notification.progress)") }
    let lacking = lackingAtStart()
    let skipsHoles =
      options.keepsHoles && watch.sourceDevice?.spec.tellsHoles == true
      || options.sharesBlocks && watch.sourceDevice?.spec.isFile == true
    // The digest is of all of it; and with the source is compared what has no checksum: what an earlier attempt has left, a hole, and
    // what is larger than a client's pages by now.
    let read = options.hashes ? watch.spec.maps.first?.bytesToCopy ?? watch.spec.count : lacking.bySome
    let moved = watch.source.bytesMoved
    let isRight = options.verifies && (skipsHoles || moved >= read) || (skipsHoles ? moved <= read : moved == read)
    if watch.spec.source != nil, !isRight {
      complain("\(moved) bytes were read of \(read)")
    }
    for (index, side) in watch.destinations.enumerated() {
      let block = UInt64(watch.device(index).spec.logicalBlock)
      let whole = (watch.spec.count + block - 1) / block * block
      let wanted = watch.spec.maps.isEmpty ? whole : lacking.byEach[index]
      if side.bytesMoved != wanted { complain("\(side.bytesMoved) bytes were written to destination \(index), of \(wanted)") }
      let readBack = watch.readBacks[index].bytesMoved
      let asked = watch.spec.maps.isEmpty ? watch.spec.count : watch.spec.maps[index].bytesToCopy
      if readBack < (options.verifies ? asked : 0) { complain("\(readBack) bytes of destination \(index) were read back") }
    }
  }
}
