import FaultKit
import Glibc
import KCopy
import Testing

@testable import CopyJobs
@testable import JobFS

@Suite("The map of a destination")
struct MapTextTests {
  private static func text(_ map: RangeMap, from start: UInt64 = 0, _ title: [String] = ["title"]) -> String {
    String(decoding: MapText.text(map, from: start, title), as: UTF8.self)
  }

  /// A map of 1 MiB with something of everything.
  private static let mixed: RangeMap = {
    var map = RangeMap(count: 1 << 20)
    map.set(0..<0x10000, .durable)
    map.set(0x10000..<0x10200, .failed)
    map.set(0x10200..<0x20000, .durable)
    map.set(0x20000..<0x30000, .written)
    map.set(0xff000..<0x100000, .failed)
    return map
  }()

  @Test("It is text that ddrescue could have written: what is durable, what failed, and the rest")
  func exact() {
    #expect(
      Self.text(Self.mixed, from: 0x1000, ["one", "two"]) == """
        # one
        # two
        # current_pos  current_status  current_pass
        0x00021000     ?               1
        #      pos        size  status
        0x00001000  0x00010000  +
        0x00011000  0x00000200  -
        0x00011200  0x0000FE00  +
        0x00021000  0x000DF000  ?
        0x00100000  0x00001000  -

        """)
  }

  @Test("What is written but not flushed is still to be done, and one block with what is missing beside it")
  func written() {
    #expect(
      Self.text(RangeMap(count: 512, status: .written)).hasSuffix(
        "0x00000000     ?               1\n\(Self.head)0x00000000  0x00000200  ?\n"))
    var map = RangeMap(count: 3 << 32)
    map.set(0..<1 << 32, .written)
    map.set(2 << 32..<3 << 32, .written)
    #expect(Self.text(map).hasSuffix("\(Self.head)0x00000000  0x300000000  ?\n"))
  }

  private static let head = "#      pos        size  status\n"

  @Test("With nothing left to be done it is finished, whether all went well or not")
  func finished() {
    for status in [RangeMap.Status.durable, .failed] {
      let line = "0xFFFFFFFFFF     +               1\n\(Self.head)0xFFFFFFFE00  0x000001FF  \(status == .durable ? "+" : "-")\n"
      #expect(Self.text(RangeMap(count: 511, status: status), from: 0xff_ffff_fe00).hasSuffix(line))
    }
  }

  @Test("Of a job it begins where the job's region does, and names job and destination")
  func job() {
    let path = "/dev/b\u{fc}\u{7}"
    let facts = Job.Facts(
      id: 12, name: "nightly", uid: 0, gid: 0, operation: "copy", client: "default", context: "", queuedAt: 0)
    let destinations = [
      Job.Destination(path: "/a", device: Job.Identified(identity: "", birth: 0)),
      Job.Destination(path: path, device: Job.Identified(identity: "", birth: 0), mapStart: 1 << 20),
    ]
    let job = Job(facts, Job.Plan(spec: "", count: 1 << 20, destinations: destinations), permissions: 0o755, JobChanges())
    let progress = CopyProgress(destinations: [DestinationProgress(), DestinationProgress()])
    job.conclude(KCopy.Notification(wasCancelled: true, progress: progress, maps: [Self.mixed, Self.mixed]))
    job.end()
    let text = String(decoding: MapText.text(job, 1), as: UTF8.self)
    #expect(text.hasPrefix("# Mapfile of kcopyfs 0.1.0\n# Job nightly, destination 1: /dev/b\u{fc}?\n"))
    #expect(text.contains("\n0x00120000     ?               1\n") && text.contains("\n0x00110000  0x00000200  -\n"))
  }

  /// What ddrescuelog prints, and its exit status.
  private static func ddrescuelog(_ text: String, _ option: String) throws -> Outcome {
    try withWorkbench { bench in try run("ddrescuelog", option, bench.file("map", Array(text.utf8))) }
  }

  @Test("ddrescuelog reads it, and finds in it what was put in")
  func read() throws {
    if !Command.isInstalled("ddrescuelog") { throw Missing("ddrescuelog is not installed (Debian: gddrescue)") }
    let title = ["Job x: /" + String(repeating: "0x0 0x1 - ", count: 1000), "\u{1f600}"]
    for start: UInt64 in [0, 0x1000, 1 << 50] {
      let text = Self.text(Self.mixed, from: start, title)
      #expect(try Self.ddrescuelog(text, "-t").succeeded)
      let blocks = try Self.ddrescuelog(text, "-l-").orThrow().text.split(separator: "\n").compactMap { UInt64($0) }
      let first = (start + 0x10000) / 512
      #expect(blocks == [first] + (0..<8).map { (start + 0xff000) / 512 + $0 })
      let rest = try Self.ddrescuelog(text, "-l?").orThrow().text.split(separator: "\n").compactMap { UInt64($0) }
      #expect(rest.first == (start + 0x20000) / 512 && rest.count == (0xff000 - 0x20000) / 512)
      #expect(try Self.ddrescuelog(text, "-D").ending == .exit(1))
    }
    #expect(try Self.ddrescuelog(Self.text(RangeMap(count: 1 << 40, status: .durable)), "-D").succeeded)
  }
}
