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
    moved(token, task)
  }

  /// Where the transfer ends that a token is of.
  func end(of token: TransferToken) -> Int {
    if let piece = troubles[token.key]?.piece { return piece.upperBound }
    if let frame = frame(of: token) { return frame.needed }
    guard let destination = token.destination else { return subJobs[token.subJob].count }
    return writeCount(token.subJob, destination)
  }

  /// Submits the rest of a transfer.
  mutating func goOn(_ token: TransferToken, from progress: Int) {
    if subJobs[token.subJob].readBack != nil {
      let rest = TransferToken(destination: token.destination, subJob: token.subJob, progress: progress)
      return readBackSide(rest, to: troubles[token.key]?.piece?.upperBound)
    }
    let end = end(of: token)
    if let destination = token.destination {
      write(token.subJob, to: destination, from: progress, to: end)
    } else {
      read(token.subJob, from: progress, to: end)
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
    if subJobs[index].carried == 0 {
      endIfDone(index, task)
      return endIfIdle(task)
    }
    let wanted = subJobs[index].waiting & task.live
    if let run = subJobs[index].run {
      let count = subJobs[index].count
      let first = task.request.source == nil ? 0 : count
      let widest = task.widest(wanted, offset: subJobs[index].offset, count: count)
      arenas[run].zero(run.offset + first, count: widest - first)
      if task.request.options.verifies, task.request.source != nil { noteChecksums(index, task, run, wanted) }
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
    guard subJobs[index].run == nil || task.zeroesByItself(destination) else { return write(index, to: destination, from: 0) }
    let region = task.request.destinations[destination]
    let token = TransferToken(destination: destination, subJob: index, progress: 0)
    busy(task, destination)
    region.device.zero(at: region.start + subJobs[index].offset, count: UInt64(writeCount(index, destination))) { [mailbox] result in
      mailbox.post(.zeroed(token: token.bits, result: result))
    }
  }

  /// A device has zeroed a piece by itself, or says that it doesn't: then the zeroes are written, as all that it still lacks.
  mutating func complete(zeroed token: TransferToken, _ result: Int32) {
    let task = task(of: token.subJob)
    idle(task, token.destination)
    guard let destination = token.destination else { preconditionFailure("zeroes for no destination") }
    if result == 0 {
      shared.bytesWritten.wrappingAdd(UInt64(writeCount(token.subJob, destination)), ordering: .relaxed)
      return moved(token, task)
    }
    // Which block it was nobody says: written one by one, they tell.
    task.sides[destination].writesZeroes = true
    leave(token.subJob, task, destination)
  }

  /// With ascending writes: the first in line is written, when it has been read and the one before it has completed.
  mutating func writeFirstInLine(_ task: CopyTask, _ destination: Int) {
    guard !task.sides[destination].isWriting, let index = task.sides[destination].line.first, !subJobs[index].isReading else { return }
    guard task.live.has(destination), !task.isStopped, !task.isPausedByError else { return leave(index, task, destination) }
    task.sides[destination].isWriting = true
    beginWrite(index, task, destination)
  }
}
