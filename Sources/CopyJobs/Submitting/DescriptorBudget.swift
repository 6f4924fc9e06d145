internal import Glibc
internal import Locking

/// The descriptors that jobs may hold: three quarters of what the process may have, so that the mount still answers.
final class DescriptorBudget: Sendable {
  private let limit: Int
  private let used = Locked(0)

  init() {
    var limits = rlimit()
    let known = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits) == 0
    limit = known ? Int(clamping: limits.rlim_cur / 4 * 3) : 768
  }

  /// What a job can have open at most: two descriptions of each side, and of a destination the directory that it was made
  /// in and what wakes its thread.
  static func need(of record: JobRecord) -> Int { (record.from == nil ? 0 : 2) + 4 * record.to.count }

  /// - Throws: ENOBUFS when the unfinished jobs have them all.
  func take(_ count: Int) throws(Refusal) {
    let isTaken = used.withLock { used in
      guard used + count <= limit else { return false }
      used += count
      return true
    }
    guard isTaken else {
      throw Refusal(errno: ENOBUFS, column: 0, text: "the unfinished jobs have all \(limit) descriptors that jobs may have")
    }
  }

  func giveBack(_ count: Int) { used.withLock { $0 -= count } }
}
