internal import Glibc

/// What has gone wrong with one side of a sub-job: it is tried again, and then narrowed down.
///
/// A transfer that failed says that something in it can't be moved.  It is cut into sixteenths, and those that fail again,
/// until a piece is one block of the device: a bad block is touched a few times only, as each touch may take a disk
/// seconds, and costs nobody but itself.
struct Trouble {
  /// Times that the transfer as a whole has failed.
  var failures = 0
  var isNarrowing = false
  /// The piece in flight, in bytes of the sub-job.
  var piece: Range<Int>?
  /// Pieces that haven't been tried, the next one last.
  var pending: [Range<Int>] = []
  /// What was moved of the sub-job.
  var good: [Range<Int>] = []
  /// Blocks that can't be moved.
  var bad: [Range<Int>] = []
  /// The whole transfer that failed.
  var error: TransferError
  /// How often the copy had been resumed when it failed.
  let resumes: Int

  private static let parts = 16

  /// Cuts a piece that begins at `position` of its device.
  static func cut(_ piece: Range<Int>, at position: UInt64, block: Int) -> [Range<Int>] {
    let step = max(block, (piece.count / parts + block - 1) / block * block)
    var pieces: [Range<Int>] = []
    var start = piece.lowerBound
    while start < piece.upperBound {
      let place = Int((position + UInt64(start - piece.lowerBound)) % UInt64(step))
      let end = min(start + step - place, piece.upperBound)
      pieces.append(start..<end)
      start = end
    }
    return pieces
  }

  /// Cuts a piece that begins at `position` of its device into its blocks.
  static func blocks(_ piece: Range<Int>, at position: UInt64, block: Int) -> [Range<Int>] {
    var blocks: [Range<Int>] = []
    var start = piece.lowerBound
    while start < piece.upperBound {
      let end = min(start + block - Int((position + UInt64(start - piece.lowerBound)) % UInt64(block)), piece.upperBound)
      blocks.append(start..<end)
      start = end
    }
    return blocks
  }

  /// Ascending ranges of a piece, made larger to be multiples of a block.
  static func widened(_ ranges: [Range<Int>], in piece: Range<Int>, block: Int) -> [Range<Int>] {
    var wide: [Range<Int>] = []
    for range in ranges where !range.isEmpty {
      let start = range.lowerBound / block * block
      let end = min((range.upperBound + block - 1) / block * block, piece.upperBound)
      if let last = wide.last, last.upperBound >= start {
        wide[wide.count - 1] = last.lowerBound..<max(last.upperBound, end)
      } else {
        wide.append(start..<end)
      }
    }
    return wide
  }

  /// What of a piece is in none of some ascending ranges, made larger like that.
  static func complement(of ranges: [Range<Int>], in piece: Range<Int>, block: Int) -> [Range<Int>] {
    var gaps: [Range<Int>] = []
    var at = piece.lowerBound
    for range in ranges {
      gaps.append(at..<max(range.lowerBound, at))
      at = max(range.upperBound, at)
    }
    gaps.append(at..<max(piece.upperBound, at))
    return widened(gaps, in: piece, block: block)
  }

  /// Whether a piece lies in one block of the device.
  static func isOneBlock(_ piece: Range<Int>, at position: UInt64, block: Int) -> Bool {
    position / UInt64(block) == (position + UInt64(piece.count) - 1) / UInt64(block)
  }

  /// Whether an errno says that there is no device any more: then no part of a transfer fares better.
  static func isGone(_ errno: Int32) -> Bool { [ENODEV, ENXIO, ENOMEDIUM, ENOTCONN, ESHUTDOWN, EBADF].contains(errno) }
}
