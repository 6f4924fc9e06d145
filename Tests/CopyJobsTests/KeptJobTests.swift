import Admission
import FaultKit
import Glibc
import Journal
import KCopy
import Locking
import Testing

@testable import CopyJobs

@Suite("Jobs as rows of the journal")
struct KeptJobTests {
  private static let spec = "from=/dev/a@0+1048576B to=/dev/b@0B to=/dev/c@4096B context='it'\\''s'"

  /// A job of two destinations that had an error, as it was left.
  private static func row(_ state: String) -> JobRow {
    JobRow(
      id: 12, name: "nightly", uid: 1000, gid: 100, mode: 0o750, caller: "umask=22 fsgid=100 capabilities=0 groups=4,24", spec: spec,
      source: "id=8:0 birth=3", bytesTotal: 1 << 20, ctl: "pause=yes rate=4096", queuedAt: 10,
      standing: Standing(
        state: state, attempt: 2, progress: "done=4096 durable=4096 write_err=2 step=write errno=5 dest=1 at=4096 length=512",
        startedAt: 20, finishedAt: state == "unfinished" ? 0 : 30,
        destinations: [
          Standing.Destination(progress: "state=running done=4096 durable=4096", map: MapCode.encode(map)),
          Standing.Destination(
            progress: "state=failed failed=512 step=write errno=5 dest=1 at=4096 length=512", map: MapCode.encode(RangeMap(count: 1 << 20))),
        ]),
      devices: ["id=8:16 birth=4 fingerprint='kind=block size=1048576 offset=0'", "id=8:32 birth=5"])
  }

  private static var map: RangeMap {
    var map = RangeMap(count: 1 << 20)
    map.set(0..<4096, .durable)
    return map
  }

  private static func job(_ row: JobRow) throws(Refusal) -> Job {
    try Job(row, JobRecord.parse(Array(row.spec.utf8), allowingName: false), JobChanges(), DomainBudget())
  }

  @Test("A job that has ended is written as it was read, in each state", arguments: ["done", "failed", "cancelled"])
  func ended(state: String) throws {
    var row = Self.row(state)
    if state == "done" {
      row.standing.progress = "done=1048576 durable=1048576"
      for index in 0..<2 {
        row.standing.destinations[index] = Standing.Destination(
          progress: "state=done done=1048576 durable=1048576", map: MapCode.encode(RangeMap(count: 1 << 20, status: .durable)))
      }
    }
    let job = try Self.job(row)
    #expect(job.row == row && job.isFinal && job.snapshot.state.rawValue == state && job.finishedAt == 30)
    #expect(try Self.job(job.row).row == row)
    #expect(job.resultErrno == (state == "done" ? 0 : state == "failed" ? EIO : ECANCELED))
  }

  @Test(
    "What is said of its source is kept; which version of it was read as long as that matters", arguments: ["unfinished", "failed", "done"])
  func source(state: String) throws {
    let (warnings, version) = ("warning=source-in-use,source-changed", " source_size=5 source_modified=6 source_changed=7")
    var row = Self.row(state)
    row.standing.progress = warnings + version
    let job = try Self.job(row)
    #expect(job.snapshot.warnings == [.sourceInUse, .sourceChanged])
    #expect(job.row.standing.progress.hasSuffix(warnings + (state == "done" ? "" : version)), "\(job.row.standing.progress)")
    #expect(job.sourceVersion == FileVersion(size: 5, modified: 6, changed: 7))
    row.standing.progress = "warning=later,source-changed source_size=5 source_changed=0"
    #expect(try Self.job(row).snapshot.warnings == .sourceChanged && Self.job(row).sourceVersion == nil)
  }

  @Test("A job that is unfinished comes back with what is durable, with its failed destination, and paused if it was")
  func unfinished() throws {
    let job = try Self.job(Self.row("unfinished"))
    let snapshot = job.snapshot
    #expect(!job.isFinal && snapshot.attempt == 2 && snapshot.progress.startedAt == 0)
    #expect(job.map(of: 0) == Self.map && snapshot.progress.destinations.map(\.bytesDurable) == [4096, 0])
    #expect(snapshot.progress.destinations[1].state == .failed && snapshot.progress.writeErrors == 2)
    #expect(snapshot.progress.firstError?.errno == EIO && snapshot.pause == .user)
    #expect(job.life.withLock { $0.early } == [.rate(4096), .pause])
    // Another restart knows the same.
    let again = try Self.job(job.row)
    #expect(again.row == job.row)
    var expected = Self.row("unfinished")
    expected.standing = job.row.standing
    #expect(job.row == expected)
  }

  @Test("A job whose devices have not been looked at has no length and no maps, and none after a restart")
  func unresolved() throws {
    var row = Self.row("unfinished")
    row.bytesTotal = nil
    row.source = ""
    row.devices = ["", ""]
    row.standing = Standing(
      state: "unfinished", attempt: 1, progress: "", startedAt: 0, finishedAt: 0,
      destinations: [Standing.Destination](repeating: Standing.Destination(progress: "state=queued", map: [1]), count: 2))
    let job = try Self.job(row)
    #expect(job.row == row && !job.plan.isResolved)
  }

