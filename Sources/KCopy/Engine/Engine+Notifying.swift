internal import Synchronization

/// What is to be told.
enum Outgoing {
  case changed(CopyTask)
  case checkpointed(CopyTask)
  case copy(CopyTask)
  case fired(PreparedNotification, Notification)
}

/// Somebody who waits until all that the client was given before is told.
struct Drain {
  let serial: UInt64
  var waitsFor: Int
  let done: @Sendable () -> Void
}

/// Notifications: on the client's thread, one after the other, each once.
extension Engine where Driver: ~Copyable {
  mutating func prepare(_ prepared: PreparedNotification) {
    lastSerial += 1
    unfinished += 1
    prepared.serial.store(lastSerial, ordering: .relaxed)
  }

  mutating func fire(_ prepared: PreparedNotification, _ notification: Notification) {
    outbox.append(.fired(prepared, notification))
  }

  mutating func drain(_ done: @escaping @Sendable () -> Void) {
    drains.append(Drain(serial: lastSerial, waitsFor: unfinished, done: done))
  }

  /// A copy has begun, or its pause has begun or ended.
  mutating func tellChange(of task: CopyTask) {
    if task.request.changed != nil { outbox.append(.changed(task)) }
  }

  /// Tells what there is to tell.  What is given to the client meanwhile comes by the mailbox, so this has an end.
  mutating func deliver() {
    for outgoing in outbox {
      switch outgoing {
      case .changed(let task): task.request.changed?()
      case .checkpointed(let task): task.request.checkpointed?()
      case .copy(let task):
        let seen = task.copy.publish { $0 }
        task.request.notify(
          Notification(wasCancelled: task.isCancelled, wasSuspended: task.endsSuspended, progress: seen.progress, maps: seen.maps))
        told(task.serial)
      case .fired(let prepared, let notification):
        prepared.notify(notification)
        told(prepared.serial.load(ordering: .relaxed))
      }
    }
    outbox.removeAll(keepingCapacity: true)
    while let drain = drains.first, drain.waitsFor == 0 {
      drains.removeFirst()
      drain.done()
    }
  }

  private mutating func told(_ serial: UInt64) {
    unfinished -= 1
    for index in drains.indices where drains[index].serial >= serial { drains[index].waitsFor -= 1 }
    while let drain = drains.first, drain.waitsFor == 0 {
      drains.removeFirst()
      drain.done()
    }
  }
}
