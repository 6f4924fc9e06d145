internal import Glibc
internal import URing

/// Transfers that fail: tried again, narrowed down, and what an error means for the copy.
extension Engine where Driver: ~Copyable {
  /// A transfer came back with an errno, or with nothing (0): the device has shrunk, or takes nothing, which no errno says.
  mutating func failed(_ token: TransferToken, _ task: CopyTask, _ errno: Int32) {
    guard isWanted(token, task) else { return giveUp(token, task) }
    if token.destination == nil, subJobs[token.subJob].readBack?.isDifferent == true { return refuteAll(token.subJob, task) }
    let isHopeless = errno == 0 || Trouble.isGone(errno)
    if token.destination == nil, !isHopeless, isSetAside(token.subJob, task) { return unread(token, task, errno) }
    let errno = errno == 0 ? EIO : errno
    let rest = token.progress..<end(of: token)
    // What is left of the piece is written as it is, zeroes too: it is simpler to say then which block it was.
    if let destination = token.destination { subJobs[token.subJob].isPlain |= .only(destination) }
    var trouble = troubles[token.key] ?? Trouble(error: error(token, task, rest, errno), resumes: task.resumes)
    if !trouble.isNarrowing {
      trouble.failures += 1
      if trouble.failures <= task.request.options.retries, !isHopeless {
        troubles[token.key] = trouble
        return goOn(token, from: token.progress)
      }
      trouble.isNarrowing = true
      trouble.error = error(token, task, rest, errno)
      if token.progress > 0 { trouble.good.append(0..<token.progress) }
      if let destination = token.destination, subJobs[token.subJob].readBack == nil {
        trouble.pending = settledParts(of: rest.upperBound..<writeCount(token.subJob, destination), token.subJob).reversed()
      }
    } else if let piece = trouble.piece, piece.lowerBound < rest.lowerBound {
      trouble.good.append(piece.lowerBound..<rest.lowerBound)
    }
    trouble.piece = nil
    troubles[token.key] = trouble
    let (device, position) = place(token, task, rest.lowerBound)
    let block = max(device.facts.errorBlock, frame(of: token)?.unit ?? 1)
    // A zone can't be written twice: what failed there has failed.
    let isWhole = isHopeless || (token.destination != nil && device.isZoned && subJobs[token.subJob].readBack == nil)
    if Trouble.isGone(errno), token.destination == nil, subJobs[token.subJob].step?.isByBlock == true,
      let first = trouble.pending.first, let last = trouble.pending.last
    {
      // Block by block it would fare no better.
      troubles[token.key]?.pending = [min(first.lowerBound, last.lowerBound)..<max(first.upperBound, last.upperBound)]
    }
    if isWhole || Trouble.isOneBlock(rest, at: position, block: block) {
      foundBad(token, task, rest, errno)
    } else {
      troubles[token.key]?.pending += Trouble.cut(rest, at: position, block: block).reversed()
      tryNext(token, task)
    }
  }

  private func place(_ token: TransferToken, _ task: CopyTask, _ offset: Int) -> (device: Device, position: UInt64) {
    guard let side = token.destination.map({ task.request.destinations[$0] }) ?? task.request.source else {
      preconditionFailure("a transfer without a side")
    }
    if let frame = frame(of: token) { return (side.device, frame.start + UInt64(offset)) }
    return (side.device, side.start + subJobs[token.subJob].offset + UInt64(offset))
  }

  func error(_ token: TransferToken, _ task: CopyTask, _ range: Range<Int>, _ errno: Int32) -> TransferError {
    let frame = frame(of: token)
    let range = frame.map { range.clamped(to: $0.head..<$0.needed) } ?? range
    return TransferError(
      errno: errno, step: token.destination == nil ? .read : frame == nil ? .write : .verify, destination: token.destination,
      offset: place(token, task, range.lowerBound).position, length: UInt64(range.count))
  }

