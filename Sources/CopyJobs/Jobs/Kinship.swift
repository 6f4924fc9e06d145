/// Which jobs each job comes after, of those that are not final.
struct Lineage: Sendable {
  /// A job that has claims.
  struct Holder: Sendable {
    var owner: UInt64
    var predecessors: [UInt64]
    var claims: [Claims.Claim]
  }

  var holders: [UInt64: Holder] = [:]
  /// The predecessors of a job that has no claims yet.
  let others: @Sendable (UInt64) -> [UInt64]

  func predecessors(of id: UInt64) -> [UInt64] { holders[id]?.predecessors ?? others(id) }
}

/// How a job that wants claims is related to those that have some: what it comes after, at however many removes, is out of its way,
/// and so is what comes after it.
///
/// Predecessors have lower numbers.  The line is walked no further than an answer needs; and whoever comes after a job that had to have
/// the same place to itself needs to ask about none that came before that one: so a long line costs each job in it one step.
struct Kinship {
  private let id: UInt64
  private let claims: [Claims.Claim]
  /// Predecessors that were not looked at yet.
  private var ahead: [UInt64]
  private var ancestors: Set<UInt64> = []
  private var descendants: Set<UInt64> = []
  /// By claim: what conflicts with it and has a number up to this one is an ancestor.
  private var cleared: [UInt64]

  init(_ id: UInt64, after predecessors: [UInt64], _ claims: [Claims.Claim]) {
    self.id = id
    self.claims = claims
    ahead = predecessors
    cleared = predecessors.isEmpty ? [] : Array(repeating: 0, count: claims.count)
  }

  /// The last number of which nothing need be asked.
  func cleared(_ claim: Int) -> UInt64 { cleared.isEmpty ? 0 : cleared[claim] }

  /// Whether the job has to be over before the other begins, or the other before it.
  ///
  /// - Parameter claim: the number of the claim that they conflict about.
  mutating func isRelated(to other: UInt64, about claim: Int, _ lineage: Lineage) -> Bool {
    other < id ? comesAfter(other, claim, lineage) : other > id && comesBefore(other, lineage)
  }

  private mutating func comesAfter(_ other: UInt64, _ claim: Int, _ lineage: Lineage) -> Bool {
    if other <= cleared(claim) || ancestors.contains(other) { return true }
    while let next = ahead.popLast() {
      guard ancestors.insert(next).inserted else { continue }
      if let holder = lineage.holders[next] {
        for index in claims.indices where next > cleared[index] && holder.claims.contains(where: { $0.covers(claims[index]) }) {
          cleared[index] = next
        }
      }
      ahead += lineage.predecessors(of: next)
      if next == other || other <= cleared[claim] { return true }
    }
    return false
  }

  private mutating func comesBefore(_ other: UInt64, _ lineage: Lineage) -> Bool {
    var ahead = [other]
    var seen: Set<UInt64> = []
    while let next = ahead.popLast() {
      if next == id || descendants.contains(next) {
        descendants.insert(other)
        return true
      }
      ahead += lineage.predecessors(of: next).filter { $0 >= id && seen.insert($0).inserted }
    }
    return false
  }
}
