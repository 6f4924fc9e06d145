internal import CSystemShims

/// What others see of a copy: counters and maps.
extension CopyTask {
  /// Takes down that destinations have all of a piece.
  func wrote(_ destinations: UInt64, _ range: Range<UInt64>) {
    let (live, isUneven) = (live, isUneven)
    let count = UInt64(range.count)
    copy.publish { published in
      destinations.forEachMember { destination in
        published.maps[destination].set(range, .written)
        published.progress.destinations[destination].bytesDone += count
      }
      if !isUneven, live & ~destinations == 0 {
        published.progress.bytesDone += count
      } else if live & destinations != 0 {
        // Counted when the last of them has it.
        published.progress.bytesDone += published.common(live, in: range)
      }
    }
  }

  /// Takes down what has become of parts of a piece on one destination.
  func settle(_ destination: Int, _ parts: [(range: Range<UInt64>, status: RangeMap.Status)], in piece: Range<UInt64>) {
    isUneven = true
    let live = live
    copy.publish { published in
      // Counted before and after in the piece alone: a map with many bad sectors is long.
      func count(_ status: RangeMap.Status) -> UInt64 { published.maps[destination].bytes(status, in: piece) }
      func common(onlyDurable: Bool) -> UInt64 { live == 0 ? 0 : published.common(live, in: piece, onlyDurable: onlyDurable) }
      let (written, durable, failed) = (count(.written), count(.durable), count(.failed))
      let before = (done: common(onlyDurable: false), durable: durable == 0 ? 0 : common(onlyDurable: true))
      for part in parts { published.maps[destination].set(part.range, part.status) }
      published.progress.destinations[destination].bytesDone += count(.written) + count(.durable)
      published.progress.destinations[destination].bytesDone -= written + durable
      published.progress.destinations[destination].bytesDurable += count(.durable)
      published.progress.destinations[destination].bytesDurable -= durable
      published.progress.destinations[destination].bytesFailed += count(.failed)
      published.progress.destinations[destination].bytesFailed -= failed
      published.progress.bytesDone = published.progress.bytesDone + common(onlyDurable: false) - before.done
      // What is written once more is durable after the next flush only.
      if durable != 0 { published.progress.bytesDurable = published.progress.bytesDurable + common(onlyDurable: true) - before.durable }
    }
  }

  /// Counts anew from the maps.
  func recount() {
    let live = live
    copy.publish { $0.recount(live) }
  }

  /// Takes down an error of a destination, or `nil` of the source; the first one is remembered.
  func note(_ error: TransferError) {
    copy.publish { published in
      published.progress.firstError = published.progress.firstError ?? error
      if let destination = error.destination {
        published.progress.writeErrors |= .only(destination)
        published.progress.destinations[destination].error = published.progress.destinations[destination].error ?? error
      } else {
        published.progress.readError = true
      }
    }
  }

  /// Takes down the failure of one destination: the others go on without it.
  func fail(_ destination: Int, _ error: TransferError) {
    note(error)
    live &= ~UInt64.only(destination)
    isUneven = true
    unstream(destination)
    copy.publish { $0.progress.destinations[destination].state = .failed }
    recount()
  }

  /// The flush of a destination succeeded: what was written when it was submitted, all of it where nothing was written since,
  /// is on the medium.
  ///
  /// - Returns: whether that is more than before.
  @discardableResult
  func becameDurable(_ destination: Int, _ covered: [Range<UInt64>]?) -> Bool {
    let live = live
    // Flushed in the middle, two destinations that have as much need not have the same.
    let isUneven = isUneven || request.takesCheckpoints
    return copy.publish { published in
      let before = published.progress.destinations[destination].bytesDurable
      if let covered {
        let more = covered.reduce(0) { $0 + published.maps[destination].replace(.written, with: .durable, in: $1) }
        published.progress.destinations[destination].bytesDurable += more
      } else {
        published.maps[destination].replace(.written, with: .durable)
        published.progress.destinations[destination].bytesDurable = published.progress.destinations[destination].bytesDone
      }
      guard live != 0 else { return published.progress.destinations[destination].bytesDurable > before }
      let others = published.progress.destinations.indices.filter { live.has($0) }
      if isUneven {
        published.progress.bytesDurable = published.common(live, in: 0..<published.maps[destination].count, onlyDurable: true)
      } else {
        published.progress.bytesDurable = others.map { published.progress.destinations[$0].bytesDurable }.min() ?? 0
      }
      return published.progress.destinations[destination].bytesDurable > before
    }
  }

