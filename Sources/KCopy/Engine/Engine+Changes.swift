internal import Synchronization

/// What can be changed of a copy that runs.
extension Engine where Driver: ~Copyable {
  mutating func change(_ copy: Copy, _ change: CopyChange) {
    let index = copy.task.load(ordering: .relaxed)
    guard index >= 0, let task = tasks[index], task.copy === copy, !task.isCancelled else { return }
    switch change {
    case .cancel: cancel(task)
    case .suspend: suspend(task)
    case .pause: if task.pause == nil, !task.isSuspended { pause(task, .user) }
    case .resume: resume(task)
    case .rate(let rate):
      task.rate = rate
      task.rateOpens = now
      queue(task)
    case .priority(let priority):
      if task.isQueued { turns.remove(task) }
      task.priority = priority
      if task.isQueued { turns.append(task) }
    }
  }

  private mutating func cancel(_ task: CopyTask) {
    task.isCancelled = true
    task.copy.publish { $0.progress.phase = .cancelling }
    if task.isSequential { for destination in task.sides.indices { writeFirstInLine(task, destination) } }
    endIfIdle(task)
  }

  /// A copy that is at its end already, whatever brought it there, comes to it by itself.
  private mutating func suspend(_ task: CopyTask) {
    guard !task.isStopped else { return }
    task.isSuspended = true
    // What is in flight ends for some destinations only.
    task.isUneven = true
    if task.isSequential { for destination in task.sides.indices { writeFirstInLine(task, destination) } }
    finishWhereComplete(task)
  }

  /// Starts nothing more of a copy; an error takes the place of the user's wish, and the first error stays.
  mutating func pause(_ task: CopyTask, _ reason: PauseReason) {
    if let known = task.pause, known != .user { return }
    task.pause = reason
    task.copy.publish { $0.progress.pause = reason }
    tellChange(of: task)
  }

  /// Goes on, with what is missing before the places that the copy had come to, and then from there.
  private mutating func resume(_ task: CopyTask) {
    guard task.pause != nil, !task.isStopped else { return }
    task.pause = nil
    task.resumes += 1
    task.copy.publish { $0.progress.pause = nil }
    tellChange(of: task)
    var rest = task.live & ~task.finished
    while rest != 0 {
      let destination = rest.trailingZeroBitCount
      rest &= rest - 1
      tryAgain(task, destination)
    }
    queue(task)
    finishWhereComplete(task)
    planCheckpoint(of: task)
  }

  private mutating func tryAgain(_ task: CopyTask, _ destination: Int) {
    publishWritten(of: destination, task)
    // What was set aside is tried again by itself.
    guard task.sides[destination].carried == 0, task.salvage.areas.isEmpty,
      let lacking = task.copy.publish({ $0.maps[destination].next(.missing, from: 0) }),
      let stream = task.streams.firstIndex(where: { $0.mask.has(destination) && $0.isFresh }),
      lacking.start < task.streams[stream].cursor
    else { return }
    task.isUneven = true
    // What an earlier attempt has left is a part of it.
    task.unstreamRepairs(destination)
    if task.isSequential {
      // Ascending: what comes later waits for it.
      task.streams[stream].mask &= ~UInt64.only(destination)
      task.add(Stream(mask: .only(destination), cursor: 0, end: task.plan.count, isFresh: false))
    } else {
      task.add(Stream(mask: .only(destination), cursor: 0, end: task.streams[stream].cursor, isFresh: false))
    }
  }
}
