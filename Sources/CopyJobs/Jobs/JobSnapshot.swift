public import KCopy

/// A job at one moment: what every file about it is rendered from.
public struct JobSnapshot: Sendable {
  public var state: JobState
  public var plan: Job.Plan
  /// Counted from 1; `retry` begins the next.
  public var attempt: UInt64
  public var progress: CopyProgress
  /// Why it is paused; set in that state only.
  public var pause: JobPause?
  /// What the job is busy with; empty while it waits and when it is final.
  public var phase: JobPhase
  /// The errno with which its paths could not be opened, after it had been accepted; else 0.
  public var refusal: Int32 = 0
  public var warnings: JobWarnings = []
  /// Nanoseconds since the epoch; 0 where it has not happened.
  public var startedAt: UInt64
  public var finishedAt: UInt64
  /// Bytes per second since the start, over all of the copy.
  public var rate: UInt64
  /// Seconds to go at that rate; `nil` when there is none to tell.
  public var eta: UInt64?

  /// The error to show: the one that pauses the job, else the first.
  public var error: JobError? {
    switch pause {
    case .error(let error)?: return JobError(error)
    case .unusable(let errno)?: return JobError(errno: errno, step: "")
    default: break
    }
    if let first = progress.firstError { return JobError(first) }
    return refusal == 0 ? nil : JobError(errno: refusal, step: "")
  }

  /// The time of the last change of state, nanoseconds since the epoch.
  public func changedAt(queuedAt: UInt64) -> UInt64 { max(queuedAt, startedAt, finishedAt) }
}

/// What a job is busy with.
public enum JobPhase: String, Sendable {
  case none = ""
  /// Its paths are being opened.
  case admission
  case copy, flush, verify
  /// It has ended, and its end is not durable yet.
  case journal
  case cancelling
}

/// An error as a job shows it.
public struct JobError: Sendable, Equatable {
  public var errno: Int32
  /// `read`, `write`, `flush` or `verify`; empty for one that came before any of them.
  public var step: String
  public var destination: Int?
  /// Where on the device, and how long, in bytes.
  public var place: (offset: UInt64, length: UInt64)? {
    get { hasPlace ? (start, count) : nil }
    set { (hasPlace, start, count) = (newValue != nil, newValue?.offset ?? 0, newValue?.length ?? 0) }
  }
  private var hasPlace = false
  private var start: UInt64 = 0
  private var count: UInt64 = 0

  init(errno: Int32, step: String) {
    self.errno = errno
    self.step = step
  }

  init(_ error: TransferError) {
    self.init(errno: error.errno, step: error.step.rawValue)
    destination = error.destination
    place = (error.offset, error.length)
  }
}
