public import KCopy

/// A job at one moment: what every file about it is rendered from.
public struct JobSnapshot: Sendable {
  public var state: JobState
  public var progress: CopyProgress
  /// Why it is paused; set in that state only.
  public var pause: PauseReason?
  /// What the job is busy with; empty while it waits and when it is final.
  public var phase: CopyProgress.Phase
  /// Nanoseconds since the epoch; 0 where it has not happened.
  public var startedAt: UInt64
  public var finishedAt: UInt64
  /// Bytes per second since the start, over all of the copy.
  public var rate: UInt64
  /// Seconds to go at that rate; `nil` when there is none to tell.
  public var eta: UInt64?

  /// The error to show: the one that pauses the job, else the first.
  public var error: TransferError? {
    if case .error(let error) = pause { error } else { progress.firstError }
  }

  /// The time of the last change of state, nanoseconds since the epoch.
  public func changedAt(queuedAt: UInt64) -> UInt64 { max(queuedAt, startedAt, finishedAt) }
}
