internal import CSystemShims
internal import Glibc
internal import Locking
internal import Synchronization

/// An open block device or regular file, for reading or for writing.
///
/// Block devices are opened with O_DIRECT alone: regions on them are multiples of the logical block.  A regular file has
/// a buffered description, and a direct one where STATX_DIOALIGN says that its file system can; an open with O_DIRECT
/// that succeeds proves nothing.
public final class Device: Sendable {
  /// What the device is opened for.
  public enum Access: Sendable, Equatable {
    case reading
    /// For writing.  `exclusive`: O_EXCL on a block device, which fails with EBUSY while it is mounted, used as swap or
    /// held, and a lock by `flock(2)` on a regular file.
    case writing(exclusive: Bool)
  }

  public let key: DeviceKey
  public let access: Access
  /// The size when it was opened, in bytes.
  public let size: UInt64
  /// The smallest unit that a region on it is a multiple of, in bytes: 1 for a regular file.
  public let logicalBlock: Int
  /// Regular files only: offsets and lengths of direct transfers are multiples of it, and of a page, so that a page
  /// that two regions share is only ever written through the page cache.  0: no direct transfers.
  let directAlignment: Int

  /// A directory entry that must be durable too, when the file was created for this copy.
  private let directory: Int32?
  private let direct: Int32?
  private let buffered: Int32?
  private let usedBuffered = Atomic(false)
  /// Of a handle that is written through; made with it, so that a flush never fails for want of a thread.
  private let blocking: BlockingThread?
  private let train = FlushTrain()
  private let failedFlushes = Atomic(0)

  /// Opens what a descriptor refers to, by `/proc/self/fd`, so that no path is walked again.
  ///
  /// - Parameters:
  ///   - descriptor: any descriptor of the file, O_PATH too; it stays the caller's.
  ///   - directory: of a file that was just created, the descriptor of its directory; it becomes the device's.
  /// - Throws: the errno of `open(2)` as it is; EINVAL for what is neither a block device nor a regular file; EBUSY for a
  ///   device or file that is held.
  public init(descriptor: Int32, access: Access, directory: Int32? = nil) throws(DeviceError) {
    let blocking = access == .writing(exclusive: true) ? try BlockingThread("kcopy-device") : nil
    let opened: OpenDescriptions
    do throws(DeviceError) {
      opened = try OpenDescriptions(of: descriptor, access: access)
    } catch {
      blocking?.finish()
      throw error
    }
    self.blocking = blocking
    key = opened.key
    self.access = access
    size = opened.size
    logicalBlock = opened.logicalBlock
    directAlignment = opened.directAlignment
    direct = opened.direct
    buffered = opened.buffered
    self.directory = directory
  }

  /// Opens a device by its path, for programs that have nothing to prove.
  public convenience init(path: String, access: Access) throws(DeviceError) {
    let descriptor = unsafe kcs_open(path, kcs_O_PATH, 0)
    guard descriptor >= 0 else { throw DeviceError(errno: -descriptor, call: "open") }
    defer { _ = kcs_close(descriptor) }
    try self.init(descriptor: descriptor, access: access)
  }

  /// A descriptor for asking about the device; it stays the device's.
  public var descriptor: Int32 { direct ?? buffered ?? -1 }

  /// Whether it is a block device.
  public var isBlockDevice: Bool {
    if case .block = key { true } else { false }
  }

  /// The size now, in bytes: devices shrink and files grow.
  public func currentSize() throws(DeviceError) -> UInt64 {
    try OpenDescriptions.size(of: descriptor)
  }

  /// Sets the size of a regular file, in bytes, as `ftruncate(2)` does.
  public func resize(to bytes: UInt64) throws(DeviceError) {
    let result = kcs_ftruncate(descriptor, bytes)
    guard result == 0 else { throw DeviceError(errno: -result, call: "ftruncate") }
  }

  /// The description for a transfer: direct where its place and length allow that, else through the page cache.
  func descriptor(at position: UInt64, count: Int) -> Int32 {
    if let direct, isDirect(at: position, count: count) || buffered == nil { return direct }
    usedBuffered.store(true, ordering: .relaxed)
    return buffered ?? -1
  }

  func isDirect(at position: UInt64, count: Int) -> Bool {
    directAlignment > 0 && position % UInt64(directAlignment) == 0 && count % directAlignment == 0
  }

  // MARK: What may hang

  /// Flushes what was written before this call to the medium; the answer comes on the device's own thread.
  ///
  /// A result of 0 is success, else it is the errno.  At most one flush is in flight: see `FlushTrain`.
  func flush(_ done: @escaping @Sendable (Int32) -> Void) {
    guard train.board(done) else { return }
    perform {
      while let passengers = self.train.depart() {
        let result = self.flushNow()
        if result != 0 { self.failedFlushes.add(1, ordering: .relaxed) }
        for passenger in passengers { passenger(result) }
      }
    }
  }

  /// How many flushes of this handle have failed.
  ///
  /// A flush says nothing of what an earlier one lost: who wrote before a flush that failed, somebody else's included,
  /// cannot take a later success for theirs.
  var flushFailures: Int { failedFlushes.load(ordering: .relaxed) }

  private func flushNow() -> Int32 {
    // The file's own metadata only matters where the file is new; its size goes with the data.
    let result = directory == nil ? kcs_fdatasync(descriptor) : kcs_fsync(descriptor)
    if result < 0 { return -result }
    if let directory {
      let result = kcs_fsync(directory)
      if result < 0 { return -result }
    }
    return 0
  }

  /// Closes the descriptions on a thread that may hang, then calls `done` with 0 or the errno of `close(2)`.
  public func close(_ done: @escaping @Sendable (Int32) -> Void) {
    perform { done(self.closeNow()) }
  }

  /// Closes the descriptions on the calling thread; returns 0 or the first errno.
  @discardableResult
  public func closeNow() -> Int32 {
    if usedBuffered.load(ordering: .relaxed), let buffered {
      // What went through the page cache pushed out what others had there; advice that is not taken changes nothing.
      _ = kcs_drop_cache(buffered, 0, 0)
    }
    var first: Int32 = 0
    for descriptor in [direct, buffered, directory].compactMap({ $0 }) {
      let result = kcs_close(descriptor)
      if result < 0, first == 0 { first = -result }
    }
    blocking?.finish()
    return first
  }

  private func perform(_ work: @escaping @Sendable () -> Void) {
    if let blocking {
      blocking.perform(work)
    } else if let thread = try? SystemThread("kcopy-close", work) {
      thread.detach()
    } else {
      // No thread to be had: late is better than never.
      work()
    }
  }
}
