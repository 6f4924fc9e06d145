import FaultKit
import Glibc
import Testing

/// A job as a client sees it: a directory.
struct Job {
  let name: String
  let path: String

  func text(_ file: String) throws -> String { try Files.text(path + "/" + file) }
  func status() throws -> Words { try Words(text("status")) }
  /// A one-value file without its newline.
  func value(_ file: String) throws -> String { String(try text(file).dropLast()) }

  /// Blocks until the job is final.
  /// - Returns: `ok`, or the name of the errno that the read failed with.
  func result() throws -> String {
    var text = ""
    let failure = try errnoName { text = try self.text("result") }
    return failure.isEmpty ? String(text.dropLast()) : failure
  }

  /// Writes a line to `ctl`.
  /// - Returns: the name of the errno, or "".
  func control(_ line: String) throws -> String {
    try errnoName { try Files.write(path + "/ctl", line + "\n", flags: O_WRONLY) }
  }

  func isDirectory() throws -> Bool { try Files.facts(path).isDirectory }

  /// Polls `state`, which unlike `wait` has no end of its own.
  func reach(_ state: String) throws {
    try eventually("\(name) is \(state)") { try value("state") == state }
  }
}

extension Daemon {
  var jobNames: [String] { get throws { try Files.names(in: path("jobs")) } }
  func job(_ name: String) -> Job { Job(name: name, path: path("jobs/" + name)) }

  /// Writes a record to `jobs/NAME` as `echo` does.
  /// - Throws: `SystemError` with the errno of the refusal.
  func submit(_ record: String, as name: String = "job") throws -> Job {
    try Files.write(path("jobs/" + name), record + "\n")
    return job(name)
  }

  /// Submits and waits; the job must end well.
  @discardableResult func copy(_ record: String, as name: String = "job", sourceLocation: SourceLocation = #_sourceLocation) throws -> Job {
    let job = try submit(record, as: name)
    let result = try job.result()
    let status = try job.text("status")
    #expect(result == "ok", "\(status)", sourceLocation: sourceLocation)
    return job
  }

  /// The records of `errors` that the tests' uid can read, oldest first.
  var refusals: [Words] { get throws { try Files.text(path("errors")).split(separator: "\n").map { try Words($0) } } }

  /// A name is gone only when the kernel has released the last open file, a moment after close(2) returned.
  func expectNoJobs() throws {
    try eventually(within: .seconds(5), "nothing is left in jobs/") { try jobNames.isEmpty }
  }
}

/// What a copy has at one end: a block device or a regular file.
enum Medium {
  case block(LoopDevice)
  case file(String)

  var path: String {
    switch self {
    case .block(let device): device.path
    case .file(let path): path
    }
  }

  /// A block device's are read past the page cache.
  func contents() throws -> [UInt8] {
    switch self {
    case .block(let device): try device.contents()
    case .file(let path): try Files.read(path)
    }
  }
}

/// Copies bytes of one medium to places on others and checks every byte: the regions, their neighbours and the source.
@discardableResult func checkedCopy(
  _ daemon: Daemon, from source: Medium, at start: Int, count: Int, to destinations: [(medium: Medium, start: Int)], keys: String = "",
  as name: String = "job", sourceLocation: SourceLocation = #_sourceLocation
) throws -> Job {
  let original = try source.contents()
  let before = try destinations.map { Files.exists($0.medium.path) ? try $0.medium.contents() : [] }
  let regions = destinations.map { "to=\(quoted($0.medium.path + "@\($0.start)B"))" }.joined(separator: " ")
  let job = try daemon.copy(
    "from=\(quoted(source.path + "@\(start)B+\(count)B")) \(regions) \(keys)", as: name, sourceLocation: sourceLocation)
  for (destination, before) in zip(destinations, before) {
    let expected = Pattern.patched(before, at: destination.start, with: original[start..<start + count])
    let difference = Pattern.difference(try destination.medium.contents(), from: expected)
    #expect(difference == nil, "\(destination.medium.path)", sourceLocation: sourceLocation)
  }
  #expect(Pattern.difference(try source.contents(), from: original) == nil, "the source", sourceLocation: sourceLocation)
  return job
}

/// A job that can't end until its gate is opened: its destination's writes are held.
struct HeldJob {
  let job: Job
  let source: LoopDevice
  let destination: FaultDevice

  init(_ bench: Workbench, _ daemon: Daemon, as name: String = "held", keys: String = "") throws {
    source = try bench.loop()
    try source.fill(seed: 11)
    destination = try bench.faultDevice()
    try destination.hold(.write)
    job = try daemon.submit("from=\(source.path) to=\(destination.path) \(keys)", as: name)
    try job.reach("running")
    let destination = destination
    try eventually("the first write is held") { try destination.requests.contains { $0.kind == .write } }
  }

  func letGo() throws { try destination.open(.write) }
}
