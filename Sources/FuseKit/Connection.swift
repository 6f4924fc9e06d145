internal import CFuse3
internal import Glibc

/// libfuse's session object, alive until the last reply, waker and thread that could still use it is gone.
///
/// Not every request is answered when a session ends: somebody may hold a parked one. libfuse would let such a late
/// answer go to freed memory, or to a file that has got the number of the closed /dev/fuse since.
final class Connection: @unchecked Sendable {
  let fileSystem: any FileSystem
  private var session: OpaquePointer?
  private var mountPoint = ""
  /// Shared by all who write to the descriptor, exclusive for the one who closes it.
  private let descriptorLock: UnsafeMutablePointer<pthread_rwlock_t>

  init(serving fileSystem: any FileSystem, arguments: consuming MountArguments) throws(FuseError) {
    self.fileSystem = fileSystem
    descriptorLock = .allocate(capacity: 1)
    pthread_rwlock_init(descriptorLock, nil)
    // From here on a throw runs deinit. libfuse keeps its own copy of the table, and says itself what it dislikes.
    var operations = makeOperations()
    let userData = Unmanaged.passUnretained(self).toOpaque()
    session = fuse_session_new(&arguments.list, &operations, MemoryLayout<fuse_lowlevel_ops>.size, userData)
    guard session != nil else { throw FuseError(errno: EINVAL, text: "cannot make a FUSE session with these options") }
  }

  deinit {
    if let session { fuse_session_destroy(session) }
    pthread_rwlock_destroy(descriptorLock)
    descriptorLock.deallocate()
  }

  func mount(at path: String) throws(FuseError) {
    // As it is now: by the end of the session the working directory may be another.
    guard let resolved = realpath(path, nil) else { throw FuseError(errno: errno, text: "cannot mount at \(path)") }
    defer { free(resolved) }
    mountPoint = String(cString: resolved)
    errno = 0
    guard fuse_session_mount(session, mountPoint) != 0 else { return }
    // Some of libfuse's failures leave no errno; its own message has gone to stderr.
    let error = errno
    throw FuseError(errno: error == 0 ? EIO : error, text: "cannot mount at \(mountPoint)")
  }

  /// Runs a call that writes to /dev/fuse; returns what it returns.
  func withDescriptor(_ body: () -> Int32) -> Int32 {
    pthread_rwlock_rdlock(descriptorLock)
    defer { pthread_rwlock_unlock(descriptorLock) }
    return body()
  }

  /// Receives and processes requests until the mount is gone, or until ``finishQueue()`` or ``requestExit()`` was called
  /// and a signal came.
  ///
  /// - Returns: false if an error made it stop, of which libfuse has told on stderr.
  func serve() -> Bool {
    var buffer = fuse_buf()
    defer { free(buffer.mem) }
    while fuse_session_exited(session) == 0 {
      let received = fuse_session_receive_buf(session, &buffer)
      if received == -EINTR { continue }
      if received == 0 || received == -ENODEV || received == -EAGAIN { break }
      if received < 0 { return false }
      fuse_session_process_buf(session, &buffer)
    }
    return true
  }

  /// Lets the loops end as soon as no request waits for them; one that sleeps in read(2) needs a signal besides.
  ///
  /// Callers whose requests have not been read yet would get ECONNABORTED otherwise, whatever the file system has to say.
  func finishQueue() {
    let descriptor = fuse_session_fd(session)
    let flags = fcntl(descriptor, F_GETFL)
    if flags >= 0 { _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) }
  }

  /// Lets the loops end after the request that they are at; one that sleeps in read(2) needs a signal besides. A request
  /// that is just being received is lost.
  func requestExit() {
    fuse_session_exit(session)
  }

  /// Takes the mount away and fails all requests that are still open with ENOTCONN or ECONNABORTED.
  ///
  /// By force: closing /dev/fuse would do the same, but not while a child between fork and exec has a copy of it; and if
  /// that child's exec waits for us to flush one of our own files, it would wait for ever.
  func abort() {
    // Only root may. For others ``close()`` does it, so that this one's failure is not the last word.
    umount2(mountPoint, Int32(MNT_FORCE) | Int32(MNT_DETACH) | Int32(UMOUNT_NOFOLLOW))
  }

  /// Closes /dev/fuse, and has fusermount3 unmount (lazily) if ``abort()`` could not. To be called when no thread is in
  /// ``serve()``. Answers that come later are freed, unsent.
  func close() {
    pthread_rwlock_wrlock(descriptorLock)
    defer { pthread_rwlock_unlock(descriptorLock) }
    fuse_session_unmount(session)
  }
}

/// The argument list from which libfuse takes its mount options.
struct MountArguments: ~Copyable {
  var list = fuse_args(argc: 0, argv: nil, allocated: 0)

  init(source: String, type: String, options: [String]) throws(FuseError) {
    // A comma inside a value would begin an option of its own: escaped, one by one.
    var joined: UnsafeMutablePointer<CChar>?
    defer { free(joined) }
    for option in ["fsname=\(source)", "subtype=\(type)", "default_permissions"] + options {
      guard fuse_opt_add_opt_escaped(&joined, option) == 0 else { throw FuseError(errno: ENOMEM, text: "mount options") }
    }
    guard fuse_opt_add_arg(&list, type) == 0, fuse_opt_add_arg(&list, "-o") == 0, fuse_opt_add_arg(&list, joined) == 0 else {
      throw FuseError(errno: ENOMEM, text: "mount options")
    }
  }

  deinit {
    var list = list
    fuse_opt_free_args(&list)
  }
}
