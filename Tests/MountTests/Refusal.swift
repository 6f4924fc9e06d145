import FaultKit
import Glibc
import Testing

/// What records that must be refused may name: devices and files whose bytes must not change.
struct Refused {
  let bench: Workbench
  let daemon: Daemon
  /// Loop devices of 4 MiB with logical blocks of 512 bytes.
  let source: LoopDevice
  let destination: LoopDevice
  /// A file of 100,000 bytes.
  let file: String
  /// A path where nothing is.
  let fresh: String

  init(_ bench: Workbench) throws {
    self.bench = bench
    source = try bench.loop()
    destination = try bench.loop()
    file = try bench.file("file", Pattern.bytes(100_000, seed: 1))
    fresh = bench.disk + "/fresh"
    daemon = try bench.daemon()
  }
}

/// A record that must be refused.
struct Refusal: Sendable, CustomTestStringConvertible {
  let testDescription: String
  /// The errnos that fit, by name.
  let errors: Set<String>
  /// A part of the one word that is to blame; `errors` must point into that word.
  let culprit: String?
  /// Makes what the record needs, and the record.
  let record: @Sendable (Refused) throws -> String

  init(_ title: String, _ errors: String..., culprit: String? = nil, record: @escaping @Sendable (Refused) throws -> String) {
    testDescription = title
    self.errors = Set(errors)
    self.culprit = culprit
    self.record = record
  }

  /// Submits the record and checks everything that a refusal promises.
  func check(sourceLocation: SourceLocation = #_sourceLocation) throws {
    try withWorkbench { bench in
      let box = try Refused(bench)
      let (source, destination) = (try box.source.fill(seed: 2), try box.destination.fill(seed: 3))
      let file = try Files.read(box.file)
      let record = try record(box)
      let daemon = box.daemon
      let jobs = try daemon.jobNames

      let name = try errnoName { _ = try daemon.submit(record, as: "refused") }
      #expect(errors.contains(name), "errno \(name)", sourceLocation: sourceLocation)
      try eventually(within: .seconds(5), "jobs/ is as before") { try daemon.jobNames == jobs }
      #expect(try Pattern.difference(box.source.contents(), from: source) == nil, "source", sourceLocation: sourceLocation)
      #expect(try Pattern.difference(box.destination.contents(), from: destination) == nil, "destination", sourceLocation: sourceLocation)
      #expect(try Pattern.difference(Files.read(box.file), from: file) == nil, "file", sourceLocation: sourceLocation)
      #expect(!Files.exists(box.fresh), "what create made is gone", sourceLocation: sourceLocation)
      try checkErrors(daemon, record: record, error: name, sourceLocation: sourceLocation)
    }
  }

  private func checkErrors(_ daemon: Daemon, record: String, error: String, sourceLocation: SourceLocation) throws {
    let text = try Files.text(daemon.path("errors"))
    let refusal = try #require(try daemon.refusals.last, sourceLocation: sourceLocation)
    #expect(refusal.keys == ["time", "uid", "pid", "job", "error", "column", "text", "record"], "\(text)", sourceLocation: sourceLocation)
    #expect(refusal["error"] == error, "\(text)", sourceLocation: sourceLocation)
    #expect(refusal["uid"] == "0" && refusal.number("pid") == Int(getpid()), "\(text)", sourceLocation: sourceLocation)
    #expect(refusal["job"] == "refused" && !refusal["text"].isEmpty, "\(text)", sourceLocation: sourceLocation)
    #expect(abs(refusal.time("time") - Double(time(nil))) < 60, "\(text)", sourceLocation: sourceLocation)
    let column = refusal.number("column")
    #expect((0...record.utf8.count).contains(column), "\(text)", sourceLocation: sourceLocation)
    if let culprit {
      let words = record.split(separator: " ")
      let blamed = try #require(words.first { $0.contains(culprit) }, sourceLocation: sourceLocation)
      let first = record.utf8.distance(from: record.startIndex, to: blamed.startIndex)
      #expect((first...first + blamed.utf8.count).contains(column), "\(culprit): \(text)", sourceLocation: sourceLocation)
    }
    let shown = refusal["record"]
    #expect(!shown.isEmpty, "\(text)", sourceLocation: sourceLocation)
    if record.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 }) {
      #expect(record.hasPrefix(shown.prefix(40)), "\(text)", sourceLocation: sourceLocation)
    }

    try Files.write(daemon.path("errors"), "clear\n", flags: O_WRONLY)
    #expect(try Files.text(daemon.path("errors")).isEmpty, "a write clears errors", sourceLocation: sourceLocation)
  }
}
