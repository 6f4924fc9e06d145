import FaultKit
import Glibc
import KCopy
import Testing

@testable import Admission
@testable import CopyJobs

@Suite("Claims of jobs on what they read and write")
struct ClaimsTests {
  /// A claim on a place, as a record's path leads to it.
  static func claim(_ range: Range<UInt64>, write: Bool, on root: UInt64 = 1, path: String = "/dev/a") throws -> Claims.Claim {
    var claim = try template.get()
    claim.root = .block(root)
    (claim.start, claim.end) = (range.lowerBound, range.upperBound)
    claim.isWrite = write
    claim.path = path
    return claim
  }

  /// Any file will do: what counts is set in each claim.
  private static let template = Result {
    let device = try Device(path: "/proc/self/exe", access: .reading)
    let endpoint = Endpoint(path: "", device: device, root: RootObject(of: device), identity: "", birth: 0, isShared: false, created: nil)
    defer { device.closeNow() }
    return Claims.Claim(endpoint, Region(device, start: 0, count: 1), isWrite: false)
  }

  private func outcome(_ claims: Claims, _ wanted: [Claims.Claim], columns: [Int]? = nil) -> Refusal? {
    do throws(Refusal) {
      _ = try claims.take(wanted, job: "late", columns: columns ?? Array(wanted.indices))
      return nil
    } catch {
      return error
    }
  }

  @Test("A claim lies on the root of its device, after the place that the device has there")
  func place() throws {
    let root = try withWorkbench { bench in
      let file = try bench.file("file", Pattern.bytes(100, seed: 1))
      let device = try Device(path: file, access: .reading)
      defer { device.closeNow() }
      let endpoint = Endpoint(
        path: file, device: device, root: RootObject(of: device), identity: "", birth: 0, isShared: false, created: nil)
      let claim = Claims.Claim(endpoint, Region(device, start: 10, count: 20), isWrite: true)
      #expect(claim.start == 10 && claim.end == 30 && claim.isWrite && claim.path == file)
      return claim.root == device.key
    }
    #expect(root)
  }

