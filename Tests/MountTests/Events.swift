import FaultKit
import Glibc

/// An open `events`, read without blocking.
final class Events {
  private let file: OpenFile
  private var line: [UInt8] = []
  /// The records read so far.
  private(set) var records: [Words] = []

  init(_ daemon: Daemon) throws { file = try OpenFile(daemon.path("events"), O_RDONLY | O_NONBLOCK) }

  /// Reads all that there is, `size` bytes at a time.
  @discardableResult func take(_ size: Int = 65536) throws -> [Words] {
    while true {
      var bytes: [UInt8] = []
      switch try errnoName({ bytes = try file.read(size) }) {
      case "EAGAIN": return records
      case "": if bytes.isEmpty { throw Missing("events ended") }
      case let name: throw Missing("events could not be read: \(name)")
      }
      line += bytes
      while let end = line.firstIndex(of: UInt8(ascii: "\n")) {
        records.append(try Words(String(decoding: line[..<end], as: UTF8.self)))
        line.removeFirst(end + 1)
      }
    }
  }

  /// Reads until a job is told to be in a state, as often as that.
  func await(_ state: String, of job: String, times: Int = 1) throws {
    try eventually("events tell \(times) times that \(job) is \(state)") {
      try take().count { $0["job"] == job && $0["state"] == state } >= times
    }
  }

  func of(_ job: String) -> [Words] { records.filter { $0["job"] == job } }
  /// The states of a job, in the order in which they were told.
  func states(of job: String) -> [String] { of(job).map { $0["state"] } }
  var numbers: [Int] { records.map { $0.number("seq") } }
}

extension [Int] {
  /// Whether each is one more than the one before.
  var ascendsByOne: Bool { zip(self, dropFirst()).allSatisfy { $1 == $0 + 1 } }
}
