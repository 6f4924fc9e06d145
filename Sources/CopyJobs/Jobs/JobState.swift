/// Where a job is in its life.
public enum JobState: String, Sendable, CaseIterable {
  case queued, running, done, failed, cancelled

  /// The states that may follow; a final one has none within an attempt.
  public var next: Set<JobState> {
    switch self {
    case .queued: [.running, .done, .failed, .cancelled]
    case .running: [.done, .failed, .cancelled]
    case .done, .failed, .cancelled: []
    }
  }

  /// Whether the notification has fired.
  public var isFinal: Bool { next.isEmpty }
}
