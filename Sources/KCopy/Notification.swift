/// The first error of a copy: what failed, on which side, and where.
public struct TransferError: Error, Sendable, Equatable {
  /// Which step failed.
  public enum Step: String, Sendable {
    /// Reading the source.
    case read
    /// Writing a destination, or zeroing it.
    case write
    /// Flushing a destination: data that was written before may be lost.
    case flush
    /// Reading back what a destination holds, and comparing it with what was written.
    case verify
  }

  /// The errno of the transfer, positive; EIO also where a device takes or gives nothing, which no errno says.
  public var errno: Int32
  /// Which step failed.
  public var step: Step
  /// The destination whose write, flush or verification failed, from 0; `nil` for a read.
  public var destination: Int?
  /// The first byte of the transfer that failed, on the device that failed it; of a read or write narrowed down to its blocks.
  public var offset: UInt64
  /// The length of that transfer, in bytes; of a flush, of the region.
  public var length: UInt64

  /// An error as the engine tells it; for tests of those who receive it.
  public init(errno: Int32, step: Step, destination: Int?, offset: UInt64, length: UInt64) {
    self.errno = errno
    self.step = step
    self.destination = destination
    self.offset = offset
    self.length = length
  }
}

/// Where one destination stands.
public enum DestinationState: String, Sendable {
  /// Nothing of the copy has begun.
  case queued
  /// The copy has begun, and this destination isn't at its end.
  case running
  /// Complete: every byte is written, and flushed and verified if that was asked for.
  case done
  /// At its end, and not complete: an error of its own, or of the source.
  case failed
  /// Not complete when the copy was cancelled, without an error of its own.
  case cancelled
}

/// Why a copy starts nothing although it isn't at its end.
public enum PauseReason: Sendable, Equatable {
  /// `Copy.pause` was called.
  case user
  /// An error of a copy with `ErrorMode.pause`.
  case error(TransferError)
}

/// One destination of a copy, as a snapshot or at its end.
public struct DestinationProgress: Sendable, Equatable {
  /// Where it stands.
  public var state = DestinationState.queued
  /// Bytes of the region that are written.
  public var bytesDone: UInt64 = 0
  /// Bytes of the region that are written and flushed.
  public var bytesDurable: UInt64 = 0
  /// Bytes of the region whose read or write failed for good.
  public var bytesFailed: UInt64 = 0
  /// The destination's own first error; `nil` also where it fails because the source did.
  public var error: TransferError?

  /// A destination of a copy that waits.
  public init() {}
}

/// What a copy has done so far: one consistent snapshot.
public struct CopyProgress: Sendable, Equatable {
  /// What the copy is busy with.
  public enum Phase: String, Sendable {
    /// Nothing: it waits for its turn, or has ended.
    case none = ""
    /// Reads and writes.
    case copy
    /// A last flush; nothing else is in flight.
    case flush
    /// Reading back what destinations hold; nothing else is to be done.
    case verify
    /// It was cancelled, and waits for what is in flight.
    case cancelling
  }

  /// What the copy is busy with.
  public var phase = Phase.none
  /// Set while the copy is paused.
  public var pause: PauseReason?
  /// When its first sub-job began, in nanoseconds since the epoch; 0 while it waits its turn.
  public var startedAt: UInt64 = 0
  /// Bytes that every live destination has.
  public var bytesDone: UInt64 = 0
  /// Bytes that are flushed on every live destination.
  public var bytesDurable: UInt64 = 0
  /// A read failed for good: kcopyd's `read_err`.
  public var readError = false
  /// What was read back of a destination may have come from the page cache, which could not be passed.
  public var isVerifiedInCache = false
  /// The SHA-256 of what was read, of all of the region, as 64 hexadecimal digits; `nil` until all is read, and where it isn't asked
  /// for.  Sectors that could not be read, where that is ignored, count as the zeroes that are written for them.
  public var digest: String?
  /// Bit i: a write, flush or verification of destination i failed for good; kcopyd's `write_err`.
  public var writeErrors: UInt64 = 0
  /// The first error of all.
  public var firstError: TransferError?
  /// Each destination by itself, in the order in which they were given.
  public var destinations: [DestinationProgress]

  /// A copy that waits.
  public init(destinations: [DestinationProgress]) { self.destinations = destinations }
}

/// How a copy ended: kcopyd's `read_err` and `write_err`, and what they leave out.
///
/// `progress.readError` is true if and only if a read failed for good, and bit i of `progress.writeErrors` is set if and
/// only if a write, flush or verification of destination i did (`Documentation/admin-guide/device-mapper/kcopyd.rst`).  A destination
/// is complete and durable if and only if its state is `done`.
public struct Notification: Sendable {
  /// Whether `Copy.cancel` ended it.
  public var wasCancelled: Bool
  /// Whether `Copy.suspend` ended it before it was complete.  Destinations that aren't at their end stand as they stood,
  /// `queued` or `running`, and their maps say what is durable.
  public var wasSuspended: Bool
  /// The last snapshot, which changes no more.
  public var progress: CopyProgress
  /// What has become of each byte, per destination; empty for a notification that was prepared.
  public var maps: [RangeMap]

  /// A notification as the engine makes it; for tests of those who receive it.
  public init(wasCancelled: Bool, wasSuspended: Bool = false, progress: CopyProgress, maps: [RangeMap] = []) {
    self.wasCancelled = wasCancelled
    self.wasSuspended = wasSuspended
    self.progress = progress
    self.maps = maps
  }

  /// Whether every destination is complete: no error, and neither cancelled nor suspended.
  public var isComplete: Bool { !wasCancelled && !wasSuspended && !progress.readError && progress.writeErrors == 0 }
}
