internal import Glibc
internal import Synchronization

/// The end of each destination, and of a copy: flushed, then notified, once and with nothing in flight.
extension Engine where Driver: ~Copyable {
  mutating func finishWhereComplete(_ task: CopyTask) {
    for destination in task.sides.indices { finishIfComplete(task, destination) }
    endIfIdle(task)
  }

  /// Brings a destination to its end when it has all that it is to get: it waits for no other.
  mutating func finishIfComplete(_ task: CopyTask, _ destination: Int) {
    if task.isSuspended { return flushWhereSuspended(task, destination) }
    let side = task.sides[destination]
    guard task.live.has(destination), !task.finished.has(destination), !task.isStopped, task.pause == nil, side.carried == 0,
      !side.isFlushing, !task.isStreaming(destination)
    else { return }
    // What others still wait for isn't in the map yet.
    publishWritten(of: destination, task)
    if task.copy.publish({ $0.maps[destination].next(.missing, from: 0) != nil }) {
      // A device that didn't zero by itself after all, or an error that was waited out.
      return repair(task, destination)
    }
    task.unstreamRepairs(destination)
    if isFlushed(task, destination) {
      verifyOrFinish(task, destination)
    } else {
      flush(task, destination)
    }
  }

  /// Whether a last flush has nothing to do: after one in the middle that covered everything, or one before what was read back.
  private func isFlushed(_ task: CopyTask, _ destination: Int) -> Bool {
    guard task.request.options.flushes else { return true }
    if task.sides[destination].unverified != nil { return task.copy.publish { $0.maps[destination].next(.written, from: 0) == nil } }
    return task.request.takesCheckpoints && isDurable(task, destination)
  }

  private func isDurable(_ task: CopyTask, _ destination: Int) -> Bool {
    task.copy.publish { $0.maps[destination].isComplete(durable: true) }
  }

  /// Gives a destination what its map lacks, by a stream of its own.
  mutating func repair(_ task: CopyTask, _ destination: Int) {
    task.isUneven = true
    task.add(Stream(mask: .only(destination), cursor: 0, end: task.plan.count, isFresh: false))
    queue(task)
  }

  /// Flushes a destination: a last time, or in the middle of the copy for what is `covered`.
  mutating func flush(_ task: CopyTask, _ destination: Int, covering covered: [Range<UInt64>]? = nil) {
    task.sides[destination].isFlushing = true
    task.sides[destination].covered = covered
    task.sides[destination].flushBegan = now
    task.flushesInFlight += 1
    if covered == nil {
      if task.subJobs.isEmpty, !task.isCancelled { task.copy.publish { $0.progress.phase = .flush } }
      // One in the middle is no work of the throttle's: if it hangs, reads go on.
      busy(task, destination)
    }
    let index = task.index
    task.request.destinations[destination].device.flush { [mailbox] result in
      mailbox.post(.flushed(task: index, destination: destination, result: result))
    }
  }

  /// A flush came back.  After one that failed nothing says which bytes are on the medium, and a second flush would only
  /// say that there is nothing more to write: all that was written since the last good one is written again.
  mutating func flushed(_ index: Int, _ destination: Int, _ result: Int32) {
    guard let task = tasks[index] else { preconditionFailure("a flush without its copy") }
    let covered = task.sides[destination].covered
    task.flushesInFlight -= 1
    task.sides[destination].isFlushing = false
    task.sides[destination].covered = nil
    if covered == nil { idle(task, destination) }
    let result = result == 0 && task.missedFlush(destination) ? EIO : result
    var isMore = false
    if result == 0 {
      isMore = task.becameDurable(destination, covered)
      if covered != nil { task.sides[destination].lostFlushes = 0 }
      endAfterFlush(task, destination, wasLast: covered == nil)
    } else {
      lostFlush(task, destination, result)
    }
    planCheckpoint(of: task, destination)
    endIfIdle(task)
    if isMore { tellCheckpoint(of: task) }
  }

  private mutating func endAfterFlush(_ task: CopyTask, _ destination: Int, wasLast: Bool) {
    // It may have failed while it was flushed.
    guard task.live.has(destination) else { return }
    // All is there, whoever cancelled the copy meanwhile.
    if wasLast && !task.isSuspended || isDurable(task, destination) {
      verifyOrFinish(task, destination)
    } else {
      finishIfComplete(task, destination)
    }
  }

