/// What is behind a device: the part that differs between a local disk and one that is simulated.
///
/// All of it may take as long as the device likes, so the answers come by a callback, on a thread of the medium's.
protocol DeviceMedium: Sendable {
  /// Flushes what was written before to the medium; 0, or the errno.  Never two at once: see `FlushTrain`.
  func flush(_ done: @escaping @Sendable (Int32) -> Void)

  /// Fills a range with zeroes without moving them; 0, or the errno.  EOPNOTSUPP: they have to be written.
  ///
  /// - Parameter asHole: where that is a way to zero a range, what it takes on the medium is given back.
  func zero(at position: UInt64, count: UInt64, asHole: Bool, _ done: @escaping @Sendable (Int32) -> Void)

  /// Has a range share its blocks with another medium's, from `start` of that on, instead of copies of them; 0, or the errno.
  func clone(
    at position: UInt64, from source: any DeviceMedium, at start: UInt64, count: UInt64, _ done: @escaping @Sendable (Int32) -> Void)

  /// Looks for ranges that nothing was ever written to, and that read as zeroes.
  ///
  /// - Parameters:
  ///   - range: where it looks, in bytes.
  ///   - most: the most holes that it finds in one go.
  ///   - done: gets the holes, ascending, and how far it has looked: less than all where there were more.
  func findHoles(
    in range: Range<UInt64>, most: Int, _ done: @escaping @Sendable (_ holes: [Range<UInt64>], _ end: UInt64) -> Void)

  /// The size now, in bytes.
  func currentSize() throws(DeviceError) -> UInt64

  /// Lets go of the device; 0, or the errno.
  func close(_ done: @escaping @Sendable (Int32) -> Void)
}

/// What is known of a device from the moment it is opened.
struct DeviceFacts: Sendable {
  var key: DeviceKey
  /// In bytes, as all of them.
  var size: UInt64
  /// The unit that a region on it is a multiple of.
  var logicalBlock: Int
  /// The unit in which errors are told apart: what one bad sector costs.
  var errorBlock: Int
  /// The unit of direct transfers; 0: there are none.
  var directAlignment: Int
  /// Whether the device may be able to zero a range by itself.
  var zeroes: Bool
  /// Whether blocks may be shared with other files of the same file system: not where that is known to have no way to.
  var clones: Bool
  /// Whether it has to be written in ascending order.
  var isZoned: Bool
  /// Of a regular file.
  var version: FileVersion?
}
