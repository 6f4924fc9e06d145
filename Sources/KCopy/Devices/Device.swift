internal import CSystemShims
internal import Glibc
internal import Synchronization

/// An open block device or regular file, for reading or for writing.
///
/// Block devices are opened with O_DIRECT alone: regions on them are multiples of the logical block.  A regular file has
/// a buffered description, and a direct one where STATX_DIOALIGN says that its file system can; an open with O_DIRECT
/// that succeeds proves nothing.
public final class Device: Sendable {
  /// What the device is opened for.
  public enum Access: Sendable, Equatable {
    /// For reading: as a source.
    case reading
    /// For writing.  `exclusive`: O_EXCL on a block device, which fails with EBUSY while it is mounted, used as swap or
    /// held, and a lock by `flock(2)` on a regular file.
    case writing(exclusive: Bool)
  }

  /// What it was opened for; a destination has to be open for writing.
  public let access: Access
  let facts: DeviceFacts
  let medium: any DeviceMedium
  /// The same medium, where it is a file of this machine.
  let local: LocalMedium?
  private let train = FlushTrain()
  private let failedFlushes = Atomic(0)
  private let refusesZeroing = Atomic(false)

  init(_ facts: DeviceFacts, access: Access, medium: any DeviceMedium) {
    self.facts = facts
    self.access = access
    self.medium = medium
    local = medium as? LocalMedium
  }

  /// Opens what a descriptor refers to, by `/proc/self/fd`, so that no path is walked again.
  ///
  /// - Parameters:
  ///   - descriptor: any descriptor of the file, O_PATH too; it stays the caller's.
  ///   - access: what it is opened for.
  ///   - directory: of a file that was just created, the descriptor of its directory; it becomes the device's.
  /// - Throws: `DeviceError`: the errno of `open(2)` as it is; EROFS for a device that is read-only; EINVAL for what is
  ///   neither a block device nor a regular file; EBUSY for a device or file that is held.
  public convenience init(descriptor: Int32, access: Access, directory: Int32? = nil) throws(DeviceError) {
    try self.init(try OpenDescriptions(of: descriptor, access: access), access: access, directory: directory)
  }

  /// Makes a device of what was opened; when that fails, it is closed.
  ///
  /// - Parameters:
  ///   - opened: its descriptions, which become the device's.
  ///   - access: what they were opened for.
  ///   - directory: of a file that was just created, the descriptor of its directory; it becomes the device's.
  /// - Throws: `DeviceError` when there is no thread to be had.
  public convenience init(_ opened: OpenDescriptions, access: Access, directory: Int32? = nil) throws(DeviceError) {
    let medium: LocalMedium
    do throws(DeviceError) {
      medium = try LocalMedium(opened, directory: directory, startsThread: access == .writing(exclusive: true))
    } catch {
      opened.close()
      throw error
    }
    self.init(opened.facts, access: access, medium: medium)
  }

  /// Opens a device by its path, for programs that have nothing to prove.
  ///
  /// - Throws: `DeviceError`, as `init(descriptor:access:directory:)`, and what walking the path meets: ENOENT, EACCES.
  public convenience init(path: String, access: Access) throws(DeviceError) {
    let descriptor = unsafe kcs_open(path, kcs_O_PATH, 0)
    guard descriptor >= 0 else { throw DeviceError(errno: -descriptor, call: "open") }
    defer { _ = kcs_close(descriptor) }
    try self.init(descriptor: descriptor, access: access)
  }

  // MARK: Facts

  /// Which device it is, whatever name it was opened by.
  public var key: DeviceKey { facts.key }

  /// The size when it was opened, in bytes.
  public var size: UInt64 { facts.size }

  /// The smallest unit that a region on it is a multiple of, in bytes: 1 for a regular file.
  public var logicalBlock: Int { facts.logicalBlock }

  /// Whether it has to be written in ascending order, as `queue/zoned` in sysfs says; copies to it always are.
  public var isZoned: Bool { facts.isZoned }

  /// Regular files only: offsets and lengths of direct transfers are multiples of it, and of a page where the file is
  /// written, so that a page that two regions share is only ever written through the page cache.  0: no direct transfers.
  var directAlignment: Int { facts.directAlignment }

