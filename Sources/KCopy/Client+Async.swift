internal import Locking

/// The same for programs that wait by `await`.  The notification still comes on the client's thread first.
extension Client {
  /// Copies a region to one or more others and waits for the notification.
  ///
  /// Cancelling the task cancels the copy; its notification says so.
  ///
  /// - Throws: `DeviceError` as the form with a callback, and nothing else: an error of the copy is in its notification.
  public func copy(from source: Region, to destinations: [Region], options: CopyOptions = CopyOptions()) async throws -> Notification {
    try await notification { (notify) throws(DeviceError) in
      try copy(from: source, to: destinations, options: options, notify: notify)
    }
  }

  /// Fills regions with zeroes and waits for the notification.
  ///
  /// - Throws: `DeviceError` as the form with a callback.
  public func zero(_ regions: [Region], options: CopyOptions = CopyOptions()) async throws -> Notification {
    try await notification { (notify) throws(DeviceError) in try zero(regions, options: options, notify: notify) }
  }

  /// Waits until every copy that was given to the client before has been notified.
  ///
  /// - Throws: `DeviceError` with ESHUTDOWN after `destroy`.
  public func drain() async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      do throws(DeviceError) {
        try drain { continuation.resume() }
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }

  private func notification(
    _ start: (@escaping @Sendable (Notification) -> Void) throws(DeviceError) -> Copy
  ) async throws -> Notification {
    let running = Locked<(copy: Copy?, isCancelled: Bool)>((nil, false))
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        do throws(DeviceError) {
          let copy = try start { continuation.resume(returning: $0) }
          let isCancelled = running.withLock { running in
            running.copy = copy
            return running.isCancelled
          }
          if isCancelled { copy.cancel() }
        } catch {
          continuation.resume(throwing: error)
        }
      }
    } onCancel: {
      let copy = running.withLock { running in
        running.isCancelled = true
        return running.copy
      }
      copy?.cancel()
    }
  }
}
