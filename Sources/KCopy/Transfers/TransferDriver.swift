internal import URing

/// One transfer that ended: who asked for it, and the count of bytes or the negative errno.
struct Completion {
  let token: UInt64
  let result: Int64
  /// Whether what was read back may be what the page cache had, and not what is on the medium.
  var isFromCache = false
}

/// A place in the memory of a client.
struct Place: Equatable {
  /// Which of the client's memories, by the number that it was attached as.
  var arena: Int
  /// In bytes.
  var offset: Int
}

/// What moves bytes between devices and the client's memory, for one thread.
///
/// The engine gives a driver transfers and takes their completions; which order those come in is the driver's business.
/// Everything else, short transfers and errors too, is the engine's, so that two drivers give the same results.
protocol TransferDriver: ~Copyable {
  /// How many transfers may be in flight at once.
  var capacity: Int { get }

  /// The monotonic clock that deadlines are told by, in nanoseconds.
  var now: UInt64 { get }

  /// Makes a memory known, before the first transfer that uses it.
  mutating func attach(_ memory: TransferMemory, as arena: Int)

  /// Lets go of a memory, after the last transfer that used it.
  mutating func detach(_ arena: Int)

  mutating func read(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64)
  /// Reads what is on the medium: where that goes through the page cache, after the cache was asked to let go of it.
  mutating func readBack(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64)
  mutating func write(_ device: Device, at position: UInt64, from place: Place, count: Int, token: UInt64)

  /// Has a digest take in what lies in a memory, after all that it was given before.
  mutating func hash(_ digest: RegionDigest, _ place: Place, count: Int, token: UInt64)

  /// Starts what was given, and appends what has completed.  It returns when there is a completion, when the mailbox woke
  /// it, and at the deadline: `nil` is none, and 0 doesn't wait at all.
  mutating func advance(until deadline: UInt64?, into completions: inout [Completion])
}
