/// A range of a device: kcopyd's `dm_io_region`, in bytes instead of sectors.
public struct Region: Sendable {
  /// The device, open for what the region is: a source or a destination.
  public var device: Device
  /// The first byte.
  public var start: UInt64
  /// The length, in bytes.
  public var count: UInt64

  /// A range of a device, in bytes; whether it suits the device and the others is checked by `Client.copy`.
  public init(_ device: Device, start: UInt64, count: UInt64) {
    self.device = device
    self.start = start
    self.count = count
  }

  /// The byte after the last one, as an offset on the device.
  public var end: UInt64 { start + count }

  /// Whether both lie on one device and share a byte.
  public func overlaps(_ other: Region) -> Bool {
    device.key == other.device.key && start < other.end && other.start < end
  }
}
