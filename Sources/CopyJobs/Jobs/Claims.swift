internal import Admission
internal import Glibc
internal import KCopy
internal import Locking

/// What the unfinished jobs read and write, as places on root objects.
///
/// Two jobs may write to one disk, and one may read what another doesn't write; a byte that one writes is nobody else's.
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
  }

  private struct State {
    var byRoot: [DeviceKey: ClaimIndex] = [:]
    var nextOwner: UInt64 = 1
  }

  private let state = Locked(State())

  /// Takes the claims of one job, all or none.
  ///
  /// - Returns: what to give back with `release`.
  /// - Throws: EINVAL where the job's own regions overlap, EBUSY where another job's do.
  ///
  /// - Parameter uid: whose job it is: which of others' jobs is in the way is their business.
  func take(_ claims: [Claim], job: String, of uid: UInt32, columns: [Int]) throws(Refusal) -> UInt64 {
    try state.withLock { (state) throws(Refusal) in
      try Self.check(claims, of: uid, columns, state)
      let owner = state.nextOwner
      state.nextOwner += 1
      for claim in claims { state.byRoot[claim.root, default: ClaimIndex()].insert(.init(claim: claim, job: job, uid: uid, owner: owner)) }
      return owner
    }
  }

  /// Whether the claims could be taken; nobody is kept from anything by the question.
  func check(_ claims: [Claim], of uid: UInt32, columns: [Int]) throws(Refusal) {
    try state.withLock { (state) throws(Refusal) in try Self.check(claims, of: uid, columns, state) }
  }

  private static func check(_ claims: [Claim], of uid: UInt32, _ columns: [Int], _ state: State) throws(Refusal) {
    for (index, claim) in claims.enumerated() where claim.isWrite {
      if let other = claims[..<index].first(where: claim.overlaps) {
        throw Refusal(
          errno: EINVAL, column: columns[index], text: "the region of \(claim.path) overlaps that of \(other.path) in the same record")
      }
    }
    for (index, claim) in claims.enumerated() {
      if let held = state.byRoot[claim.root]?.conflict(with: claim) {
        let does = held.claim.isWrite ? "writes to" : "reads from"
        throw Refusal(errno: EBUSY, column: columns[index], text: "\(held.name(for: uid)) \(does) this region of \(claim.path)")
      }
    }
  }

  /// Runs the body if no other job has a claim on the object; none can be taken meanwhile.
  func ifAlone(_ owner: UInt64, _ root: DeviceKey, _ body: () -> Void) {
    state.withLock { state in
      if state.byRoot[root]?.isAlone(owner) != false { body() }
    }
  }

  func release(_ owner: UInt64, _ claims: [Claim]) {
    state.withLock { state in
      for claim in claims {
        state.byRoot[claim.root]?.remove(owner, from: claim.start)
        if state.byRoot[claim.root]?.isEmpty == true { state.byRoot[claim.root] = nil }
      }
    }
  }
}
