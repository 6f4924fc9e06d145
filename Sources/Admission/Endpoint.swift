public import KCopy

/// A path that was opened for a caller: identified, and from now on only used by its descriptor.
public struct Endpoint: Sendable {
  public let path: String
  public let device: Device
  public let root: RootObject
  /// Words that tell this device from others: its serial or WWN, else its number; of a file, device and inode.
  public let identity: String
  /// What tells it from others that have the same words later: a disk's sequence number (`diskseq`), which no other disk gets
  /// before the next boot, or when the file was made, in nanoseconds since the epoch; 0 where neither is known.
  public let birth: UInt64
  /// Whether the handle is shared by way of the table, as those of destinations are.
  let isShared: Bool
  /// A file that was made for this copy, until it is known that the copy is accepted.
  let created: CreatedFile?

  /// Whether a file was made for it.
  public var wasMade: Bool { created != nil }
}

/// A file that `create=yes` made: gone again if the record is refused.
struct CreatedFile: Sendable {
  /// The directory, by a descriptor that stays open as long as the device.
  let directory: Int32
  let name: String
  /// As whom it was made.
  let caller: Caller
}

/// A file that is not there, by where it would be.
public struct MissingFile: Sendable, Equatable {
  let device: UInt64
  let directory: UInt64
  let name: String
}
