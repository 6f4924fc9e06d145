internal import CopyJobs
internal import FuseKit
internal import Locking

/// The jobs whose directories the kernel knows: nobody can watch a file of any other.
///
/// A change that the daemon makes by itself is no event for inotify; one that comes by a system call is.  So the time of
/// `status` is set through the mount: IN_MODIFY for the file and for the directory that it stands in.
final class KnownJobs: Sendable {
  private struct State {
    var lookups: [UInt64: UInt64] = [:]
    /// Jobs whose turn to be touched hasn't come: however often they change until then, it is once.
    var waiting: Set<UInt64> = []
  }

  private let state = Locked(State())

  func lookedUp(_ node: Node) {
    guard case .job(let id, .directory) = node else { return }
    state.withLock { $0.lookups[id, default: 0] += 1 }
  }

  func forget(_ id: UInt64, lookups: UInt64) {
    state.withLock { state in
      guard let known = state.lookups[id] else { return }
      state.lookups[id] = known > lookups ? known - lookups : nil
    }
  }

  /// Shows the kernel that a job has changed, if it knows it.
  func touch(_ job: Job, by mount: OwnMount) {
    let id = job.facts.id
    let isFirst = state.withLock { $0.lookups[id] != nil && $0.waiting.insert(id).inserted }
    guard isFirst else { return }
    mount.perform { [self] root in
      state.withLock { _ = $0.waiting.remove(id) }
      if !job.isRemoved { root.touch("jobs/\(job.facts.name)/status") }
    }
  }
}
