internal import Glibc
internal import Locking
internal import Synchronization
internal import URing

/// Memory and a thread for copies: kcopyd's client.
///
/// A client is made with a number of pages, and its copies never use more at any time
/// (`Documentation/admin-guide/device-mapper/kcopyd.rst`).  Its notifications are serial: they come one after the other on
/// the client's thread, and have to return soon.
public final class Client: Sendable {
  private let mailbox: Mailbox
  private let thread: SystemThread
  private let shared: ClientShared
  private let current: Locked<Configuration>

  /// Sets the pages aside and starts the client's thread.
  ///
  /// - Throws: `DeviceError`: EINVAL for pages that don't hold one sub-job, ENOMEM when they cannot be had, EAGAIN at the
  ///   limit of threads, EPERM when the thread can't give up the rights of root; with `transport` set to `.ring`, io_uring's own errno.
  public init(_ configuration: Configuration = Configuration()) throws(DeviceError) {
    try configuration.check()
    let memory = try Arenas.memories(pages: configuration.pages)
    current = Locked(configuration)
    let mailbox = try Mailbox()
    let shared = ClientShared(pages: configuration.pages)
    self.mailbox = mailbox
    self.shared = shared
    // Not by the thread's body, which would keep it as long as the thread lives.
    mailbox.post(.reshape(configuration, memory))
    thread = try SystemThread("kcopy-client") {
      ClientThread.run(configuration, mailbox: mailbox, shared: shared)
    }
    if let error = shared.awaitStart() {
      thread.join()
      throw error
    }
  }

  // MARK: Shape

  /// The shape that the client has now.
  public var configuration: Configuration { current.withLock { $0 } }

  /// Changes the shape of the client while its copies run.
  ///
  /// More pages are there at once.  Of fewer, those in use are given back as their sub-jobs end; no sub-job starts
  /// meanwhile that would go over the new number, and the memory is released with the last.
  ///
  /// - Parameter change: changes the shape that is handed to it; `transport` stays what it was.
  /// - Throws: `DeviceError`, and then nothing has changed: EINVAL for pages that don't hold one sub-job and values out of
  ///   range, ENOMEM when the pages cannot be had.
  public func update(_ change: (inout Configuration) -> Void) throws(DeviceError) {
    try current.withLock { (current) throws(DeviceError) in
      var wanted = current
      change(&wanted)
      wanted.transport = current.transport
      try wanted.check()
      let memory = wanted.pages == current.pages ? nil : try Arenas.memories(pages: wanted.pages)
      mailbox.post(.reshape(wanted, memory))
      current = wanted
    }
  }

  // MARK: Copies

  /// Copies a region to one or more others, all of the same length, reading it once: `dm_kcopyd_copy`.
  ///
  /// - Parameters:
  ///   - source: the region to read.
  ///   - destinations: 1 to 64 regions to write.
  ///   - options: how; see `CopyOptions`.
  ///   - maps: what an earlier attempt has left, one per destination, as its notification had them: what is `durable` there is
  ///     not copied again, nor what is `outside`, which is no part of the copy; everything else is.  What is `outside` is
  ///     the same in all of them, and begins and ends with logical blocks of all devices.  Empty: nothing was left, and all of the region is copied.
  ///   - changed: called on the client's thread, before `notify`, when the copy has begun, and when its pause has begun or
  ///     ended: `Copy.progress` has changed.
  ///   - checkpointed: called on the client's thread, before `notify`, when a flush in the middle of the copy has made more of a
  ///     destination durable: `Copy.map(of:)` says what.  A destination is flushed so a second after the copy has begun and then
  ///     every 50 times what its last flush took, at least a second and at most 60, while it is written.  Called also when a
  ///     destination has failed and the others go on.  `nil`, or with `CopyOptions.flushes` off: it is only flushed at its end.
  ///   - notify: called exactly once, on the client's thread, when nothing of the copy is in flight any more.
  /// - Returns: a handle to follow and change the copy with; it need not be kept.
  /// - Throws: `DeviceError` with EINVAL for counts that differ, a region that is not a multiple of a logical block, a
  ///   logical block larger than the client's memory, options or maps that don't fit, or regions that overlap (where kcopyd
  ///   would corrupt the data); ESHUTDOWN after `destroy`.
  @discardableResult
  public func copy(
    from source: Region, to destinations: [Region], options: CopyOptions = CopyOptions(), maps: [RangeMap] = [],
    changed: (@Sendable () -> Void)? = nil, checkpointed: (@Sendable () -> Void)? = nil,
    notify: @escaping @Sendable (Notification) -> Void
  ) throws(DeviceError) -> Copy {
    try start(
      CopyRequest(
        source: source, destinations: destinations, options: options, maps: maps, changed: changed, checkpointed: checkpointed,
        notify: notify))
  }

