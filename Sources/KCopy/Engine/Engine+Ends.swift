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
    let side = task.sides[destination]
    guard task.live.has(destination), !task.finished.has(destination), !task.isStopped, task.pause == nil, side.carried == 0,
      !side.isFlushing, !task.isStreaming(destination)
    else { return }
    // What others still wait for isn't in the map yet.
    for number in task.subJobs where subJobs[number].written.has(destination) { publishWritten(number, task) }
    if task.copy.publish({ $0.maps[destination].next(.missing, from: 0) != nil }) {
      // A device that didn't zero by itself after all, or an error that was waited out.
      return repair(task, destination)
    }
    task.unstreamRepairs(destination)
    if task.request.options.flushes { flush(task, destination) } else { task.finish(destination) }
  }

  /// Gives a destination what its map lacks, by a stream of its own.
  mutating func repair(_ task: CopyTask, _ destination: Int) {
    task.isUneven = true
    task.add(Stream(mask: .only(destination), cursor: 0, end: task.plan.count, isFresh: false))
    queue(task)
  }

  private mutating func flush(_ task: CopyTask, _ destination: Int) {
    task.sides[destination].isFlushing = true
    task.flushesInFlight += 1
    if task.subJobs.isEmpty, !task.isCancelled { task.copy.publish { $0.progress.phase = .flush } }
    busy(task, destination)
    let index = task.index
    task.request.destinations[destination].device.flush { [mailbox] result in
      mailbox.post(.flushed(task: index, destination: destination, result: result))
    }
  }

  /// A flush came back.  After one that failed nothing says which bytes are on the medium, and a second flush would only
  /// say that there is nothing more to write: all that was written since the last good one is written again.
  mutating func flushed(_ index: Int, _ destination: Int, _ result: Int32) {
    guard let task = tasks[index] else { preconditionFailure("a flush without its copy") }
    task.flushesInFlight -= 1
    task.sides[destination].isFlushing = false
    idle(task, destination)
    let result = result == 0 && task.missedFlush(destination) ? EIO : result
    if result == 0 {
      task.becameDurable(destination)
      task.finish(destination)
    } else {
      lostFlush(task, destination, result)
    }
    endIfIdle(task)
  }

  private mutating func lostFlush(_ task: CopyTask, _ destination: Int, _ errno: Int32) {
    let region = task.request.destinations[destination]
    let error = TransferError(errno: errno, step: .flush, destination: destination, offset: region.start, length: region.count)
    task.lost(destination)
    task.sides[destination].lostFlushes += 1
    if !task.isStopped, task.sides[destination].lostFlushes <= max(1, task.request.options.retries) {
      task.copy.publish { $0.progress.phase = .copy }
      if task.pause == nil { repair(task, destination) }
    } else if task.request.options.errors == .pause, !task.isStopped {
      task.sides[destination].lostFlushes = 0
      pause(task, .error(error))
    } else {
      task.fail(destination, error)
      if task.request.options.errors == .stop { task.isHalted = true }
    }
  }

  /// Ends a copy that starts nothing any more and has nothing in flight.
  mutating func endIfIdle(_ task: CopyTask) {
    guard task.subJobs.isEmpty, task.flushesInFlight == 0, task.index >= 0 else { return }
    guard task.isStopped || task.live & ~task.finished == 0 else { return }
    if !task.isCancelled, task.hasStarted, finishAfterError(task) { return }
    conclude(task)
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
