internal import Glibc
internal import Synchronization
internal import URing

/// The way of one sub-job: a read, the writes, and what comes back of them.
extension Engine where Driver: ~Copyable {
  func task(of subJob: Int) -> CopyTask {
    guard let task = tasks[subJobs[subJob].task] else { preconditionFailure("a sub-job without its copy") }
    return task
  }

  /// Reads the rest of a sub-job, or up to `end` of it.
  mutating func read(_ index: Int, from progress: Int, to end: Int? = nil) {
    let task = task(of: index)
    guard let source = task.request.source, let run = subJobs[index].run else { preconditionFailure("a read of nothing") }
    busy(task, nil)
    driver.read(
      source.device, at: source.start + subJobs[index].offset + UInt64(progress),
      into: Place(arena: run.arena, offset: run.offset + progress), count: (end ?? subJobs[index].count) - progress,
      token: TransferToken(destination: nil, subJob: index, progress: progress).bits)
  }

  /// Writes the rest of a sub-job, or up to `end` of it.
  mutating func write(_ index: Int, to destination: Int, from progress: Int, to end: Int? = nil) {
    let task = task(of: index)
    guard let run = subJobs[index].run else { preconditionFailure("a write of nothing") }
    let region = task.request.destinations[destination]
    busy(task, destination)
    driver.write(
      region.device, at: region.start + subJobs[index].offset + UInt64(progress),
      from: Place(arena: run.arena, offset: run.offset + progress), count: (end ?? writeCount(index, destination)) - progress,
      token: TransferToken(destination: destination, subJob: index, progress: progress).bits)
  }

  func writeCount(_ index: Int, _ destination: Int) -> Int {
    task(of: index).writeCount(destination, offset: subJobs[index].offset, count: subJobs[index].count)
  }

  /// A file that always says EAGAIN would keep the thread busy for ever.
  static var mostTries: Int { 64 }

  /// Takes a completion; a transfer that was short, or is to be tried again, goes on where it stopped.
  mutating func complete(_ completion: Completion) {
    let token = TransferToken(bits: completion.token)
    if token.isHash { return hashed(token.subJob) }
    let task = task(of: token.subJob)
    idle(task, token.destination)
    let bytes = UInt64(max(0, completion.result))
    if completion.isFromCache { task.noteCache() }
    if token.destination == nil {
      shared.bytesRead.wrappingAdd(bytes, ordering: .relaxed)
    } else if subJobs[token.subJob].readBack == nil {
      shared.bytesWritten.wrappingAdd(bytes, ordering: .relaxed)
    }
    let errno = completion.result < 0 ? Int32(clamping: -completion.result) : 0
    if errno == EINTR || errno == EAGAIN, subJobs[token.subJob].triedAgain < Self.mostTries, isWanted(token, task) {
      subJobs[token.subJob].triedAgain += 1
      return goOn(token, from: token.progress)
    }
    if completion.result <= 0 { return failed(token, task, errno) }
    let progress = token.progress + Int(completion.result)
    if progress < end(of: token) {
      guard isWanted(token, task) else { return giveUp(token, task) }
      if let frame = frame(of: token), progress < token.progress + frame.unit { return isStuck(token, task) }
      return goOn(token, from: progress)
    }
    if troubles[token.key]?.isNarrowing == true { return pieceMoved(token, task, to: progress) }
    troubles[token.key] = nil
    advance(token, task, to: progress)
  }

  /// A transfer has come to its end, which need not be that of the piece.
  mutating func advance(_ token: TransferToken, _ task: CopyTask, to progress: Int) {
    guard let destination = token.destination, subJobs[token.subJob].readBack == nil, progress < writeCount(token.subJob, destination)
    else { return moved(token, task) }
    guard isWanted(token, task) else { return giveUp(token, task) }
    let next = settled(from: progress, token.subJob)
    if next < writeCount(token.subJob, destination) { goOn(token, from: next) } else { moved(token, task) }
  }

  /// Where the transfer ends that a token is of.
  func end(of token: TransferToken) -> Int {
    if let piece = troubles[token.key]?.piece { return piece.upperBound }
    if let frame = frame(of: token) { return frame.needed }
    guard let destination = token.destination else { return subJobs[token.subJob].count }
    return endOfData(from: token.progress, token.subJob, destination)
  }

