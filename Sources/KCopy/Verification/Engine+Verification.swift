internal import Glibc
internal import URing

/// Reading back what destinations hold, once all of it is flushed: each by itself, as soon as it is there.
extension Engine where Driver: ~Copyable {
  /// Brings a destination to its end, or reads it back before.
  mutating func verifyOrFinish(_ task: CopyTask, _ destination: Int) {
    guard task.request.options.verifies else { return task.finish(destination) }
    // What ends for another reason hasn't been verified, whatever it has.
    guard !task.isStopped, !task.isSuspended else { return }
    beginIfFirst(task)
    guard task.beginVerification(of: destination) else { return task.finish(destination) }
    queue(task)
  }

  /// Takes down the checksums of what destinations are given; zeroes in the place of what could not be read are no data.
  func noteChecksums(_ index: Int, _ task: CopyTask, _ run: PageRun, _ destinations: UInt64) {
    let (memory, subJob) = (arenas[run], subJobs[index])
    func note(_ part: Range<Int>) {
      guard !part.isEmpty else { return }
      let range = subJob.offset + UInt64(part.lowerBound)..<subJob.offset + UInt64(part.upperBound)
      task.checksums.note(memory.checksum(run.offset + part.lowerBound, count: part.count), of: range, for: destinations)
    }
    guard let unreadable = unreadable[index] else { return note(0..<subJob.count) }
    task.checksums.forget(subJob.range, for: destinations)
    var end = 0
    for bad in unreadable.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      note(end..<max(bad.lowerBound, end))
      end = max(bad.upperBound, end)
    }
    note(min(end, subJob.count)..<subJob.count)
  }

  // MARK: The beginning of a piece

  /// Starts to read back the next piece of a destination.
  mutating func beginReadBack(_ task: CopyTask, _ stream: Int, limit: Int, fromReserve: Bool) -> Start {
    guard let next = task.nextUnverified(stream, limit: limit) else {
      finishWhereComplete(task)
      return .later(now)
    }
    let destination = task.streams[stream].mask.trailingZeroBitCount
    var readBack = ReadBack(checksum: next.checksum)
    var count = next.range.count
    guard let run = takeReadBackPages(task, destination, at: next.range.lowerBound, &count, &readBack, fromReserve: fromReserve) else {
      return .noRoom
    }
    var subJob = SubJob(
      task: task.index, stream: stream, offset: next.range.lowerBound, count: count, run: run, carried: .only(destination),
      waiting: .only(destination), isReading: task.request.source != nil, isReserved: fromReserve)
    subJob.readBack = readBack
    let index = add(subJob, to: task)
    charge(task, count)
    let isSourceFirst = readBack.checksum == nil && task.request.source != nil
    readBackSide(TransferToken(destination: isSourceFirst ? nil : destination, subJob: index, progress: 0), to: nil)
    return .done
  }

  /// Takes the pages for a piece and what is read around it.  Without a checksum a part of a piece can be compared as well.
  private mutating func takeReadBackPages(
    _ task: CopyTask, _ destination: Int, at offset: UInt64, _ count: inout Int, _ readBack: inout ReadBack, fromReserve: Bool
  ) -> PageRun? {
    let most = fromReserve ? roomInReserve(task, .only(destination)) : arenas.limit - arenas.reserve
    guard most > 0 else { return nil }
    func pages(_ count: Int, isBare: Bool) -> Int {
      (widest(task, destination, offset, count, isBare: isBare) + PagePool.pageBytes - 1) / PagePool.pageBytes
    }
    if pages(count, isBare: false) > most {
      // There never is room for all of it and the units around it.
      readBack.isBare = pages(count, isBare: true) <= most
      if !readBack.isBare {
        readBack.checksum = nil
        shrink(task, destination, offset, &count, &readBack, to: most * PagePool.pageBytes)
      }
    }
    guard let run = arenas.take(pages(count, isBare: readBack.isBare), leaving: fromReserve ? 0 : arenas.reserve) else { return nil }
    if run.bytes < widest(task, destination, offset, count, isBare: readBack.isBare) {
      guard readBack.checksum == nil else {
        // The checksum is that of all of it; first in line waits for the pages.
        giveBack(run)
        return nil
      }
      shrink(task, destination, offset, &count, &readBack, to: run.bytes)
    }
    if fromReserve { forEachLoad(task, .only(destination)) { $0.reserve(run.count) } }
    notePages()
    return run
  }

  /// Makes a piece so short that it and the units around it fit, or it alone.
  private func shrink(
    _ task: CopyTask, _ destination: Int, _ offset: UInt64, _ count: inout Int, _ readBack: inout ReadBack, to bytes: Int
  ) {
    let unit = UInt64(task.plan.unit)
    for isBare in [false, true] {
      readBack.isBare = isBare
      var end = (offset + UInt64(min(count, bytes))) / unit * unit
      while end > offset, widest(task, destination, offset, Int(end - offset), isBare: isBare) > bytes { end -= min(unit, end) }
      if end > offset {
        count = Int(end - offset)
        return
      }
    }
    // Up to the next whole unit: what is around that is no more than one.
    count = min(count, Int((offset / unit + 1) * unit - offset))
    readBack.isBare = false
  }

  /// The most that is read for a piece, on either side.
  private func widest(_ task: CopyTask, _ destination: Int, _ offset: UInt64, _ count: Int, isBare: Bool) -> Int {
    let own = Frame(of: task.request.destinations[destination], offset, count, isBare: isBare).count
    return max(own, task.request.source.map { Frame(of: $0, offset, count, isBare: true).count } ?? 0)
  }

  // MARK: Transfers

  /// The frame that a transfer of a sub-job that reads back is a part of; `nil` for other sub-jobs.
  func frame(of token: TransferToken) -> Frame? {
    guard let readBack = subJobs[token.subJob].readBack else { return nil }
    let (offset, count) = (subJobs[token.subJob].offset, subJobs[token.subJob].count)
    let request = task(of: token.subJob).request
    if let destination = token.destination { return Frame(of: request.destinations[destination], offset, count, isBare: readBack.isBare) }
    // The source may come from the page cache, as it did when it was copied.
    return request.source.map { Frame(of: $0, offset, count, isBare: true) }
  }

  /// Reads one side on from some place of its frame, up to `end` of it or to its end.
  mutating func readBackSide(_ token: TransferToken, to end: Int?) {
    let task = task(of: token.subJob)
    guard let frame = frame(of: token), let run = subJobs[token.subJob].run else { preconditionFailure("a read-back of nothing") }
    precondition(frame.count <= run.bytes, "a frame that is longer than its pages")
    guard let region = token.destination.map({ task.request.destinations[$0] }) ?? task.request.source else { return }
    let part = frame.whole(token.progress..<(end ?? frame.count))
    busy(task, token.destination)
    let submitted = TransferToken(destination: token.destination, subJob: token.subJob, progress: part.lowerBound)
    let place = Place(arena: run.arena, offset: run.offset + part.lowerBound)
    let position = frame.start + UInt64(part.lowerBound)
    if token.destination == nil {
      driver.read(region.device, at: position, into: place, count: part.count, token: submitted.bits)
    } else {
      driver.readBack(region.device, at: position, into: place, count: part.count, token: submitted.bits)
    }
  }

  /// A read-back gave less than a whole unit: the piece alone is read then, byte by byte if need be, and an error or the end of a
  /// file that was cut off is met where it is.
  mutating func isStuck(_ token: TransferToken, _ task: CopyTask) {
    if token.destination != nil, subJobs[token.subJob].readBack?.isBare == false {
      subJobs[token.subJob].readBack?.isBare = true
      troubles[token.key] = nil
      return goOn(token, from: 0)
    }
    guard subJobs[token.subJob].triedAgain < Self.mostTries else { return failed(token, task, 0) }
    subJobs[token.subJob].triedAgain += 1
    goOn(token, from: token.progress)
  }

  /// One side of a piece has been read, all but what is `unread` of its frame: an error that is ignored has been noted.
  mutating func hasReadBack(_ token: TransferToken, _ task: CopyTask, unread: [Range<Int>] = []) {
    let index = token.subJob
    guard let frame = frame(of: token), let run = subJobs[index].run, let readBack = subJobs[index].readBack else { return }
    guard isWanted(token, task) else { return abandon(index, task) }
    let destination = subJobs[index].carried.trailingZeroBitCount
    let unread = unread.map(frame.inPiece).filter { !$0.isEmpty }
    if !unread.isEmpty { settleParts(index, task, destination, good: [], bad: unread) }
    let (memory, place, count) = (arenas[run], run.offset + frame.head, subJobs[index].count)
    if let known = blockChecksums[index] {
      return judge(index, task, destination, known.differences(memory, place, unread: unread))
    }
    if token.destination != nil, unread.isEmpty, readBack.checksum == memory.checksum(place, count: count) {
      return judge(index, task, destination, [])
    }
    let region = task.request.destinations[destination]
    let (position, block) = (region.start + subJobs[index].offset, region.device.facts.errorBlock)
    guard task.request.source != nil else {
      let wrong = BlockChecksums.notZero(memory, place, count: count, at: position, block: block, unread: unread)
      return judge(index, task, destination, wrong)
    }
    subJobs[index].readBack?.isDifferent = token.destination != nil && unread.isEmpty
    blockChecksums[index] = BlockChecksums(memory, place, count: count, at: position, block: block, unread: unread)
    readBackSide(TransferToken(destination: token.destination == nil ? destination : nil, subJob: index, progress: 0), to: nil)
  }

  // MARK: The judgement

  /// A piece has been compared: runs of it that are not what was written, in bytes of it.
  private mutating func judge(_ index: Int, _ task: CopyTask, _ destination: Int, _ wrong: [Range<Int>]) {
    var wrong = wrong
    // By its checksum it was another one; then all of it is the place, whatever the source has by now.
    if wrong.isEmpty, subJobs[index].readBack?.isDifferent == true { wrong = [0..<subJobs[index].count] }
    task.verified(destination, subJobs[index].range)
    if let first = wrong.first {
      let error = TransferError(
        errno: EILSEQ, step: .verify, destination: destination,
        offset: task.request.destinations[destination].start + subJobs[index].offset + UInt64(first.lowerBound),
        length: UInt64(first.count))
      refute(index, task, destination, wrong, error)
    }
    endReadBack(index, task)
  }

  private mutating func endReadBack(_ index: Int, _ task: CopyTask) {
    abandon(index, task)
    if task.isStopped || task.isPausedByError { clearLines(task) }
  }

  /// A side can't be read, and that isn't ignored.
  mutating func stopReadBack(_ token: TransferToken, _ task: CopyTask, _ error: TransferError) {
    let subJob = subJobs[token.subJob]
    if let destination = token.destination {
      let start = Int(error.offset - task.request.destinations[destination].start - subJob.offset)
      refute(token.subJob, task, destination, [start..<start + Int(error.length)], error)
    } else if task.request.options.errors == .pause {
      pause(task, .error(error))
    } else {
      task.note(error)
      task.isHalted = true
    }
    endReadBack(token.subJob, task)
  }

  /// The source can't tell where a piece differs from what was written: somewhere.
  mutating func refuteAll(_ index: Int, _ task: CopyTask) {
    judge(index, task, subJobs[index].carried.trailingZeroBitCount, [])
  }

  /// Parts of a piece are not on the destination as they were written, or can't be read from it: unless errors are ignored they
  /// are lacking from now on, and written again by whoever goes on.
  mutating func refute(_ index: Int, _ task: CopyTask, _ destination: Int, _ parts: [Range<Int>], _ error: TransferError) {
    switch task.request.options.errors {
    case .ignore:
      task.note(error)
      return settleParts(index, task, destination, good: [], bad: parts)
    case .pause:
      pause(task, .error(error))
      task.endVerification(of: destination)
    case .drop, .stop: fail(task, destination, error)
    }
    let offset = subJobs[index].offset
    let lacking = parts.map { offset + UInt64($0.lowerBound)..<offset + UInt64($0.upperBound) }
    task.settle(destination, lacking.map { ($0, .missing) }, in: subJobs[index].range)
  }
}
