/// Flushes in the middle of a copy: whoever goes on after a crash then begins where its last one was.
///
/// They don't drain anything.  What was written when a flush was submitted is durable when it succeeds, and writes go on
/// meanwhile; a flush that hangs keeps nobody but the end of its own destination.
extension Engine where Driver: ~Copyable {
  /// A copy that is over by then is never flushed in its middle.
  private static var checkpointAfter: UInt64 { 1_000_000_000 }
  /// So many times as long as a flush took it doesn't happen again: 2 % of the time at most are flushes.
  private static var checkpointSpacing: UInt64 { 50 }
  private static var longestSpacing: UInt64 { 60_000_000_000 }

  mutating func planFirstCheckpoint(of task: CopyTask) {
    guard task.request.takesCheckpoints else { return }
    task.begunAt = now
    for destination in task.sides.indices { task.sides[destination].checkpointAt = now + Self.checkpointAfter }
    planCheckpoint(of: task)
  }

  /// Sees to it that a copy is looked at when one of its destinations is due; a paused one is when it goes on.
  mutating func planCheckpoint(of task: CopyTask) {
    guard task.request.takesCheckpoints, task.hasStarted, task.index >= 0, !task.isStopped, task.pause == nil else { return }
    var next = UInt64.max
    (task.live & ~task.finished).forEachMember { destination in
      if !task.sides[destination].isFlushing, !task.sides[destination].awaitsWrite {
        next = min(next, task.sides[destination].checkpointAt)
      }
    }
    guard next != task.checkpointAt else { return }
    task.checkpointAt = next
    guard next != .max else { return }
    checkpoints.insert(.init(time: next, task: task.index, serial: task.serial))
    wakesAt = min(wakesAt, next)
  }

  /// Flushes what is due.
  mutating func takeCheckpoints() {
    while let due = checkpoints.first {
      guard let task = tasks[due.task], task.serial == due.serial, task.checkpointAt == due.time else {
        checkpoints.removeFirst()
        continue
      }
      guard due.time <= now else {
        wakesAt = min(wakesAt, due.time)
        return
      }
      checkpoints.removeFirst()
      task.checkpointAt = .max
      takeCheckpoint(of: task)
    }
  }

  private mutating func takeCheckpoint(of task: CopyTask) {
    guard !task.isStopped, task.pause == nil else { return }
    var rest = task.live & ~task.finished
    while rest != 0 {
      let destination = rest.trailingZeroBitCount
      rest &= rest - 1
      guard !task.sides[destination].isFlushing, !task.sides[destination].awaitsWrite, task.sides[destination].checkpointAt <= now else {
        continue
      }
      // What others still wait for isn't in the map yet.
      publishWritten(of: destination, task)
      let covered = task.copy.publish { $0.maps[destination].runs(of: .written) }
      if covered.isEmpty {
        task.sides[destination].awaitsWrite = true
        task.sides[destination].checkpointAt = now + Self.checkpointAfter
      } else {
        flush(task, destination, covering: covered)
      }
    }
    planCheckpoint(of: task)
  }

  /// A write of a destination has ended: there is something to flush again.
  mutating func endCheckpointPause(of task: CopyTask, _ destination: Int) {
    guard task.sides[destination].awaitsWrite else { return }
    task.sides[destination].awaitsWrite = false
    planCheckpoint(of: task)
  }

  /// A flush came back: plans the next one by what this one took.
  mutating func planCheckpoint(of task: CopyTask, _ destination: Int) {
    let took = now - task.sides[destination].flushBegan
    let spacing = min(max(Self.checkpointSpacing * took, Self.checkpointAfter), Self.longestSpacing)
    task.sides[destination].checkpointAt = now + spacing
    planCheckpoint(of: task)
  }

  /// More of a copy that goes on is durable.
  mutating func tellCheckpoint(of task: CopyTask) {
    // The end of one destination tells nothing new of a copy that is over soon.
    guard task.request.takesCheckpoints, task.index >= 0, now >= task.begunAt + Self.checkpointAfter else { return }
    outbox.append(.checkpointed(task))
  }
}
