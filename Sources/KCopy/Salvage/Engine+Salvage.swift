internal import Synchronization
internal import URing

/// Copies that ignore errors: what could not be read is set aside, and read when the rest has been, in the order of ``Salvage``.
///
/// One piece at a time, for a disk that is dying has enough to do.
extension Engine where Driver: ~Copyable {
  /// For so long blocks of a piece are read before what was had of it is written.
  private static var salvagePatience: UInt64 { 1_000_000_000 }

  /// Has a copy read what was set aside for those destinations that have been given all else: they wait for no other.
  mutating func beginSalvageIfDue(_ task: CopyTask) {
    guard task.salvages else { return }
    if let over = task.streams.firstIndex(where: { $0.isSalvaging && $0.mask == 0 }) {
      task.streams[over].isSalvaging = false
      // Who was let go meanwhile lacks what the others were given.
      finishWhereComplete(task)
    }
    guard !task.salvage.areas.isEmpty, !task.isStopped else { return }
    var due = task.live & ~task.finished
    for stream in task.streams where !stream.isSpent && !stream.isVerifying { due &= ~stream.mask }
    guard due != 0 else { return }
    for number in task.subJobs where subJobs[number].isReading && subJobs[number].readBack == nil { due &= ~subJobs[number].waiting }
    due.forEachMember { destination in
      if task.copy.publish({ $0.maps[destination].next(.missing, from: 0) == nil }) { due &= ~UInt64.only(destination) }
    }
    if due != 0 { task.add(Stream(mask: due, cursor: 0, end: .max, isFresh: false, isSalvaging: true)) }
  }

  /// Starts the next step.
  mutating func beginStep(_ task: CopyTask, _ stream: Int, fromReserve: Bool) -> Start {
    guard !task.salvage.isBusy else { return .nothing }
    // What others of theirs still wait for isn't in the maps yet.
    for number in task.subJobs { publishWritten(number, task) }
    guard let (step, range, mask) = nextStep(task, stream) else {
      task.streams[stream].mask = 0
      // What else they lack they are given as ever.
      finishWhereComplete(task)
      return .later(now)
    }
    guard hasRoom(for: mask.nonzeroBitCount, fromReserve: fromReserve) else { return .noRoom }
    var count = range.count
    guard fits(task, stream, at: range.lowerBound, count) else { return .nothing }
    guard let run = takePages(task, for: mask, at: range.lowerBound, piece: &count, fromReserve: fromReserve) else { return .noRoom }
    // What there are pages for, which is a multiple of the plan's unit behind the piece's beginning.
    let start = step.isDescending ? range.upperBound - UInt64(count) : range.lowerBound
    let shift =
      step.isDescending ? (start - range.lowerBound + UInt64(task.plan.unit) - 1) / UInt64(task.plan.unit) * UInt64(task.plan.unit) : 0
    let piece = range.lowerBound + shift..<min(range.upperBound, start + UInt64(count))
    var subJob = SubJob(
      task: task.index, stream: stream, offset: piece.lowerBound, count: piece.count, run: run, carried: mask, waiting: mask,
      isReading: true, isReserved: fromReserve, isRepair: true)
    subJob.step = step.clamped(to: piece)
    subJob.readSince = now
    let index = add(subJob, to: task)
    charge(task, piece.count)
    task.salvage.isBusy = true
    guard step.isByBlock, let source = task.request.source else {
      read(index, from: 0)
      return .done
    }
    let blocks = Self.blocks(of: source.device, 0..<piece.count, at: source.start + piece.lowerBound, step)
    let token = TransferToken(destination: nil, subJob: index, progress: 0)
    let error = TransferError(errno: 0, step: .read, destination: nil, offset: source.start + piece.lowerBound, length: UInt64(piece.count))
    var trouble = Trouble(error: error, resumes: task.resumes)
    trouble.isNarrowing = true
    trouble.pending = blocks
    troubles[token.key] = trouble
    tryNext(token, task)
    return .done
  }

  /// The blocks of a piece, the first to be read last.
  private static func blocks(of source: Device, _ piece: Range<Int>, at position: UInt64, _ step: Salvage.Step) -> [Range<Int>] {
    let blocks = Trouble.blocks(piece, at: position, block: source.facts.errorBlock)
    return step.isDescending ? blocks : blocks.reversed()
  }

