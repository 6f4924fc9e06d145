internal import Locking

/// Who waits for a flush of one device: at most one flush is in flight, and it answers all who boarded before it left.
///
/// A flush covers the writes that had completed when it was submitted, so who comes while one is in flight rides the
/// next.  Parallel `fsync(2)` calls on one description lose errors: only one of them sees it.
final class FlushTrain: Sendable {
  typealias Passenger = @Sendable (Int32) -> Void

  private struct Platform {
    var isRunning = false
    var waiting: [Passenger] = []
  }

  private let platform = Locked(Platform())

  /// Waits for the next flush.
  ///
  /// - Returns: whether nobody drives: the caller then has to see to it that `depart` is called until it is empty.
  func board(_ passenger: @escaping Passenger) -> Bool {
    platform.withLock { platform in
      platform.waiting.append(passenger)
      defer { platform.isRunning = true }
      return !platform.isRunning
    }
  }

  /// Takes those whom the flush that is now submitted covers; `nil` ends the drive.
  func depart() -> [Passenger]? {
    platform.withLock { platform in
      guard !platform.waiting.isEmpty else {
        platform.isRunning = false
        return nil
      }
      defer { platform.waiting = [] }
      return platform.waiting
    }
  }
}