  /// A descriptor for asking about the device, by `ioctl(2)` for one; it stays the device's.
  public var descriptor: Int32 { local?.descriptor ?? -1 }

  /// Whether it is a block device.
  public var isBlockDevice: Bool {
    if case .block = key { true } else { false }
  }

  /// The size now, in bytes: devices shrink and files grow.
  ///
  /// - Throws: `DeviceError` with the errno of `statx(2)` or of BLKGETSIZE64.
  public func currentSize() throws(DeviceError) -> UInt64 { try medium.currentSize() }

  /// Sets the size of a regular file, in bytes, as `ftruncate(2)` does.
  ///
  /// - Throws: `DeviceError` with its errno: EINVAL for a block device, EFBIG, ENOSPC.
  public func resize(to bytes: UInt64) throws(DeviceError) {
    let result = kcs_ftruncate(descriptor, bytes)
    guard result == 0 else { throw DeviceError(errno: -result, call: "ftruncate") }
  }

  /// The version of a regular file when it was opened; `nil` of a block device.
  public var versionAtOpen: FileVersion? { facts.version }

  // MARK: What may hang

  /// Asks for the version that a regular file has now, on a thread of the device's: a file system can take its time.
  ///
  /// - Parameter done: gets `nil` for a block device, and when nobody can say.
  public func version(_ done: @escaping @Sendable (FileVersion?) -> Void) {
    guard !isBlockDevice, let local else { return done(nil) }
    let isTaken = local.perform {
      var facts = kcs_file_facts()
      done(unsafe kcs_file_facts(local.descriptor, &facts) == 0 ? FileVersion(facts) : nil)
    }
    if !isTaken { done(nil) }
  }

  /// Flushes what was written before this call to the medium; the answer comes on a thread of the device's.
  ///
  /// At most one flush of a handle is in flight, and it answers all who asked before it began.
  ///
  /// - Parameter done: gets 0 for success, else the errno of `fdatasync(2)`; EAGAIN when there is no thread to be had.
  public func flush(_ done: @escaping @Sendable (Int32) -> Void) {
    guard train.board(done) else { return }
    drive()
  }

  /// Makes the next flush take a directory along, as it does of a file that was just created: the file's name may not be on
  /// the medium yet.
  ///
  /// - Parameter directory: the descriptor of the directory that has the name; it becomes the device's.
  public func syncsToo(directory: Int32) {
    if let local { local.add(directory: directory) } else { _ = kcs_close(directory) }
  }

  private func drive() {
    guard let passengers = train.depart() else { return }
    medium.flush { result in
      if result != 0 { self.failedFlushes.add(1, ordering: .relaxed) }
      for passenger in passengers { passenger(result) }
      self.drive()
    }
  }

  /// How many flushes of this handle have failed.
  ///
  /// A flush says nothing of what an earlier one lost: who wrote before a flush that failed, somebody else's included,
  /// cannot take a later success for theirs.
  var flushFailures: Int { failedFlushes.load(ordering: .relaxed) }

  /// Whether it is worth to ask the device to zero a range by itself.
  var zeroes: Bool { facts.zeroes && !refusesZeroing.load(ordering: .relaxed) }

  /// Zeroes a range without moving zeroes; a device that refuses is not asked again.
  func zero(at position: UInt64, count: UInt64, asHole: Bool, _ done: @escaping @Sendable (Int32) -> Void) {
    medium.zero(at: position, count: count, asHole: asHole) { result in
      if result == EOPNOTSUPP { self.refusesZeroing.store(true, ordering: .relaxed) }
      done(result)
    }
  }

  /// Closes the device on a thread that may hang, then calls `done` with 0 or the errno of `close(2)`.
  public func close(_ done: @escaping @Sendable (Int32) -> Void) { medium.close(done) }

  /// Closes the device on the calling thread, which a device that hangs keeps; returns 0 or the first errno of `close(2)`.
  @discardableResult
  public func closeNow() -> Int32 { local?.closeNow() ?? 0 }
}
