internal import Locking

/// The same for programs that wait by `await`.  The notification still comes on the client's thread first.
///
/// Tasks go on by a thread that has the rights of who waits: the thread that makes a task runnable may have to make one for it
/// to run on, which inherits its rights and serves any task later.
extension Client {
  private static let turns = try? Turns("kcopy-async")

  /// What a notification makes a task go on by; to be asked for before it waits.
  private static var waking: @Sendable (@escaping @Sendable () -> Void) -> Void {
    let turns = turns
    return { body in if let turns { turns.perform(body) } else { body() } }
  }

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
    let wake = Self.waking
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      do throws(DeviceError) {
        try drain { wake { continuation.resume() } }
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }

  private func notification(
    _ start: (@escaping @Sendable (Notification) -> Void) throws(DeviceError) -> Copy
  ) async throws -> Notification {
    let wake = Self.waking
    let running = Locked<(copy: Copy?, isCancelled: Bool)>((nil, false))
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        do throws(DeviceError) {
          let copy = try start { notification in wake { continuation.resume(returning: notification) } }
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
