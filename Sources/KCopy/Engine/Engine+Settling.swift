/// The end of a sub-job, destination by destination.
extension Engine where Driver: ~Copyable {
  /// Takes down what became of the parts of a piece on one destination; ranges are bytes of the sub-job.
  func settleParts(_ index: Int, _ task: CopyTask, _ destination: Int, good: [Range<Int>], bad: [Range<Int>] = []) {
    let subJob = subJobs[index]
    let good = subJob.doubtful.has(destination) ? [] : good.flatMap { settledParts(of: $0, index) }
    func inRegion(_ range: Range<Int>) -> Range<UInt64>? {
      // What fills up the last block lies behind the region.
      let end = min(range.upperBound, subJob.count)
      guard range.lowerBound < end else { return nil }
      return subJob.offset + UInt64(range.lowerBound)..<subJob.offset + UInt64(end)
    }
    if !bad.isEmpty || unsettled[index] != nil {
      // A checksum is that of all of a piece.
      for part in settledParts(of: 0..<subJob.count, index) { inRegion(part).map { task.checksums.forget($0, for: .only(destination)) } }
    }
    // The later ones hold: what could not be read is no data, although it was written.
    let parts: [(range: Range<UInt64>, status: RangeMap.Status)] =
      good.compactMap(inRegion).map { ($0, .written) } + (unreadable[index] ?? []).compactMap(inRegion).map { ($0, .failed) }
      + bad.compactMap(inRegion).map { ($0, .failed) }
    task.settle(destination, parts, in: subJob.range)
  }

  /// A destination has come to an end with a sub-job: it has it, or never will.
  mutating func leave(_ index: Int, _ task: CopyTask, _ destination: Int) {
    guard subJobs[index].waiting.has(destination) else { return }
    subJobs[index].waiting &= ~UInt64.only(destination)
    task.sides[destination].carried -= 1
    if subJobs[index].readBack == nil { endCheckpointPause(of: task, destination) }
    if subJobs[index].isReserved, let run = subJobs[index].run {
      let most = arenas.reserve / 2
      loads[load(of: destination, task)]?.giveBack(run.count, most: most)
    }
    // The others of its stream may have to wait for somebody now.
    if subJobs[index].waiting != 0, !task.isStopped { queue(task) }
    if task.isSequential, let place = task.sides[destination].line.firstIndex(of: index) {
      if place == 0 { task.sides[destination].isWriting = false }
      task.sides[destination].line.remove(at: place)
    }
    releaseSlot(index, task)
    if !subJobs[index].isInSlot || isAwaitedByNone(index, task) { publishWritten(index, task) }
    endIfDone(index, task)
    if task.isSequential { writeFirstInLine(task, destination) }
    if task.sides[destination].carried == 0 || task.isSuspended { finishIfComplete(task, destination) }
    if !task.salvage.areas.isEmpty, !task.isStopped { queue(task) }
    endIfIdle(task)
  }

  /// All destinations of a sub-job that wait for it get nothing.
  mutating func abandon(_ index: Int, _ task: CopyTask) {
    endReading(index, task)
    unclaim(index, task)
    // For the digest alone: nobody waits for it, and nobody but this ends it.
    if subJobs[index].carried == 0 {
      if subJobs[index].task >= 0 { endIfDone(index, task) }
      return endIfIdle(task)
    }
    var rest = subJobs[index].waiting
    while rest != 0 {
      let destination = rest.trailingZeroBitCount
      rest &= rest - 1
      leave(index, task, destination)
    }
  }

  /// The source has no more to do with a sub-job: however long the writes take, it may have pages of the reserve again.
  mutating func endReading(_ index: Int, _ task: CopyTask) {
    guard subJobs[index].isReading else { return }
    subJobs[index].isReading = false
    if subJobs[index].step != nil { task.salvage.isBusy = false }
    // It may be what the next piece waits for, or what was set aside.
    if !task.salvage.areas.isEmpty || task.salvage.isCareful { queue(task) }
    guard subJobs[index].isReserved, let run = subJobs[index].run else { return }
    let most = arenas.reserve / 2
    loads[load(of: nil, task)]?.giveBack(run.count, most: most)
  }

  /// A sub-job keeps its slot while a destination of its stream waits for it: who was let go keeps the pages only.
  mutating func releaseSlot(_ index: Int, _ task: CopyTask) {
    let stream = subJobs[index].stream
    guard subJobs[index].isInSlot, subJobs[index].hashPart == .none, isAwaitedByNone(index, task) else { return }
    subJobs[index].isInSlot = false
    task.streams[stream].inFlight -= 1
    if !task.isStopped { queue(task) }
  }

  /// Whether no destination of its stream waits for a sub-job any more.
  private func isAwaitedByNone(_ index: Int, _ task: CopyTask) -> Bool {
    subJobs[index].waiting & task.streams[subJobs[index].stream].mask == 0
  }

  /// A destination has failed: the slots of the sub-jobs that wait for it only are free.
  mutating func releaseSlots(_ task: CopyTask) {
    for number in task.subJobs {
      releaseSlot(number, task)
      if !subJobs[number].isInSlot || isAwaitedByNone(number, task) { publishWritten(number, task) }
    }
  }

  /// Shows what destinations have.
  mutating func publishWritten(_ index: Int, _ task: CopyTask) {
    let written = subJobs[index].written
    guard written != 0 else { return }
    subJobs[index].written = 0
    task.wrote(written, subJobs[index].range)
  }

  /// Shows what one destination has.
  mutating func publishWritten(of destination: Int, _ task: CopyTask) {
    for number in task.subJobs where subJobs[number].written.has(destination) { publishWritten(number, task) }
  }

  /// Ends a sub-job that neither a destination nor the digest waits for.
  mutating func endIfDone(_ index: Int, _ task: CopyTask) {
    guard subJobs[index].waiting == 0, subJobs[index].hashPart == .none, !subJobs[index].isReading else { return }
    end(index, task)
  }

  /// Gives back what a sub-job held.
  private mutating func end(_ index: Int, _ task: CopyTask) {
    let subJob = subJobs[index]
    unreadable[index] = nil
    unsettled[index] = nil
    blanks[index] = nil
    blockChecksums[index] = nil
    if let run = subJob.run {
      giveBack(run)
      if subJob.isLagging { laggingPages -= run.count }
    }
    reservedTransfers -= subJob.transfers
    subJobs[index].task = -1
    freeSubJobs.append(index)
    if let place = task.subJobs.firstIndex(of: index) { task.subJobs.remove(at: place) }
  }

  mutating func giveBack(_ run: PageRun) {
    if arenas.giveBack(run) { driver.detach(run.arena) }
    notePages()
  }
}
