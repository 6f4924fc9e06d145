internal import CFuse3

/// Wakes those who sleep in poll(2), epoll or select on one open file; they then ask ``FileSystem/poll(_:handle:waker:by:reply:)`` again.
public final class PollWaker: @unchecked Sendable {
  private let handle: OpaquePointer
  private let connection: Connection

  init(_ handle: OpaquePointer, connection: Connection) {
    self.handle = handle
    self.connection = connection
  }

  /// From any thread, as often as one likes. A failure means that the file or the mount is gone, and with it the sleepers.
  public func wake() {
    _ = connection.withDescriptor { fuse_lowlevel_notify_poll(handle) }
  }

  deinit {
    fuse_pollhandle_destroy(handle)
  }
}
