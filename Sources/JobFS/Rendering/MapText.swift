internal import CopyJobs
internal import KCopy

/// The map of a destination as GNU ddrescue writes its mapfiles ("Mapfile structure" in its manual), for its tools to read.
enum MapText {
  /// - Parameter destination: its number, from 0.
  static func text(_ job: Job, _ destination: Int) -> [UInt8] {
    let place = job.plan.destinations[destination]
    let title = ["Mapfile of kcopyfs 0.1.0", "Job \(job.facts.name), destination \(destination): \(place.path)"]
    return text(job.map(of: destination), from: place.mapStart, title)
  }

  /// - Parameters:
  ///   - start: where the map begins, in bytes: on the source, or on the destination of a job that has none.
  ///   - title: the comments at its head; a reader takes the first 127 bytes of a line.
  static func text(_ map: RangeMap, from start: UInt64, _ title: [String]) -> [UInt8] {
    let blocks = blocks(of: map)
    let rest = map.extents.first { $0.status == .missing || $0.status == .written }
    var text = title.map { "# \(Words.printable($0.utf8, limit: .max))\n" }.joined()
    text += "# current_pos  current_status  current_pass\n"
    let position = hexadecimal(start + (rest?.start ?? map.count))
    text += "\(position)     \(rest == nil ? "+" : "?")               1\n"
    text += "#      pos        size  status\n"
    for block in blocks {
      text += "\(hexadecimal(start + block.start))  \(hexadecimal(block.end - block.start))  \(block.status)\n"
    }
    return Array(text.utf8)
  }

  private struct Block {
    var start: UInt64
    var end: UInt64
    var status: Character
  }

  /// What is not known to be on the medium has yet to be copied: so neighbours are one block whether they are written or not.
  /// What is outside of the domain stays untried, as in ddrescue's own maps.
  private static func blocks(of map: RangeMap) -> [Block] {
    var blocks: [Block] = []
    for extent in map.extents {
      let status: Character =
        switch extent.status {
        case .durable: "+"
        case .failed: "-"
        case .written, .missing, .outside: "?"
        }
      if blocks.last?.status == status {
        blocks[blocks.count - 1].end = extent.end
      } else {
        blocks.append(Block(start: extent.start, end: extent.end, status: status))
      }
    }
    return blocks
  }

  /// C's `0x%08llX`.
  private static func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16, uppercase: true)
    return "0x" + String(repeating: "0", count: max(0, 8 - digits.utf8.count)) + digits
  }
}
