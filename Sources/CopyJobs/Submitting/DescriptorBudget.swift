internal import Admission
internal import Glibc
internal import KCopy
internal import Locking

/// The descriptors that jobs and clients may hold: three quarters of what the process may have, and fewer where a quarter is too
/// little for the rest, so that the mount still answers.
final class DescriptorBudget: Sendable {
  private let limit: Int
  private struct State {
    var used = 0
    var usedBy: [UInt32: Int] = [:]
    /// What jobs have open, by the device: those that share one are charged for it once.
    var devices: [ObjectIdentifier: Charge] = [:]

    mutating func add(_ count: Int, for uid: UInt32) {
      used += count
      usedBy[uid, default: 0] += count
    }

    mutating func remove(_ count: Int, for uid: UInt32) {
      used -= count
      let own = (usedBy[uid] ?? 0) - count
      usedBy[uid] = own > 0 ? own : nil
    }
  }

  private struct Charge {
    let count: Int
    /// Whose job has opened it.
    let uid: UInt32
    var sharers = 0
  }

  private let state = Locked(State())

  /// What mount, journal and log are open with, and what is opened for a moment to look at callers and devices.
  private static let others: rlim_t = 24

  init() {
    var limits = rlimit()
    let known = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits) == 0
    let most = known ? limits.rlim_cur : 1024
    limit = Int(clamping: min(most / 4 * 3, most - min(most, Self.others)))
  }

  /// What a client has open: what wakes its thread, and its ring.
  static let needOfClient = 2

  /// What a job can have open at most of each side: two descriptions, and of a destination the directory that it was made in
  /// and what wakes its thread.
  private static let (needOfSource, needOfDestination) = (2, 4)

  /// What a job can have open at most.
  static func need(of record: JobRecord) -> Int { (record.from == nil ? 0 : needOfSource) + needOfDestination * record.to.count }

  /// Of what root and the others leave, a uid may have half: so there is some left for the next.
  ///
  /// - Throws: ENOBUFS when jobs and clients have them all, or those of this uid as many as it may.
  func take(_ count: Int, for uid: UInt32) throws(Refusal) {
    try state.withLock { (state) throws(Refusal) in
      let own = state.usedBy[uid] ?? 0
      guard state.used + count <= limit else {
        throw Refusal(
          errno: ENOBUFS, column: 0, text: "the unfinished jobs and the clients have all \(limit) descriptors that they may have")
      }
      let most = uid == 0 ? limit : (limit - (state.used - own)) / 2
      guard own + count <= most else {
        throw Refusal(
          errno: ENOBUFS, column: 0,
          text: "the unfinished jobs and the clients of this user have all \(most) descriptors that they may have")
      }
      state.add(count, for: uid)
    }
  }

  /// Counts what a restart brings back, which is not refused.
  func takeAgain(_ count: Int, for uid: UInt32) { state.withLock { $0.add(count, for: uid) } }

  func giveBack(_ count: Int, for uid: UInt32) { state.withLock { $0.remove(count, for: uid) } }

  /// Has what a job has open charged in the place of what was taken for it: a share of what is open already costs nothing, so ten
  /// thousand jobs can wait for their turns on one disk.
  func charge(_ source: Endpoint?, _ destinations: [Endpoint], to uid: UInt32, taken: Int) {
    state.withLock { state in
      state.remove(taken, for: uid)
      func share(_ device: Device, _ need: Int) {
        let isNew = state.devices[ObjectIdentifier(device)] == nil
        state.devices[ObjectIdentifier(device), default: Charge(count: need, uid: uid)].sharers += 1
        if isNew { state.add(need, for: uid) }
      }
      if let source { share(source.device, Self.needOfSource) }
      for destination in destinations { share(destination.device, Self.needOfDestination) }
    }
  }

  /// Gives back what was charged, after it was closed.
  func giveBack(_ endpoints: [Endpoint]) {
    state.withLock { state in
      for endpoint in endpoints {
        let device = ObjectIdentifier(endpoint.device)
        guard var charge = state.devices.removeValue(forKey: device) else { preconditionFailure("what is open was charged") }
        charge.sharers -= 1
        if charge.sharers > 0 { state.devices[device] = charge } else { state.remove(charge.count, for: charge.uid) }
      }
    }
  }
}
