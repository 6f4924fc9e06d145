import FaultKit
import Glibc
import Testing

/// How a daemon goes.
enum Departure: String, CaseIterable, Sendable {
  case killed, terminated
}

/// A mount that keeps its state: its daemon goes, and the next one comes to the same mount point.
final class KeptMount {
  let bench: Workbench
  let state: String
  private let options: [String]
  private(set) var daemon: Daemon

  /// - Parameters:
  ///   - state: the state directory; on a file system in memory if there is none.
  ///   - place: the mount point, if there was a daemon before.
  init(_ bench: Workbench, options: [String] = [], state: String? = nil, on place: String? = nil) throws {
    self.bench = bench
    self.state = try state ?? bench.memory + "/state"
    self.options = options + ["state=\(self.state)"]
    daemon = try bench.daemon(options: self.options, on: place)
  }

  var journal: String { state + "/journal.sqlite" }

  func job(_ name: String = "job") -> Job { daemon.job(name) }

  /// Takes the daemon away.
  ///
  /// - Parameter meanwhile: what happens when the signal is on its way; a process that was killed ends only when its transfers have.
  func stop(_ departure: Departure, meanwhile: () throws -> Void = {}) throws {
    daemon.process.signal(departure == .killed ? SIGKILL : SIGTERM)
    try meanwhile()
    switch departure {
    case .killed: #expect(try daemon.process.wait(within: .seconds(20)).ending == .signal(SIGKILL))
    case .terminated:
      let outcome = try daemon.expectEnd()
      #expect(outcome.ending == .exit(0), "\(outcome)")
    }
  }

  /// Starts the next daemon.
  func start() throws { daemon = try bench.daemon(options: options, on: daemon.mount) }

  func restart(_ departure: Departure, meanwhile: () throws -> Void = {}) throws {
    try stop(departure)
    try meanwhile()
    try start()
  }

  /// A daemon that was started, and may never come up.
  func starting() throws -> ChildProcess {
    try Daemon.command([daemon.mount, "-f", "-o", options.joined(separator: ",")]).start()
  }

  /// Waits until the daemon has a path open.
  func awaitOpen(_ path: String) throws {
    let folder = "/proc/\(daemon.process.pid)/fd"
    try eventually("\(path) is open") { try Files.names(in: folder).contains { Files.target(folder + "/" + $0) == path } }
  }

  /// Waits until a restart would find that something of every destination of a job is durable.
  func awaitCheckpoint(of job: String = "job") throws {
    let query = "SELECT min(instr(' ' || d.progress, ' durable=')) FROM jobs j JOIN destinations d ON d.job = j.id WHERE j.name = '\(job)'"
    try eventually(within: .seconds(20), "a checkpoint of \(job) is in the journal") { try (Int(sql(query, on: journal)) ?? 0) > 0 }
  }
}

/// What never changes of a job, whatever becomes of the daemon.
struct Lasting: Equatable, CustomStringConvertible {
  let description: String

  init(_ job: Job) throws {
    let status = try job.status()
    let keys = ["name", "id", "op", "client", "attempt", "dests", "uid", "context", "queued_at", "bytes_total"]
    description = try keys.map { "\($0)=\(status[$0])" }.joined(separator: " ") + "\n" + job.text("spec")
  }
}

/// A copy of 12 MiB in the middle of larger devices, with something around it that nobody may touch.
struct Half {
  static let count = 12 << 20
  private static let (from, to) = (1 << 20, 2 << 20)

  let source: FaultDevice
  let destinations: [LoopDevice]
  private let original: [UInt8]
  private let before: [[UInt8]]

  init(_ bench: Workbench, destinations count: Int = 1) throws {
    source = try bench.faultDevice(size: 16 << 20)
    original = try source.loop.fill(seed: 1)
    destinations = try (0..<count).map { _ in try bench.loop(size: 16 << 20) }
    before = try destinations.enumerated().map { try $1.fill(seed: 10 + UInt64($0)) }
  }

  /// Slow enough that it is found in its middle.
  var record: String {
    let regions = destinations.map { "to=\($0.path)@\(Half.to)B" }.joined(separator: " ")
    return "from=\(source.path)@\(Half.from)B+\(Half.count)B \(regions) rate=4M context='half done'"
  }

  /// The sectors of the source that are copied.
  static let sectors = Set(from / 512..<(from + count) / 512)

  /// Bytes that each destination was given so far.
  var written: [Int] { get throws { try destinations.map { try $0.counters.bytesWritten } } }

  /// Waits until nothing of a daemon that was killed is on its way any more: its devices are free then.
  func settle() throws {
    for destination in destinations {
      try eventually("\(destination.path) is free") { try errnoName { try OpenFile(destination.path, O_RDWR | O_EXCL).close() }.isEmpty }
    }
  }

  /// Whether everything is where it belongs, and nothing else.
  func check(sourceLocation: SourceLocation = #_sourceLocation) throws {
    for (destination, before) in zip(destinations, before) {
      let expected = Pattern.patched(before, at: Half.to, with: original[Half.from..<Half.from + Half.count])
      #expect(try Pattern.difference(destination.contents(), from: expected) == nil, sourceLocation: sourceLocation)
    }
    #expect(try Pattern.difference(source.loop.contents(), from: original) == nil, "the source", sourceLocation: sourceLocation)
  }
}