  /// What was written to a destination may be lost, and has to be written again.
  func lost(_ destination: Int) {
    isUneven = true
    noteFlushes(destination)
    copy.publish { $0.maps[destination].replace(.written, with: .missing) }
    recount()
  }

  /// A destination comes to its end.
  func finish(_ destination: Int) {
    finished |= .only(destination)
    let (flushes, isVerified) = (request.options.flushes, isVerified(destination))
    copy.publish { published in
      if published.progress.destinations[destination].error == nil {
        let isDone = isVerified && published.maps[destination].isComplete(durable: flushes)
        published.progress.destinations[destination].state = isDone ? .done : .failed
      } else {
        published.progress.destinations[destination].state = .failed
      }
    }
  }

  /// The last snapshot: every destination is in its final state, or where a later copy goes on.
  func conclude() {
    let (isCancelled, finished) = (isCancelled, endsSuspended ? finished | live : finished)
    copy.publish { published in
      published.progress.phase = .none
      published.progress.pause = nil
      for index in published.progress.destinations.indices where !finished.has(index) {
        let hasFailed = published.progress.destinations[index].error != nil
        published.progress.destinations[index].state = isCancelled && !hasFailed ? .cancelled : .failed
      }
    }
  }
}

extension Copy.Published {
  /// Counts anew from the maps.
  mutating func recount(_ live: UInt64) {
    for index in maps.indices {
      let durable = maps[index].bytes(.durable)
      progress.destinations[index].bytesDurable = durable
      progress.destinations[index].bytesDone = durable + maps[index].bytes(.written)
      progress.destinations[index].bytesFailed = maps[index].bytes(.failed)
    }
    let all = 0..<(maps.first?.count ?? 0)
    // With nobody left the last count stands: it said what all had.
    guard live != 0 else { return }
    progress.bytesDone = common(live, in: all)
    progress.bytesDurable = common(live, in: all, onlyDurable: true)
  }

  /// The first range from an offset on that some of the destinations lack, as far as the same ones lack all of it, and those;
  /// `nil` when none lacks anything.
  func nextLacking(_ destinations: UInt64, from offset: UInt64) -> (range: Range<UInt64>, destinations: UInt64)? {
    var (start, end) = (UInt64.max, UInt64.max)
    var members: UInt64 = 0
    destinations.forEachMember { destination in
      guard let lacking = maps[destination].next(.missing, from: offset) else { return }
      if lacking.start < start {
        // Who lacks what comes later has what is before.
        end = min(lacking.end, members == 0 ? .max : start)
        (start, members) = (lacking.start, .only(destination))
      } else if lacking.start == start {
        members |= .only(destination)
        end = min(end, lacking.end)
      } else {
        end = min(end, lacking.start)
      }
    }
    return members == 0 ? nil : (start..<end, members)
  }

  /// How many bytes of a range every one of the destinations has.
  func common(_ destinations: UInt64, in range: Range<UInt64>, onlyDurable: Bool = false) -> UInt64 {
    var total: UInt64 = 0
    var at = range.lowerBound
    while at < range.upperBound {
      var end = range.upperBound
      var all = true
      destinations.forEachMember { destination in
        guard all else { return }
        let extent = maps[destination].extent(at: at)
        end = min(end, extent.end)
        all = extent.status == .durable || (extent.status == .written && !onlyDurable)
      }
      if all { total += end - at }
      at = end
    }
    return total
  }
}