  private mutating func lostFlush(_ task: CopyTask, _ destination: Int, _ errno: Int32) {
    let region = task.request.destinations[destination]
    let error = TransferError(errno: errno, step: .flush, destination: destination, offset: region.start, length: region.count)
    lose(task, destination)
    // Where the copy is suspended the next one writes it again.
    guard task.live.has(destination), !task.isSuspended || task.isCancelled else { return }
    task.sides[destination].lostFlushes += 1
    if !task.isStopped, task.sides[destination].lostFlushes <= max(1, task.request.options.retries) {
      task.copy.publish { $0.progress.phase = .copy }
      // In the middle of the copy, when the destination has come to its end: what its map lacks then is written.
      finishIfComplete(task, destination)
    } else if task.request.options.errors == .pause, !task.isStopped {
      task.sides[destination].lostFlushes = 0
      pause(task, .error(error))
    } else {
      fail(task, destination, error)
    }
  }

  /// A destination has failed for good.  Who keeps how far a copy is hears of it where the others go on.
  mutating func fail(_ task: CopyTask, _ destination: Int, _ error: TransferError) {
    task.fail(destination, error)
    releaseSlots(task)
    if task.request.options.errors == .stop { task.isHalted = true }
    if task.request.checkpointed != nil, !task.isStopped { outbox.append(.checkpointed(task)) }
  }

  /// Takes down that all that a destination was written since its last good flush may be lost.
  ///
  /// Writes in flight are, too: the device may have taken one before it lost what it had, and its completion come late.
  private mutating func lose(_ task: CopyTask, _ destination: Int) {
    publishWritten(of: destination, task)
    for number in task.subJobs where task.isWriting(number, subJobs[number], destination) {
      subJobs[number].doubtful |= .only(destination)
    }
    task.lost(destination)
  }

  /// Ends a copy that starts nothing any more and has nothing in flight.
  mutating func endIfIdle(_ task: CopyTask) {
    if task.isStopped { stopHashing(task) }
    guard task.subJobs.isEmpty, task.flushesInFlight == 0, !task.layout.isAsked, task.index >= 0 else { return }
    guard task.isStopped || task.live & ~task.finished == 0 && task.isHashed else { return }
    if task.endsSuspended {
      for destination in task.sides.indices { flushWhereSuspended(task, destination) }
      if task.flushesInFlight > 0 { return }
      finishWhereSuspended(task)
    } else if !task.isCancelled, task.hasStarted, finishAfterError(task) {
      return
    }
    conclude(task)
  }

  /// What a copy that is suspended has written is flushed as soon as nothing more is written to that destination: neither the
  /// source nor another destination is waited for.
  private mutating func flushWhereSuspended(_ task: CopyTask, _ destination: Int) {
    guard !task.isCancelled, task.request.options.flushes, task.live.has(destination), !task.finished.has(destination),
      !task.sides[destination].isFlushing, !task.subJobs.contains(where: { task.isWriting($0, subJobs[$0], destination) })
    else { return }
    publishWritten(of: destination, task)
    if task.copy.publish({ $0.maps[destination].next(.written, from: 0) != nil }) { flush(task, destination) }
  }

  /// Destinations that a suspension finds with all that they were to get are at their end.
  private func finishWhereSuspended(_ task: CopyTask) {
    let lacking: [RangeMap.Status] = task.request.options.flushes ? [.missing, .written] : [.missing]
    (task.live & ~task.finished).forEachMember { destination in
      guard task.isVerified(destination) else { return }
      let isThere = task.copy.publish { published in lacking.allSatisfy { published.maps[destination].next($0, from: 0) == nil } }
      if isThere { task.finish(destination) }
    }
  }

  /// What was written before an error is flushed too: a later attempt need not write it again.
  ///
  /// - Returns: whether a flush has begun.
  private mutating func finishAfterError(_ task: CopyTask) -> Bool {
    var rest = task.live & ~task.finished
    while rest != 0 {
      let destination = rest.trailingZeroBitCount
      rest &= rest - 1
      if task.request.options.flushes, task.copy.publish({ $0.maps[destination].next(.written, from: 0) != nil }) {
        flush(task, destination)
      } else {
        task.finish(destination)
      }
    }
    return task.flushesInFlight > 0
  }

  private mutating func conclude(_ task: CopyTask) {
    task.conclude()
    let index = task.copy.task.exchange(-1, ordering: .relaxed)
    tasks[index] = nil
    freeTasks.append(index)
    task.heldUntil = nil
    for load in task.loads { removeUser(load) }
    outbox.append(.copy(task))
  }
}
