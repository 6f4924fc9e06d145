internal import Glibc

/// Where a job is in its life.
public enum JobState: String, Sendable, CaseIterable {
  case queued, running, paused, done, failed, cancelled

  /// The states that may follow within an attempt; `retry` begins the next, and that is queued.
  public var next: Set<JobState> {
    switch self {
    case .queued: [.running, .paused, .done, .failed, .cancelled]
    case .running: [.paused, .done, .failed, .cancelled]
    // What is in flight when it is paused ends all the same, and a cancelled one runs until that is over.
    case .paused: [.queued, .running, .done, .failed, .cancelled]
    case .done, .failed, .cancelled: []
    }
  }

  /// Whether the notification has fired.
  public var isFinal: Bool { next.isEmpty }

  /// What becomes of a command in this state: `nil` when it is obeyed, else the errno of its write.
  public func objection(to command: JobCommand) -> Int32? {
    switch (self, command) {
    case (.done, .cancel), (.failed, .cancel), (.cancelled, .cancel): EALREADY
    case (.failed, .retry), (.cancelled, .retry): nil
    case (_, .retry), (.done, _), (.failed, _), (.cancelled, _): EINVAL
    case (.queued, _), (.running, _), (.paused, _): nil
    }
  }
}
