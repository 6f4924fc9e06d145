import FaultKit
import Glibc
import Locking
import Testing

@testable import CopyJobs

@Suite("Claims of jobs that come after others")
struct KinshipTests {
  private static func claim(_ range: Range<UInt64>, write: Bool = true) throws -> [Claims.Claim] {
    [try ClaimsTests.claim(range, write: write)]
  }

  private static func isTaken(_ claims: Claims, _ range: Range<UInt64>, write: Bool = true, id: UInt64, after: [UInt64]) -> Bool {
    (try? claims.take(claim(range, write: write), job: "job\(id)", id: id, after: after, columns: [0])) != nil
  }

  @Test("What a job comes after, at however many removes, is not in its way; two that come after the same one are in each other's")
  func line() throws {
    let claims = Claims()
    #expect(Self.isTaken(claims, 0..<100, id: 1, after: []))
    #expect(!Self.isTaken(claims, 50..<60, id: 2, after: []))
    #expect(Self.isTaken(claims, 200..<300, id: 3, after: [1]))
    #expect(Self.isTaken(claims, 0..<100, id: 4, after: [3]))
    #expect(!Self.isTaken(claims, 99..<200, write: false, id: 5, after: [3]), "4 comes after 3 too")
    #expect(Self.isTaken(claims, 0..<300, write: false, id: 6, after: [4]))
    #expect(Self.isTaken(claims, 0..<300, write: false, id: 7, after: [4]), "both only read")
    #expect(!Self.isTaken(claims, 10..<11, id: 8, after: [6]))
    #expect(Self.isTaken(claims, 10..<11, id: 9, after: [6, 7]))
  }

  @Test("A reader that a job comes after doesn't answer for other readers of the place")
  func reading() throws {
    let claims = Claims()
    for id in UInt64(1)...3 { #expect(Self.isTaken(claims, 0..<100, write: false, id: id, after: [])) }
    #expect(!Self.isTaken(claims, 0..<100, id: 4, after: [3]))
    #expect(!Self.isTaken(claims, 0..<100, id: 5, after: [2, 3]))
    #expect(Self.isTaken(claims, 0..<100, id: 6, after: [1, 2, 3]))
    #expect(Self.isTaken(claims, 0..<100, write: false, id: 7, after: [6]))
  }

  /// Jobs with random predecessors and claims, beside a list of them.
  private struct Model {
    struct Entry {
      var id: UInt64
      var after: [UInt64]
      var claim: Claims.Claim
      var owner: Claims.Owner?
    }

    var entries: [Entry] = []

    func ancestors(of after: [UInt64]) -> Set<UInt64> {
      var all: Set<UInt64> = []
      var ahead = after
      while let next = ahead.popLast() {
        if all.insert(next).inserted { ahead += entries.first { $0.id == next }?.after ?? [] }
      }
      return all
    }

    /// Whether nothing that has claims is in the way of a job.
    func isFree(_ job: Entry) -> Bool {
      let ancestors = ancestors(of: job.after)
      return !entries.contains { other in
        guard other.owner != nil, other.id != job.id, other.claim.overlaps(job.claim), other.claim.isWrite || job.claim.isWrite else {
          return false
        }
        return !ancestors.contains(other.id) && !self.ancestors(of: other.after).contains(job.id)
      }
    }
  }

  @Test("Jobs with any predecessors are refused what a list of them would refuse, whichever has its claims first", arguments: 1...6)
  func random(seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    func number(_ below: Int) -> Int { Int(random.next() % UInt64(below)) }
    let unclaimed = Locked<[UInt64: [UInt64]]>([:])
    let claims = Claims { id in unclaimed.withLock { $0[id] ?? [] } }
    var model = Model()
    var (taken, refused) = (0, 0)
    for id in UInt64(1)...600 {
      let start = UInt64(number(40)) * 10
      let claim = try ClaimsTests.claim(start..<start + 10 * UInt64(1 + number(8)), write: number(3) > 0)
      let after = (0..<number(3)).compactMap { _ in model.entries.suffix(12).randomElement(using: &random)?.id }
      let job = Model.Entry(id: id, after: Array(Set(after)), claim: claim)
      model.entries.append(job)
      unclaimed.withLock { $0[id] = job.after }
      // Some come to their claims late, or not at all: as jobs do whose paths take their time.
      let last = model.entries.count - 1
      let index = number(4) == 0 ? max(0, last - number(6)) : last
      let wanted = model.entries[index]
      guard wanted.owner == nil else { continue }
      let owner = try? claims.take([wanted.claim], job: "job", id: wanted.id, after: wanted.after, columns: [0])
      #expect((owner != nil) == model.isFree(wanted), "seed \(seed): job \(wanted.id) after \(wanted.after)")
      model.entries[index].owner = owner
      if owner != nil { taken += 1 } else { refused += 1 }
      // The oldest are done: nothing that they come after is left.
      if model.entries.count > 60 {
        let done = model.entries.removeFirst()
        unclaimed.withLock { $0[done.id] = nil }
        if let owner = done.owner { claims.release(owner, [done.claim]) }
      }
    }
    #expect(taken > 50 && refused > 50, "\(taken) taken, \(refused) refused")
  }
}