  /// Fills regions with zeroes, all of the same length: by the device's own command where it has one
  /// (`REQ_OP_WRITE_ZEROES`, or `FALLOC_FL_ZERO_RANGE` on a file), else written.  It is `dm_kcopyd_zero`.
  ///
  /// Parameters, result and errors are those of `copy`.
  @discardableResult
  public func zero(
    _ regions: [Region], options: CopyOptions = CopyOptions(), maps: [RangeMap] = [], changed: (@Sendable () -> Void)? = nil,
    checkpointed: (@Sendable () -> Void)? = nil, notify: @escaping @Sendable (Notification) -> Void
  ) throws(DeviceError) -> Copy {
    try start(
      CopyRequest(
        source: nil, destinations: regions, options: options, maps: maps, changed: changed, checkpointed: checkpointed, notify: notify))
  }

  private func start(_ request: CopyRequest) throws(DeviceError) -> Copy {
    try request.check()
    var request = request
    for index in request.maps.indices { request.maps[index].forgetUnflushed() }
    // A sub-job holds a whole block of every device; without the pages for one it would wait for ever.
    guard request.largestBlock <= configuration.pages * PagePool.pageBytes else {
      throw DeviceError(errno: EINVAL, call: "pages for a logical block")
    }
    let copy = Copy(request, mailbox: mailbox)
    guard mailbox.post(.start(copy, request)) else { throw DeviceError(errno: ESHUTDOWN, call: "copy") }
    return copy
  }

  // MARK: In order

  /// Prepares a notification that is no copy's: `dm_kcopyd_prepare_callback`.
  ///
  /// Whoever finds that nothing needs to be copied, for the caller has the data already, still wants its notification to
  /// come on the client's thread, one after the other with those of the copies.
  ///
  /// - Returns: what to `fire`, once, when the work is done.  The client isn't destroyed before that.
  /// - Throws: `DeviceError` with ESHUTDOWN after `destroy`.
  public func prepareNotification(_ notify: @escaping @Sendable (Notification) -> Void) throws(DeviceError) -> PreparedNotification {
    let prepared = PreparedNotification(mailbox: mailbox, notify: notify)
    guard mailbox.post(.prepare(prepared)) else { throw DeviceError(errno: ESHUTDOWN, call: "prepareNotification") }
    return prepared
  }

  /// Calls `done` on the client's thread when every copy that was given to the client before has been notified, and every
  /// notification that was prepared before has been fired.
  ///
  /// Copies that are given later aren't held up by it.
  ///
  /// - Throws: `DeviceError` with ESHUTDOWN after `destroy`.
  public func drain(_ done: @escaping @Sendable () -> Void) throws(DeviceError) {
    guard mailbox.post(.drain(done)) else { throw DeviceError(errno: ESHUTDOWN, call: "drain") }
  }

  // MARK: Counts

  /// What moves the bytes of this client.
  public var transport: Transport { shared.transport }

  /// Pages, of 4096 bytes, that no copy uses at this moment.
  public var pagesFree: Int { shared.pagesFree.load(ordering: .relaxed) }

  /// The most pages, of 4096 bytes, that were ever in use at once.
  public var pagesPeak: Int { shared.pagesPeak.load(ordering: .relaxed) }

  /// Bytes read from sources since the client was made.
  public var bytesRead: UInt64 { shared.bytesRead.load(ordering: .relaxed) }

  /// Bytes written to destinations since the client was made, those that a device zeroed by itself included.
  public var bytesWritten: UInt64 { shared.bytesWritten.load(ordering: .relaxed) }

  /// Takes no more copies, waits until those it has are notified, and releases the memory: `dm_kcopyd_client_destroy`.
  ///
  /// From a notification of the client itself it doesn't wait, as that would be for itself: the thread ends by itself
  /// once the last copy is notified.
  public func destroy() {
    guard mailbox.close() else { return }
    if shared.isOnThread { thread.detach() } else { thread.join() }
  }
}
