import FaultKit
import Testing

/// A destination's map, as GNU ddrescue's own tool and a reader of lines see it.
struct Mapfile {
  let text: String
  /// What ddrescuelog says in exit status 0: nothing is left to be done.
  let isDone: Bool
  private let path: String

  /// Reads it twice, so of a job that runs it may be two maps.
  /// - Throws: when ddrescuelog finds an error in it.
  init(_ job: Job, _ destination: Int = 0) throws {
    path = job.path + "/dest/\(destination)/map"
    text = try Files.text(path)
    try run("ddrescuelog", "-t", path).orThrow()
    isDone = try run("ddrescuelog", "-D", path).succeeded
  }

  /// The sectors of 512 bytes of a status, `+`, `-` or `?`, as ddrescuelog lists them.
  func sectors(_ status: String) throws -> [Int] {
    try run("ddrescuelog", "-b512", "-l\(status)", path).orThrow().text.split(separator: "\n").compactMap { Int($0) }
  }

  /// The lines that are no comments, blanks made one; the first is that of the status.
  var lines: [String] {
    text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { $0.split(separator: " ").joined(separator: " ") }
  }
}

extension Job {
  func map(_ destination: Int = 0) throws -> Mapfile { try Mapfile(self, destination) }
}

/// Which of these sectors of 512 bytes differ between two byte strings.
func differing(_ sectors: some Sequence<Int>, _ found: [UInt8], _ expected: [UInt8]) -> [Int] {
  sectors.filter { found[$0 * 512..<$0 * 512 + 512] != expected[$0 * 512..<$0 * 512 + 512] }
}