  mutating func tryNext(_ token: TransferToken, _ task: CopyTask) {
    guard isWanted(token, task) else { return giveUp(token, task) }
    if endsEarly(token, task) { troubles[token.key]?.pending = [] }
    if let piece = troubles[token.key]?.pending.popLast() {
      troubles[token.key]?.piece = piece
      return goOn(token, from: piece.lowerBound)
    }
    guard let trouble = troubles[token.key] else { return }
    if token.destination == nil, subJobs[token.subJob].step?.isByBlock == true { return tookStep(token, task, trouble) }
    // Nothing in it fails now.  It did when it counted, unless what can be saved is all that is asked for, or the copy was
    // resumed since: then this was the attempt that was asked for.
    let isSaved = task.request.options.errors == .ignore || trouble.resumes != task.resumes
    guard isSaved else { return stopSide(token, task, trouble.error) }
    troubles[token.key] = nil
    if subJobs[token.subJob].readBack != nil { return hasReadBack(token, task, unread: trouble.bad) }
    if let destination = token.destination {
      settleParts(token.subJob, task, destination, good: trouble.good, bad: trouble.bad)
      leave(token.subJob, task, destination)
    } else {
      if !trouble.bad.isEmpty { unreadable[token.subJob] = trouble.bad }
      beginWrites(token.subJob, task)
    }
  }

  /// A piece of a transfer that is narrowed down was moved.
  mutating func pieceMoved(_ token: TransferToken, _ task: CopyTask, to end: Int) {
    if let piece = troubles[token.key]?.piece { troubles[token.key]?.good.append(piece.lowerBound..<end) }
    troubles[token.key]?.piece = nil
    tryNext(token, task)
  }

  /// A block, or all of a device that is gone, can't be moved.
  private mutating func foundBad(_ token: TransferToken, _ task: CopyTask, _ range: Range<Int>, _ errno: Int32) {
    let error = error(token, task, range, errno)
    guard task.request.options.errors == .ignore else { return stopSide(token, task, error) }
    task.note(error)
    troubles[token.key]?.bad.append(range)
    if token.destination == nil, let run = subJobs[token.subJob].run {
      arenas[run].zero(run.offset + range.lowerBound, count: range.count)
    }
    tryNext(token, task)
  }

  /// What an error means where it isn't ignored.
  private mutating func stopSide(_ token: TransferToken, _ task: CopyTask, _ error: TransferError) {
    let trouble = troubles.removeValue(forKey: token.key)
    if subJobs[token.subJob].readBack != nil { return stopReadBack(token, task, error) }
    let mode = task.request.options.errors
    if mode == .pause {
      pause(task, .error(error))
    } else if let destination = token.destination {
      fail(task, destination, error)
    } else {
      task.note(error)
      task.isHalted = true
      let bad = badPart(token, task, error)
      (subJobs[token.subJob].waiting & task.live).forEachMember { settleParts(token.subJob, task, $0, good: [], bad: bad) }
    }
    if let destination = token.destination {
      // What was moved of it is there, whatever became of the rest.
      settleParts(token.subJob, task, destination, good: trouble?.good ?? [], bad: mode == .pause ? [] : badPart(token, task, error))
      leave(token.subJob, task, destination)
    } else {
      abandon(token.subJob, task)
    }
    if task.isStopped || task.isPausedByError { clearLines(task) }
  }

  /// The place of an error, in bytes of the sub-job.
  private func badPart(_ token: TransferToken, _ task: CopyTask, _ error: TransferError) -> [Range<Int>] {
    let start = Int(error.offset - place(token, task, 0).position)
    return [start..<start + Int(error.length)]
  }

  /// Lets go of a transfer that nobody wants any more: the copy was cancelled, or the destination has failed.
  mutating func giveUp(_ token: TransferToken, _ task: CopyTask) {
    troubles[token.key] = nil
    if let destination = token.destination, subJobs[token.subJob].readBack == nil {
      leave(token.subJob, task, destination)
    } else {
      abandon(token.subJob, task)
    }
  }

  /// With ascending writes nothing that waits in line is written after an error: there would be a gap before it.
  mutating func clearLines(_ task: CopyTask) {
    guard task.isSequential else { return }
    for destination in task.sides.indices { writeFirstInLine(task, destination) }
  }
}
