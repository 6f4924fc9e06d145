internal import Glibc
internal import Synchronization
internal import URing

/// The end of a copy: flushed, then notified, once and with nothing in flight.
extension Engine where Driver: ~Copyable {
  /// Ends a copy that starts nothing any more and has nothing in flight.
  mutating func endIfIdle(_ task: CopyTask) {
    guard task.isStopped, task.subJobsInFlight == 0, task.flushesInFlight == 0 else { return }
    // What was written before a read error is flushed too: a later attempt need not write it again.
    let unflushed = task.live & ~task.flushed
    if task.request.options.flushes, !task.isCancelled, unflushed != 0 {
      flush(task, unflushed)
    } else {
      conclude(task)
    }
  }

  private mutating func flush(_ task: CopyTask, _ destinations: UInt64) {
    task.copy.publish { $0.phase = .flush }
    let index = task.copy.task.load(ordering: .relaxed)
    let waiting = task.request.destinations.indices.filter { destinations & 1 << UInt64($0) != 0 }
    task.flushesInFlight = waiting.count
    for destination in waiting {
      task.request.destinations[destination].device.flush { [mailbox] result in
        mailbox.post(.flushed(task: index, destination: destination, result: result))
      }
    }
  }

  /// A flush came back.  After one that failed nothing says which bytes are on the medium, and a second flush would only
  /// say that there is nothing more to write: the destination has failed.
  mutating func flushed(_ index: Int, _ destination: Int, _ result: Int32) {
    guard let task = tasks[index] else { preconditionFailure("a flush without its copy") }
    task.flushesInFlight -= 1
    let result = result == 0 && task.missedFlush(destination) ? EIO : result
    if result == 0 {
      task.flushed |= 1 << UInt64(destination)
      task.copy.publish { $0.destinations[destination].bytesDurable = $0.destinations[destination].bytesDone }
    } else {
      let region = task.request.destinations[destination]
      task.fail(
        destination,
        TransferError(errno: result, step: .flush, destination: destination, offset: region.start, length: region.count))
    }
    guard task.flushesInFlight == 0 else { return }
    let flushed = task.flushed
    task.copy.publish { progress in
      progress.bytesDurable =
        progress.destinations.indices.filter { flushed & 1 << UInt64($0) != 0 }.map { progress.destinations[$0].bytesDurable }.min() ?? 0
    }
    conclude(task)
  }

  private mutating func conclude(_ task: CopyTask) {
    task.conclude()
    let index = task.copy.task.exchange(-1, ordering: .relaxed)
    tasks[index] = nil
    freeTasks.append(index)
    runningTasks -= 1
    ended.append(task)
  }
}
