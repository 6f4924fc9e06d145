internal import KCopy
internal import Locking

/// The last step of a job: its descriptors are closed one by one, and the end is told after the last.
///
/// An error of `close(2)` after a flush that succeeded is rare, but it is a write error of that destination.
final class Closing: Sendable {
  private struct State {
    var notification: KCopy.Notification
    var waiting: Int
  }

  private let state: Locked<State>
  private let end: @Sendable (KCopy.Notification) -> Void

  init(_ notification: KCopy.Notification, waiting: Int, end: @escaping @Sendable (KCopy.Notification) -> Void) {
    state = Locked(State(notification: notification, waiting: waiting))
    self.end = end
  }

  /// The source is closed.
  func closed() { finishOne { _ in } }

  /// A destination is closed, with 0 or an errno.
  func closed(_ destination: Int, region: Region, _ errno: Int32) {
    finishOne { notification in
      guard errno != 0, notification.progress.destinations[destination].error == nil else { return }
      // What the close lost nobody knows: none of it can be relied on.
      if notification.maps.indices.contains(destination) { notification.maps[destination].replace(.durable, with: .written) }
      // Then it is written again by whoever goes on, and nobody has failed.
      if notification.wasSuspended { return }
      let error = TransferError(errno: errno, step: .flush, destination: destination, offset: region.start, length: region.count)
      notification.progress.writeErrors |= 1 << UInt64(destination)
      notification.progress.firstError = notification.progress.firstError ?? error
      notification.progress.destinations[destination].error = error
      notification.progress.destinations[destination].state = .failed
      notification.progress.destinations[destination].bytesDurable = 0
    }
  }

  private func finishOne(_ change: (inout KCopy.Notification) -> Void) {
    let last: KCopy.Notification? = state.withLock { state in
      change(&state.notification)
      state.waiting -= 1
      return state.waiting == 0 ? state.notification : nil
    }
    if let last { end(last) }
  }
}
