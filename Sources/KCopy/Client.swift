internal import Glibc
internal import Synchronization
internal import URing

/// Memory and a thread for copies: kcopyd's client.
///
/// A client is made with a number of pages, and its copies never use more at any time.  Its notifications are serial:
/// they come one after the other on the client's thread, and have to return soon.
public final class Client: Sendable {
  /// What moves the bytes.
  public enum Transport: String, Sendable {
    /// io_uring, with registered memory.
    case ring
    /// `pread(2)` and `pwrite(2)` on a few threads, where io_uring is refused.
    case threads
  }

  /// The shape of a client.
  public struct Configuration: Sendable {
    /// 4096-byte pages set aside for the copies of the client.
    public var pages = 4096
    /// The largest single transfer, in bytes; a multiple of 4096, at most 1 GiB.
    public var subjob = 1 << 20
    /// Sub-jobs of one copy in flight at once.
    public var slots = 8
    /// `nil`: io_uring if the kernel lets us, else threads.
    public var transport: Transport?

    public init() {}
  }

  private let mailbox: Mailbox
  private let thread: SystemThread
  private let shared: ClientShared
  public let configuration: Configuration

  /// Sets the pages aside and starts the client's thread.
  ///
  /// - Throws: `DeviceError`: EINVAL for pages that don't hold one sub-job, ENOMEM when they cannot be had, EAGAIN at the
  ///   limit of threads; with `transport` set to `.ring`, io_uring's own errno.
  public init(_ configuration: Configuration = Configuration()) throws(DeviceError) {
    guard (1...1 << 30).contains(configuration.subjob), configuration.subjob % PagePool.pageBytes == 0, configuration.slots > 0,
      configuration.pages >= configuration.subjob / PagePool.pageBytes
    else { throw DeviceError(errno: EINVAL, call: "pages for a client") }
    guard configuration.pages <= Int.max / PagePool.pageBytes,
      let memory = TransferMemory(bytes: configuration.pages * PagePool.pageBytes)
    else {
      throw DeviceError(errno: ENOMEM, call: "pages for a client")
    }
    self.configuration = configuration
    let mailbox = try Mailbox()
    let shared = ClientShared(pages: configuration.pages)
    self.mailbox = mailbox
    self.shared = shared
    thread = try SystemThread("kcopy-client") {
      ClientThread.run(configuration, memory: memory, mailbox: mailbox, shared: shared)
    }
    if let error = shared.awaitStart() {
      thread.join()
      throw error
    }
  }

  /// Copies a region to one or more others, all of the same length, reading it once.
  ///
  /// - Parameters:
  ///   - source: the region to read.
  ///   - destinations: 1 to 64 regions to write.
  ///   - notify: called exactly once, on the client's thread, when nothing of the copy is in flight any more.
  /// - Returns: a handle to follow and cancel the copy with; it need not be kept.
  /// - Throws: `DeviceError` with EINVAL for counts that differ, a region that is not a multiple of a logical block, a
  ///   logical block larger than the client's memory, or regions that overlap (where kcopyd would corrupt the data);
  ///   ESHUTDOWN after `destroy`.
  @discardableResult
  public func copy(
    from source: Region, to destinations: [Region], options: CopyOptions = CopyOptions(),
    notify: @escaping @Sendable (Notification) -> Void
  ) throws(DeviceError) -> Copy {
    let request = CopyRequest(source: source, destinations: destinations, options: options, notify: notify)
    try request.check()
    // A sub-job holds a whole block of every device; without the pages for one it would wait for ever.
    guard request.largestBlock <= configuration.pages * PagePool.pageBytes else {
      throw DeviceError(errno: EINVAL, call: "pages for a logical block")
    }
    let copy = Copy(destinations: destinations.count, mailbox: mailbox)
    guard mailbox.post(.start(copy, request)) else { throw DeviceError(errno: ESHUTDOWN, call: "copy") }
    return copy
  }

  /// What moves the bytes of this client.
  public var transport: Transport { shared.transport }

  /// Pages that no copy uses at this moment.
  public var pagesFree: Int { shared.pagesFree.load(ordering: .relaxed) }

  /// The most pages that were ever in use at once.
  public var pagesPeak: Int { shared.pagesPeak.load(ordering: .relaxed) }

  /// Bytes read from sources since the client was made.
  public var bytesRead: UInt64 { shared.bytesRead.load(ordering: .relaxed) }

  /// Bytes written to destinations since the client was made.
  public var bytesWritten: UInt64 { shared.bytesWritten.load(ordering: .relaxed) }

  /// Takes no more copies, waits until those it has are notified, and releases the memory.
  ///
  /// From a notification of the client itself it doesn't wait, as that would be for itself: the thread ends by itself
  /// once the last copy is notified.
  public func destroy() {
    guard mailbox.close() else { return }
    if shared.isOnThread { thread.detach() } else { thread.join() }
  }
}
