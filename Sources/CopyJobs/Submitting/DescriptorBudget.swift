internal import Glibc
internal import Locking

/// The descriptors that jobs may hold: three quarters of what the process may have, so that the mount still answers.
final class DescriptorBudget: Sendable {
  private let limit: Int
  private struct State {
    var used = 0
    var usedBy: [UInt32: Int] = [:]
  }

  private let state = Locked(State())

  init() {
    var limits = rlimit()
    let known = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits) == 0
    limit = known ? Int(clamping: limits.rlim_cur / 4 * 3) : 768
  }

  /// What a job can have open at most: two descriptions of each side, and of a destination the directory that it was made
  /// in and what wakes its thread.
  static func need(of record: JobRecord) -> Int { (record.from == nil ? 0 : 2) + 4 * record.to.count }

  /// Of what root and the others leave, a uid may have half: so there is some left for the next.
  ///
  /// - Throws: ENOBUFS when the unfinished jobs have them all, or those of this uid as many as it may.
  func take(_ count: Int, for uid: UInt32) throws(Refusal) {
    try state.withLock { (state) throws(Refusal) in
      let own = state.usedBy[uid] ?? 0
      guard state.used + count <= limit else {
        throw Refusal(errno: ENOBUFS, column: 0, text: "the unfinished jobs have all \(limit) descriptors that jobs may have")
      }
      let most = uid == 0 ? limit : (limit - (state.used - own)) / 2
      guard own + count <= most else {
        throw Refusal(errno: ENOBUFS, column: 0, text: "the unfinished jobs of this user have all \(most) descriptors that they may have")
      }
      state.used += count
      state.usedBy[uid] = own + count
    }
  }

  func giveBack(_ count: Int, for uid: UInt32) {
    state.withLock { state in
      state.used -= count
      let own = (state.usedBy[uid] ?? 0) - count
      state.usedBy[uid] = own > 0 ? own : nil
    }
  }
}
