internal import Glibc
internal import KCopy
internal import Locking

/// What of its region a job copies, where that isn't all: kept as long as the job, and counted as long as it is kept.
public final class Domain: Sendable, Equatable {
  /// `outside` what is not to be copied, and `missing` what is.
  let map: RangeMap
  /// How many bytes are to be copied.
  let count: UInt64
  private let cost: Int
  private let uid: UInt32
  private let budget: DomainBudget

  /// - Parameter copies: maps that come of it: one per destination.
  /// - Throws: EDQUOT when those of the uid have all the memory that they may.
  init(_ map: RangeMap, copies: Int, of uid: UInt32, _ budget: DomainBudget) throws(Refusal) {
    self.map = map
    count = map.bytes(.missing)
    cost = DomainBudget.cost(of: map, copies: copies)
    self.uid = uid
    self.budget = budget
    try budget.take(cost, for: uid)
  }

  /// One that a restart brings back, from the map of a destination, whatever has become of what is to be copied.
  ///
  /// - Returns: `nil` when all of the region is to be copied.
  init?(keptIn map: RangeMap, copies: Int, of uid: UInt32, _ budget: DomainBudget) {
    guard map.bytes(.outside) > 0 else { return nil }
    var domain = map
    for status in RangeMap.Status.allCases where status != .outside { domain.replace(status, with: .missing) }
    self.map = domain
    count = domain.bytes(.missing)
    cost = DomainBudget.cost(of: domain, copies: copies)
    self.uid = uid
    self.budget = budget
    budget.takeAgain(cost, for: uid)
  }

  deinit { budget.giveBack(cost, for: uid) }

  public static func == (one: Domain, other: Domain) -> Bool { one === other || one.map == other.map }
}

/// The memory that the domains of each uid's jobs may have, those that are final included: a domain of some megabytes is soon written.
final class DomainBudget: Sendable {
  /// Of each uid but root, in bytes.
  static let most = 256 << 20

  private let used = Locked<[UInt32: Int]>([:])

  static func cost(of map: RangeMap, copies: Int) -> Int { map.extents.count * MemoryLayout<RangeMap.Extent>.stride * (1 + copies) }

  func take(_ cost: Int, for uid: UInt32) throws(Refusal) {
    try used.withLock { (used) throws(Refusal) in
      guard uid == 0 || used[uid, default: 0] + cost <= Self.most else {
        throw Refusal(errno: EDQUOT, column: 0, text: "the domains of this user's jobs have all \(Self.most) bytes that they may have")
      }
      used[uid, default: 0] += cost
    }
  }

  /// Counts what a restart brings back, which is not refused.
  func takeAgain(_ cost: Int, for uid: UInt32) { used.withLock { $0[uid, default: 0] += cost } }

  func giveBack(_ cost: Int, for uid: UInt32) {
    used.withLock { used in
      let left = used[uid, default: 0] - cost
      used[uid] = left > 0 ? left : nil
    }
  }
}
