internal import CSystemShims
internal import Glibc
internal import Locking
internal import Synchronization

/// A block device or file of this machine: its descriptions, and the threads for what may hang.
final class LocalMedium: DeviceMedium {
  private let direct: Int32?
  private let buffered: Int32?
  private let directories = Locked(NameDirectories())
  private let alignment: Int
  private let usedBuffered = Atomic(false)
  private let threads: BlockingThreads

  /// What hangs here hangs only this device; a few at once, as a buffered file gains by them.
  private static let mostThreads = 4

  /// - Parameter startsThread: of a handle that is written through one thread is made with it, so that a flush never fails
  ///   for want of one.
  init(_ opened: OpenDescriptions, directory: Int32?, startsThread: Bool) throws(DeviceError) {
    threads = BlockingThreads("kcopy-device", most: Self.mostThreads)
    if startsThread { try threads.startOne() }
    direct = opened.direct
    buffered = opened.buffered
    alignment = opened.facts.directAlignment
    if let directory { add(directory: directory) }
  }

  /// The next flush takes one more directory along; the descriptor becomes the medium's.
  func add(directory: Int32) { directories.withLock { $0.add(directory) } }

  /// Any description, for asking.
  var descriptor: Int32 { direct ?? buffered ?? -1 }

  /// The description for a transfer: direct where its place and length allow that, else through the page cache, which may
  /// block whoever submits it.
  func description(at position: UInt64, count: Int) -> (descriptor: Int32, isDirect: Bool) {
    if let direct, isDirect(at: position, count: count) || buffered == nil { return (direct, true) }
    usedBuffered.store(true, ordering: .relaxed)
    return (buffered ?? -1, false)
  }

  private func isDirect(at position: UInt64, count: Int) -> Bool {
    alignment > 0 && position % UInt64(alignment) == 0 && count % alignment == 0
  }

  /// Does a piece of work on one of the device's threads.
  ///
  /// - Returns: whether there is a thread to be had.
  func perform(_ work: @escaping @Sendable () -> Void) -> Bool { threads.perform(work) }

  func flush(_ done: @escaping @Sendable (Int32) -> Void) {
    if !perform({ done(self.flushNow()) }) { done(EAGAIN) }
  }

  private func flushNow() -> Int32 {
    let taken = directories.withLock { $0.waiting }
    // The file's own metadata only matters where the file is new; its size goes with the data.
    let result = taken.isEmpty ? kcs_fdatasync(descriptor) : kcs_fsync(descriptor)
    if result < 0 { return -result }
    for directory in taken {
      let result = kcs_fsync(directory.descriptor)
      if result < 0 { return -result }
    }
    directories.withLock { $0.settle(taken) }
    return 0
  }

  func zero(at position: UInt64, count: UInt64, asHole: Bool, _ done: @escaping @Sendable (Int32) -> Void) {
    let taken = perform {
      // Of a block device a hole would be trimmed, which not every device reads as zeroes.
      let punched = asHole && self.buffered != nil ? -kcs_punch_hole(self.descriptor, position, count) : EOPNOTSUPP
      if !Self.isRefusal(punched) { return done(punched) }
      let result = -kcs_zero_range(self.descriptor, position, count)
      done(Self.isRefusal(result) ? EOPNOTSUPP : result)
    }
    if !taken { done(EAGAIN) }
  }

  /// Whatever says that a call is not for this file.
  private static func isRefusal(_ errno: Int32) -> Bool { [EOPNOTSUPP, ENOSYS, EINVAL, ENOTTY].contains(errno) }

  func findHoles(
    in range: Range<UInt64>, most: Int, _ done: @escaping @Sendable (_ holes: [Range<UInt64>], _ end: UInt64) -> Void
  ) {
    // A block device doesn't say; nor does a file that is busy.
    guard let buffered, perform({ Self.lookForHoles(buffered, in: range, most: most, done) }) else { return done([], range.upperBound) }
  }

  private static func lookForHoles(
    _ descriptor: Int32, in range: Range<UInt64>, most: Int, _ done: (_ holes: [Range<UInt64>], _ end: UInt64) -> Void
  ) {
    var holes: [Range<UInt64>] = []
    var at = range.lowerBound
    while at < range.upperBound, holes.count < most {
      let data = kcs_seek_data(descriptor, at)
      // Who can't say, or fails, has data everywhere: it is read then, and that tells.
      guard data >= 0 || data == Int64(-ENXIO) else { return done(holes, range.upperBound) }
      let end = data < 0 ? range.upperBound : min(UInt64(data), range.upperBound)
      if end > at { holes.append(at..<end) }
      guard end < range.upperBound else { return done(holes, range.upperBound) }
      let hole = kcs_seek_hole(descriptor, end)
      guard hole > Int64(end) else { return done(holes, range.upperBound) }
      at = min(UInt64(hole), range.upperBound)
    }
    done(holes, at)
  }

  func currentSize() throws(DeviceError) -> UInt64 { try OpenDescriptions.size(of: descriptor) }

  func close(_ done: @escaping @Sendable (Int32) -> Void) {
    // After all that was given to the device: a descriptor number is somebody else's soon.
    if !threads.finish(last: { done(self.closeDescriptors()) }) {
      // No thread to be had: late is better than never.
      done(closeDescriptors())
    }
  }

  /// Closes the descriptions on the calling thread; returns 0 or the first errno.  Nobody uses the device any more.
  func closeNow() -> Int32 {
    threads.finish()
    return closeDescriptors()
  }

  private func closeDescriptors() -> Int32 {
    if usedBuffered.load(ordering: .relaxed), let buffered {
      // What went through the page cache pushed out what others had there; advice that is not taken changes nothing.
      _ = kcs_drop_cache(buffered, 0, 0)
    }
    var first: Int32 = 0
    for descriptor in [direct, buffered].compactMap({ $0 }) + directories.withLock({ $0.descriptors }) {
      let result = kcs_close(descriptor)
      if result < 0, first == 0 { first = -result }
    }
    return first
  }
}