  /// The next step that is for somebody, as far as it is for the same ones: what it reads for them, which is made of whole blocks.
  private func nextStep(_ task: CopyTask, _ stream: Int) -> (step: Salvage.Step, range: Range<UInt64>, mask: UInt64)? {
    let block = UInt64(task.request.largestBlock)
    while let step = task.salvage.next() {
      var last: (range: Range<UInt64>, destinations: UInt64)?
      var at = step.range.lowerBound
      while at < step.range.upperBound, let lacking = lacking(task, stream, in: at..<step.range.upperBound) {
        last = lacking
        at = lacking.range.upperBound
        if !step.isDescending { break }
      }
      guard let (range, members) = last else {
        task.salvage.resolve(step.range)
        continue
      }
      // What nobody lacks need not be tried.
      task.salvage.resolve(step.isDescending ? range.upperBound..<step.range.upperBound : step.range.lowerBound..<range.lowerBound)
      let end = (range.upperBound + block - 1) / block * block
      return (step, range.lowerBound / block * block..<min(end, task.plan.count), members)
    }
    return nil
  }

  /// The first part of a range that destinations of a stream lack and aren't being written, as far as it is the same ones.
  private func lacking(
    _ task: CopyTask, _ stream: Int, in range: Range<UInt64>
  ) -> (range: Range<UInt64>, destinations: UInt64)? {
    var at = range.lowerBound
    while let (lacking, members) = task.copy.publish({ $0.nextLacking(task.streams[stream].mask & task.live, from: at) }),
      lacking.lowerBound < range.upperBound
    {
      var (part, others) = (lacking.clamped(to: range), members)
      for number in task.subJobs where subJobs[number].waiting & members != 0 && subJobs[number].range.overlaps(part) {
        let offset = subJobs[number].offset
        for settled in settledParts(of: 0..<subJobs[number].count, number) {
          let written = offset + UInt64(settled.lowerBound)..<offset + UInt64(settled.upperBound)
          if written.contains(part.lowerBound) {
            others &= ~subJobs[number].waiting
            part = part.lowerBound..<min(part.upperBound, written.upperBound)
          } else if written.overlaps(part) {
            part = part.lowerBound..<written.lowerBound
          }
        }
      }
      if others != 0 { return (part, others) }
      at = part.upperBound
    }
    return nil
  }

  /// Whether a piece that can't be read is tried again behind all else: not what only waits for a last try.
  func isSetAside(_ index: Int, _ task: CopyTask) -> Bool {
    guard task.salvages, subJobs[index].readBack == nil else { return false }
    return subJobs[index].step != nil || !isBlock(index, task) || !task.salvage.isGivenUp(1)
  }

  private func isBlock(_ index: Int, _ task: CopyTask) -> Bool {
    guard let source = task.request.source else { return false }
    return Trouble.isOneBlock(0..<subJobs[index].count, at: source.start + subJobs[index].offset, block: source.device.facts.errorBlock)
  }

  /// A read failed of what is set aside.
  mutating func unread(_ token: TransferToken, _ task: CopyTask, _ errno: Int32) {
    let index = token.subJob
    if let step = subJobs[index].step {
      if step.isByBlock { return unreadBlock(token, task, step, errno) }
      task.salvage.failed(step)
    } else {
      // Its stream may be over, and another in its place.
      let stream = subJobs[index].isInSlot && !task.streams[subJobs[index].stream].isSpent ? subJobs[index].stream : nil
      let end = stream.map { min(task.streams[$0].end, task.plan.count) } ?? 0
      let next = task.salvage.failed(
        subJobs[index].range, isBlock: isBlock(index, task), cursor: stream.map { task.streams[$0].cursor } ?? 0, end: end)
      if let stream { task.streams[stream].cursor = next }
    }
    task.isUneven = true
    queue(task)
    abandon(index, task)
  }

