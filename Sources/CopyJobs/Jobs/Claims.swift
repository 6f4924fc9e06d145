internal import Admission
internal import Glibc
internal import KCopy
internal import Locking

/// What the unfinished jobs read and write, as places on root objects.
///
/// Two jobs may write to one disk, and one may read what another doesn't write; a byte that one writes is nobody else's, except of
/// those that come after it, or before: they never run beside each other.
final class Claims: Sendable {
  /// One region of one job.
  struct Claim: Sendable {
    var root: DeviceKey
    var start: UInt64
    var end: UInt64
    var isWrite: Bool
    /// The path as it was written, for the text of a refusal.
    var path: String

    init(_ endpoint: Endpoint, _ region: Region, isWrite: Bool) {
      root = endpoint.root.key
      start = endpoint.root.offset + region.start
      end = start + region.count
      self.isWrite = isWrite
      path = endpoint.path
    }

    func overlaps(_ other: Claim) -> Bool { root == other.root && start < other.end && other.start < end }

    /// Whether all that conflicts with the other conflicts with this one too.
    func covers(_ other: Claim) -> Bool {
      root == other.root && start <= other.start && other.end <= end && (isWrite || !other.isWrite)
    }
  }

  private struct State {
    var byRoot: [DeviceKey: ClaimIndex] = [:]
    var nextOwner: UInt64 = 1
    var lineage: Lineage
  }

  /// Who has claims: a job, once for each time that it takes some.
  struct Owner: Sendable {
    fileprivate let number: UInt64
    fileprivate let id: UInt64
  }

  /// Whose claims they are, or would be.
  struct Claimant: Sendable {
    /// The number of the job: of those that it comes after all are lower.
    var id: UInt64
    var job: String
    /// Whose job it is: which of others' jobs is in the way is their business.
    var uid: UInt32
    var predecessors: [UInt64] = []
  }

  private let state: Locked<State>

  /// - Parameter predecessors: the jobs that one comes after which isn't final and has no claims yet.
  init(predecessors: @escaping @Sendable (UInt64) -> [UInt64] = { _ in [] }) {
    state = Locked(State(lineage: Lineage(others: predecessors)))
  }

  /// Takes the claims of one job, all or none.
  ///
  /// - Returns: what to give back with `release`.
  /// - Throws: EINVAL where the job's own regions overlap, EBUSY where those of another job do that it doesn't come after.
  func take(_ claims: [Claim], for claimant: Claimant, columns: [Int]) throws(Refusal) -> Owner {
    try state.withLock { (state) throws(Refusal) in
      try Self.check(claims, for: claimant, columns, state)
      let owner = Owner(number: state.nextOwner, id: claimant.id)
      state.nextOwner += 1
      for claim in claims {
        let entry = ClaimIndex.Entry(claim: claim, job: claimant.job, uid: claimant.uid, owner: owner.number, id: owner.id)
        state.byRoot[claim.root, default: ClaimIndex()].insert(entry)
      }
      state.lineage.holders[owner.id] = Lineage.Holder(owner: owner.number, predecessors: claimant.predecessors, claims: claims)
      return owner
    }
  }

  /// Whether the claims could be taken; nobody is kept from anything by the question.
  func check(_ claims: [Claim], for claimant: Claimant, columns: [Int]) throws(Refusal) {
    try state.withLock { (state) throws(Refusal) in try Self.check(claims, for: claimant, columns, state) }
  }

  private static func check(_ claims: [Claim], for claimant: Claimant, _ columns: [Int], _ state: State) throws(Refusal) {
    for (index, claim) in claims.enumerated() where claim.isWrite {
      if let other = claims[..<index].first(where: claim.overlaps) {
        throw Refusal(
          errno: EINVAL, column: columns[index], text: "the region of \(claim.path) overlaps that of \(other.path) in the same record")
      }
    }
    var kinship = Kinship(claimant.id, after: claimant.predecessors, claims)
    for (index, claim) in claims.enumerated() {
      if let held = state.byRoot[claim.root]?.conflict(with: claim, index, &kinship, state.lineage) {
        let does = held.claim.isWrite ? "writes to" : "reads from"
        throw Refusal(errno: EBUSY, column: columns[index], text: "\(held.name(for: claimant.uid)) \(does) this region of \(claim.path)")
      }
    }
  }

  /// Runs the body if no other job has a claim on the object; none can be taken meanwhile.
  func ifAlone(_ owner: Owner, _ root: DeviceKey, _ body: () -> Void) {
    state.withLock { state in
      if state.byRoot[root]?.isAlone(owner.number) != false { body() }
    }
  }

  func release(_ owner: Owner, _ claims: [Claim]) {
    state.withLock { state in
      for claim in claims {
        state.byRoot[claim.root]?.remove(owner.number, from: claim.start)
        if state.byRoot[claim.root]?.isEmpty == true { state.byRoot[claim.root] = nil }
      }
      // An open that came back too late may have had claims beside those of the next attempt.
      if state.lineage.holders[owner.id]?.owner == owner.number { state.lineage.holders[owner.id] = nil }
    }
  }
}