  @Test("Regions of one record that share a byte are EINVAL, with the column of the later one")
  func own() throws {
    let claims = Claims()
    let read = try Self.claim(0..<100, write: false, path: "/dev/source")
    for (range, column) in [(UInt64(99)..<200, 30), (0..<1, 31), (50..<60, 32)] {
      let write = try Self.claim(range, write: true, path: "/dev/half")
      let refusal = try #require(outcome(claims, [read, write], columns: [5, column]))
      #expect(
        refusal
          == Refusal(errno: EINVAL, column: column, text: "the region of /dev/half overlaps that of /dev/source in the same record"))
    }
    let writes = [try Self.claim(200..<300, write: true, path: "/dev/b"), try Self.claim(299..<400, write: true, path: "/dev/c")]
    #expect(outcome(claims, [read] + writes, columns: [5, 20, 40])?.column == 40)
    // Nothing of a refused record is left.
    #expect(outcome(claims, writes.map { with($0, end: 299) }) == nil)
  }

  private func with(_ claim: Claims.Claim, end: UInt64) -> Claims.Claim {
    var claim = claim
    claim.end = min(claim.end, end)
    return claim
  }

  @Test("Regions that only touch, and such on different roots, are no overlap")
  func apart() throws {
    let claims = Claims()
    let first = [
      try Self.claim(0..<100, write: false), try Self.claim(100..<200, write: true), try Self.claim(0..<100, write: true, on: 2),
    ]
    #expect(outcome(claims, first) == nil)
    #expect(outcome(claims, [try Self.claim(200..<201, write: true), try Self.claim(100..<101, write: true, on: 2)]) == nil)
    #expect(outcome(claims, [try Self.claim(0..<1 << 62, write: true, on: 3)]) == nil)
  }

  @Test(
    "A byte that one job writes is nobody else's; what it only reads others may read",
    arguments: [(false, false, false), (false, true, true), (true, false, true), (true, true, true)])
  func others(held: Bool, wanted: Bool, isRefused: Bool) throws {
    let claims = Claims()
    let owner = try claims.take([try Self.claim(100..<200, write: held)], job: "early", columns: [0])
    for range in [UInt64(0)..<101, 199..<300, 100..<200, 150..<151, 0..<300] {
      let refusal = outcome(claims, [try Self.claim(range, write: wanted, path: "/dev/b")], columns: [7])
      let does = held ? "writes to" : "reads from"
      #expect(
        refusal == (isRefused ? Refusal(errno: EBUSY, column: 7, text: "job early \(does) this region of /dev/b") : nil), "\(range)")
    }
    claims.release(owner, [try Self.claim(100..<200, write: held)])
  }

  @Test("A record whose second claim is refused takes none of its first")
  func allOrNone() throws {
    let claims = Claims()
    _ = try claims.take([try Self.claim(0..<10, write: true, on: 2)], job: "early", columns: [0])
    let first = try Self.claim(0..<10, write: true, on: 1)
    let second = try Self.claim(5..<6, write: false, on: 2, path: "/dev/b")
    #expect(outcome(claims, [first, second], columns: [3, 9])?.column == 9)
    #expect(outcome(claims, [first]) == nil)
  }

  @Test("A body that wants nobody else on an object runs only while all claims on it are its owner's")
  func alone() throws {
    let claims = Claims()
    let wanted = [try Self.claim(0..<10, write: true), try Self.claim(20..<30, write: true)]
    let owner = try claims.take(wanted, job: "early", columns: [0, 1])
    func runs(_ owner: Claims.Owner, on root: UInt64 = 1) -> Bool {
      var ran = false
      claims.ifAlone(owner, .block(root)) { ran = true }
      return ran
    }
    let elsewhere = try claims.take([try Self.claim(0..<10, write: true, on: 3)], job: "elsewhere", columns: [0])
    #expect(runs(owner) && runs(owner, on: 2) && !runs(elsewhere))
    // A reader beside it is somebody else too.
    let other = [try Self.claim(10..<20, write: false)]
    let reader = try claims.take(other, job: "reader", columns: [0])
    #expect(!runs(owner) && !runs(reader))
    claims.release(reader, other)
    #expect(runs(owner))
    claims.release(owner, wanted)
    #expect(runs(reader))
  }

  @Test("What is released is free, and only that")
  func release() throws {
    let claims = Claims()
    let wanted = [try Self.claim(0..<10, write: false), try Self.claim(0..<10, write: true, on: 2)]
    let reader = try claims.take([wanted[0]], job: "reader", columns: [0])
    let owner = try claims.take(wanted, job: "early", columns: [0, 1])
    #expect(outcome(claims, wanted)?.errno == EBUSY)
    claims.release(owner, wanted)
    // The other reader's claim on the same root still stands.
    #expect(outcome(claims, [try Self.claim(0..<10, write: true)])?.text == "job reader reads from this region of /dev/a")
    let again = try claims.take(wanted, job: "again", columns: [0, 1])
    claims.release(reader, [wanted[0]])
    claims.release(again, wanted)
    #expect(outcome(claims, [try Self.claim(0..<10, write: true)]) == nil)
  }

  @Test("Thousands of claims on one object refuse what a list of them would, and nothing else", arguments: [1, 2, 3] as [UInt64])
  func many(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let claims = Claims()
    var held: [(owner: Claims.Owner, claim: Claims.Claim)] = []
    for step in 0..<6000 {
      // Few places, so that many begin at the same one; now and then a claim on nearly all of it.
      let start = UInt64(random.next() % 2000) * 10
      let end = start + (random.next() % 100 == 0 ? 5000 : 1 + UInt64(random.next() % 15))
      let claim = try Self.claim(start..<end, write: random.next() % 3 == 0)
      let isFree = !held.contains { $0.claim.overlaps(claim) && ($0.claim.isWrite || claim.isWrite) }
      let owner = try? claims.take([claim], job: "job\(step)", columns: [0])
      #expect((owner != nil) == isFree, "step \(step), \(start) to \(end)")
      if let owner { held.append((owner, claim)) }
      if random.next() % 3 == 0, !held.isEmpty {
        let (owner, claim) = held.remove(at: Int(random.next() % UInt64(held.count)))
        claims.release(owner, [claim])
      }
    }
    #expect(held.count > 1024, "more than one run")
    for (owner, claim) in held { claims.release(owner, [claim]) }
    #expect(outcome(claims, [try Self.claim(0..<30_000, write: true)]) == nil)
  }
}

extension Claims {
  func take(_ claims: [Claim], job: String, id: UInt64 = 1, after predecessors: [UInt64] = [], columns: [Int]) throws(Refusal) -> Owner {
    try take(claims, for: Claimant(id: id, job: job, uid: 0, predecessors: predecessors), columns: columns)
  }
}
