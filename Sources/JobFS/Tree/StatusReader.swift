internal import CopyJobs
internal import Synchronization

/// What one open `status` has shown of its job's changes: `kernfs_notify` knows the same by `of->event`.
final class StatusReader: Sendable {
  private let seen: Atomic<UInt64>

  /// What has changed before the open is no news.
  init(_ job: Job) { seen = Atomic(job.changeCount) }

  /// The text is about to be rendered.
  func reads(_ job: Job) { seen.store(job.changeCount, ordering: .sequentiallyConsistent) }

  /// Whether the state has changed since it was rendered last.
  func hasNews(of job: Job) -> Bool { seen.load(ordering: .sequentiallyConsistent) != job.changeCount }
}
