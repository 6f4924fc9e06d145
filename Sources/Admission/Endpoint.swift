public import KCopy

/// A path that was opened for a caller: identified, and from now on only used by its descriptor.
public struct Endpoint: Sendable {
  public let path: String
  public let device: Device
  public let root: RootObject
  /// Words that tell this device from others: its serial or WWN, else its number; of a file, device and inode.
  public let identity: String
  /// Whether the handle is shared by way of the table, as those of destinations are.
  let isShared: Bool
  /// A file that was made for this copy, until it is known that the copy is accepted.
  let created: CreatedFile?
}

/// A file that `create=yes` made: gone again if the record is refused.
struct CreatedFile: Sendable {
  /// The directory, by a descriptor that stays open as long as the device.
  let directory: Int32
  let name: String
}