  /// What can be wrong with a row, and what is said of it.
  static let damages: [(String, @Sendable (inout JobRow) -> Void)] = [
    ("the caller is \"\"", { $0.caller = "" }),
    ("the caller is \"umask=9\"", { $0.caller = "umask=9" }),
    ("there are 1 devices for 2 destinations", { $0.devices.removeLast() }),
    ("the state is \"running\"", { $0.standing.state = "running" }),
    ("the state is \"\"", { $0.standing.state = "" }),
    ("a destination's state is \"half\"", { $0.standing.destinations[0].progress = "state=half" }),
    ("the map is damaged", { $0.standing.destinations[1].map = [] }),
    ("the map is damaged", { $0.bytesTotal = 1 << 21 }),
    ("the map is damaged", { $0.bytesTotal = nil }),
    ("birth=x is no number", { $0.source = "birth=x" }),
    ("rate=x is no number", { $0.ctl = "rate=x" }),
    ("done=x is no number", { $0.standing.progress = "done=x" }),
    ("dest=-1 is no destination", { $0.standing.progress = "step=write errno=5 dest=-1" }),
    ("dest=64 is no destination", { $0.standing.destinations[0].progress = "state=failed step=write errno=5 dest=64" }),
    ("the record holds a tab", { $0.spec += "\t" }),
    ("the region ends beyond 2^63-1 bytes", { $0.bytesTotal = 1 << 63 - 1 }),
    ("errno=4294967295 is no errno", { $0.standing.progress = "step=read errno=4294967295" }),
    ("\"x\" is not key=value", { $0.devices[0] = "x" }),
    ("there are 1 standings for 2 destinations", { $0.standing.destinations.removeLast() }),
  ]

  @Test("A row that this program can't have written is refused, and the text says what is wrong", arguments: damages.indices)
  func damaged(index: Int) {
    let (complaint, change) = Self.damages[index]
    for state in ["unfinished", "failed"] {
      var row = Self.row(state)
      change(&row)
      do throws(Refusal) {
        _ = try Self.job(row)
        Issue.record("it was taken: \(row)")
      } catch {
        #expect(error.errno == EINVAL && error.text == complaint)
      }
    }
  }

  @Test(
    "A map of any length comes back, that of the largest file too",
    arguments: [0, 1, 1 << 20, 1 << 62 - 1, 1 << 62, 1 << 63 - 1, .max] as [UInt64])
  func maps(count: UInt64) throws {
    for status in [RangeMap.Status.missing, .durable, .failed] {
      var map = RangeMap(count: count, status: status)
      #expect(try MapCode.decode(MapCode.encode(map), count: count) == map)
      map.set(count / 3..<count / 2, .durable)
      #expect(try MapCode.decode(MapCode.encode(map), count: count) == map)
    }
  }

  @Test("Rows with random damage are refused or are jobs that can be looked at and kept again: never a trap", arguments: 1...10)
  func randomDamage(seed: UInt64) throws {
    var chance = SeededGenerator(seed: seed)
    func spoil(_ text: inout String) {
      var bytes = Array(text.utf8)
      for _ in 0..<Int.random(in: 1...3, using: &chance) where !bytes.isEmpty {
        let place = Int.random(in: bytes.indices, using: &chance)
        switch Int.random(in: 0..<3, using: &chance) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &chance)
        case 1: bytes[place] = UInt8(ascii: "0") + UInt8.random(in: 0...9, using: &chance)
        default: bytes.insert(contentsOf: "99999999999".utf8, at: place)
        }
      }
      text = String(decoding: bytes, as: UTF8.self)
    }
    for _ in 0..<200 {
      var row = Self.row(["unfinished", "failed", "done", "cancelled"].randomElement(using: &chance)!)
      switch Int.random(in: 0..<9, using: &chance) {
      case 0: spoil(&row.caller)
      case 1: spoil(&row.spec)
      case 2: spoil(&row.source)
      case 3: spoil(&row.ctl)
      case 4: spoil(&row.standing.progress)
      case 5: spoil(&row.standing.destinations[0].progress)
      case 6: spoil(&row.devices[1])
      case 7: spoil(&row.standing.state)
      default:
        row.standing.attempt = chance.next()
        row.standing.startedAt = chance.next()
        row.standing.finishedAt = chance.next()
        row.queuedAt = chance.next()
      }
      do throws(Refusal) {
        let job = try Self.job(row)
        let snapshot = job.snapshot
        #expect(snapshot.progress.destinations.count == 2)
        _ = job.map(of: 1)
        // It can be kept, and read again.
        _ = try Self.job(job.row)
      } catch {
        #expect(!error.text.isEmpty)
      }
    }
  }
}
