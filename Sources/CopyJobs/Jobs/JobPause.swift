public import KCopy

/// Why a job starts nothing although it isn't at its end.
public enum JobPause: Sendable, Equatable {
  /// `ctl` said so.
  case user
  /// An error of a copy with `errors=pause`.
  case error(TransferError)
  /// After a restart a device or file could not be opened, or not be used.
  case unusable(Int32)
  /// After a restart another device stands under the path, or nobody can say that it is the same.
  case identity
  /// After a restart somebody else has the device.
  case busy

  init?(_ reason: PauseReason?) {
    switch reason {
    case nil: return nil
    case .user?: self = .user
    case .error(let error)?: self = .error(error)
    }
  }
}

/// A job that an earlier daemon left unfinished and that can't go on: nothing of it is open until `resume`.
struct Parked: Sendable {
  let reason: JobPause
  /// Its place with its client.
  let ticket: UInt64
  /// To be called when the job ends, and that can be seen.
  let left: @Sendable () -> Void
}
