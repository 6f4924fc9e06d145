internal import CSystemShims
internal import Glibc
internal import Locking

/// A mounted file system and the threads that serve it.
public final class Session: Sendable {
  private let connection: Connection
  private let workers: Workers
  private let isStopped = Locked(false)

  /// Mounts. Requests wait until ``start(threads:)``.
  ///
  /// - Parameters:
  ///   - source: the first column of /proc/mounts.
  ///   - type: `fuse.TYPE` is the file system's type there.
  ///   - options: of mount(8) and libfuse, one each, beside `default_permissions`, which is always set.
  /// - Throws: the errno of mount(2), EINVAL for an option that libfuse doesn't know. libfuse's own words go to stderr.
  public init(
    serving fileSystem: any FileSystem, at mountPoint: String, source: String, type: String, options: [String]
  ) throws(FuseError) {
    let arguments = try MountArguments(source: source, type: type, options: options)
    let connection = try Connection(serving: fileSystem, arguments: arguments)
    try connection.mount(at: mountPoint)
    self.connection = connection
    workers = Workers(connection)
  }

  deinit {
    stop()
  }

  /// Serves requests, on threads of its own. Installs an empty handler for SIGUSR1, which ends their waits.
  ///
  /// - Throws: EALREADY for a second start or one after ``stop()``; the errno of pthread_create(3), and then the session
  ///   can only be stopped.
  public func start(threads: Int = 2) throws(FuseError) {
    precondition(threads > 0)
    let signal = kcs_wake_up_signal()
    guard signal >= 0 else { throw FuseError(errno: -signal, text: "cannot handle SIGUSR1") }
    try workers.start(count: threads)
  }

  /// Asks to be told, once, that the mount has gone, by umount from outside or by ``stop()``.
  ///
  /// The body is called on the thread that stops, or on one of its own; at once if the mount has gone already.
  public func whenEnded(_ body: @escaping @Sendable () -> Void) {
    workers.whenEnded(body)
  }

  /// Unmounts and ends the threads. Returns when both is done, also to a second caller.
  ///
  /// Requests that have come are answered first, for a second at most. The mount goes even if it is busy: open files then
  /// answer ENOTCONN, and callers that wait in one get ECONNABORTED. Requests still parked can be taken and answered as
  /// before; their answers go nowhere.
  /// To be called from any thread but one that serves.
  public func stop() {
    precondition(!workers.includeCurrentThread, "a serving thread cannot wait for its own end")
    isStopped.withLock { isStopped in
      if isStopped { return }
      isStopped = true
      // A mount that went from outside has left its place to others.
      if workers.beginStop() {
        workers.dismiss()
        connection.abort()
      }
      // The threads before the descriptor: its number may be another file's as soon as libfuse has closed it.
      workers.expel()
      workers.join()
      connection.close()
    }
    workers.end()
  }
}