  /// Submits the rest of a transfer.
  mutating func goOn(_ token: TransferToken, from progress: Int) {
    var next = token
    next.progress = progress
    if subJobs[token.subJob].readBack != nil { return readBackSide(next, to: troubles[token.key]?.piece?.upperBound) }
    guard let destination = token.destination else { return read(token.subJob, from: progress, to: end(of: next)) }
    if troubles[token.key]?.piece == nil, let blank = blank(at: progress, token.subJob, destination) {
      zero(token.subJob, task(of: token.subJob), destination, blank)
    } else {
      write(token.subJob, to: destination, from: progress, to: end(of: next))
    }
  }

  /// Whether a transfer's copy still wants its end: not once it ends itself, and not of a destination that has failed.
  func isWanted(_ token: TransferToken, _ task: CopyTask) -> Bool {
    guard !task.isEnding else { return false }
    if subJobs[token.subJob].readBack != nil { return task.live & subJobs[token.subJob].carried != 0 }
    return token.destination.map(task.live.has) ?? (task.live != 0)
  }

  /// A side has all of its sub-job.
  mutating func moved(_ token: TransferToken, _ task: CopyTask) {
    if subJobs[token.subJob].readBack != nil { return hasReadBack(token, task) }
    guard let destination = token.destination else { return beginWrites(token.subJob, task) }
    if unreadable[token.subJob] == nil, !subJobs[token.subJob].isRepair, !subJobs[token.subJob].doubtful.has(destination) {
      subJobs[token.subJob].written |= .only(destination)
    } else {
      settleParts(token.subJob, task, destination, good: [0..<subJobs[token.subJob].count])
    }
    leave(token.subJob, task, destination)
  }

  // MARK: Writes

  /// The piece is in its pages: every destination that still wants it gets it.
  mutating func beginWrites(_ index: Int, _ task: CopyTask) {
    endReading(index, task)
    // After a cancel or a suspension no write starts; after another sub-job's error those in flight finish.
    guard !task.isEnding else { return abandon(index, task) }
    readForDigest(index, task)
    readForSalvage(index, task)
    if subJobs[index].carried == 0 {
      endIfDone(index, task)
      return endIfIdle(task)
    }
    noteBlanks(index, task)
    let wanted = subJobs[index].waiting & task.live
    if let run = subJobs[index].run {
      let count = subJobs[index].count
      let first = subJobs[index].isBlank ? 0 : count
      let widest = task.widest(wanted, offset: subJobs[index].offset, count: count)
      arenas[run].zero(run.offset + first, count: widest - first)
      if task.request.options.verifies, task.request.source != nil, unsettled[index] == nil { noteChecksums(index, task, run, wanted) }
    }
    (subJobs[index].waiting & ~task.live).forEachMember { leave(index, task, $0) }
    var rest = wanted
    while rest != 0 {
      let destination = rest.trailingZeroBitCount
      rest &= rest - 1
      if task.isSequential { writeFirstInLine(task, destination) } else { beginWrite(index, task, destination) }
    }
  }

  private mutating func beginWrite(_ index: Int, _ task: CopyTask, _ destination: Int) {
    task.unverify(destination, subJobs[index].range)
    if subJobs[index].isBlank, subJobs[index].run == nil || task.zeroesByItself(destination) {
      zero(index, task, destination, 0..<writeCount(index, destination))
    } else {
      if !task.zeroesByItself(destination) { subJobs[index].isPlain |= .only(destination) }
      goOn(TransferToken(destination: destination, subJob: index, progress: 0), from: settled(from: 0, index))
    }
  }

  /// With ascending writes: the first in line is written, when it has been read and the one before it has completed.
  mutating func writeFirstInLine(_ task: CopyTask, _ destination: Int) {
    guard !task.sides[destination].isWriting, let index = task.sides[destination].line.first, !subJobs[index].isReading else { return }
    guard task.live.has(destination), !task.isStopped, !task.isPausedByError else { return leave(index, task, destination) }
    task.sides[destination].isWriting = true
    beginWrite(index, task, destination)
  }
}