  private mutating func unreadBlock(_ token: TransferToken, _ task: CopyTask, _ step: Salvage.Step, _ errno: Int32) {
    guard let piece = troubles[token.key]?.piece else { preconditionFailure("a block of nothing") }
    let rest = token.progress..<piece.upperBound
    if piece.lowerBound < rest.lowerBound { troubles[token.key]?.good.append(piece.lowerBound..<rest.lowerBound) }
    troubles[token.key]?.piece = nil
    if let source = task.request.source {
      let blocks = Self.blocks(of: source.device, rest, at: source.start + subJobs[token.subJob].offset + UInt64(rest.lowerBound), step)
      guard blocks.count == 1 else {
        // Of a device that seemed to be gone, and isn't.
        troubles[token.key]?.pending += blocks
        return tryNext(token, task)
      }
    }
    troubles[token.key]?.bad.append(rest)
    if task.salvage.isGivenUp(step.tries) { task.note(error(token, task, rest, errno)) }
    // A block of a destination that is larger is read to its end.
    let block = task.request.largestBlock
    if step.endsAtBad { troubles[token.key]?.pending.removeAll { $0.lowerBound / block != rest.lowerBound / block } }
    tryNext(token, task)
  }

  /// Whether what is left of a piece that is read block by block has to wait: so that what was had is not kept for long.
  func endsEarly(_ token: TransferToken, _ task: CopyTask) -> Bool {
    guard let step = subJobs[token.subJob].step, step.isByBlock, token.destination == nil, let trouble = troubles[token.key],
      let next = trouble.pending.last, !trouble.good.isEmpty || !trouble.bad.isEmpty
    else { return false }
    // A block of a destination that is larger is read to its end.
    guard (step.isDescending ? next.upperBound : next.lowerBound) % task.request.largestBlock == 0 else { return false }
    return task.pause != nil || now - subJobs[token.subJob].readSince > Self.salvagePatience
  }

  /// A piece was read block by block: what was had of it is written, with zeroes for what is given up.
  mutating func tookStep(_ token: TransferToken, _ task: CopyTask, _ trouble: Trouble) {
    troubles[token.key] = nil
    let index = token.subJob
    guard let step = subJobs[index].step, let run = subJobs[index].run else { preconditionFailure("a step without its piece") }
    let (offset, whole, block) = (subJobs[index].offset, 0..<subJobs[index].count, task.request.largestBlock)
    let bad = trouble.bad.sorted { $0.lowerBound < $1.lowerBound }
    let isGivenUp = task.salvage.isGivenUp(step.tries)
    let known =
      isGivenUp ? (trouble.good + bad).sorted { $0.lowerBound < $1.lowerBound } : trouble.good.sorted { $0.lowerBound < $1.lowerBound }
    // Where a part of a destination's block may come yet, nothing of it is written.
    let open = Trouble.complement(of: known, in: whole, block: block)
    func inRegion(_ ranges: [Range<Int>]) -> [Range<UInt64>] {
      ranges.map { (offset + UInt64($0.lowerBound)..<offset + UInt64($0.upperBound)).clamped(to: step.range) }.filter { !$0.isEmpty }
    }
    let failed = isGivenUp ? bad : Trouble.widened(bad, in: whole, block: block)
    task.salvage.took(step, good: inRegion(Trouble.complement(of: open, in: whole, block: 1)), bad: inRegion(failed))
    queue(task)
    guard open != [whole] else { return abandon(index, task) }
    for range in bad { arenas[run].zero(run.offset + range.lowerBound, count: range.count) }
    if isGivenUp, !bad.isEmpty { unreadable[index] = bad }
    if let last = open.last {
      // What fills up a destination's last block comes with what is before it.
      let end = last.upperBound == whole.count ? task.widest(subJobs[index].waiting, offset: offset, count: whole.count) : last.upperBound
      unsettled[index] = open.dropLast() + [last.lowerBound..<end]
    }
    beginWrites(index, task)
  }

  /// A piece was read at a time.
  func readForSalvage(_ index: Int, _ task: CopyTask) {
    guard task.salvages, subJobs[index].readBack == nil, !subJobs[index].isBlank else { return }
    guard let step = subJobs[index].step else { return task.salvage.read(subJobs[index].range) }
    if !step.isByBlock { task.salvage.resolve(step.range) }
  }

  /// Where a write goes on that has come to a place which isn't there yet.
  func settled(from progress: Int, _ index: Int) -> Int {
    unsettled[index]?.first { $0.contains(progress) }?.upperBound ?? progress
  }

  /// What of a range of a sub-job is there to be written.
  func settledParts(of range: Range<Int>, _ index: Int) -> [Range<Int>] {
    guard let open = unsettled[index] else { return range.isEmpty ? [] : [range] }
    return Trouble.complement(of: open.map { $0.clamped(to: range) }.filter { !$0.isEmpty }, in: range, block: 1)
  }
}
