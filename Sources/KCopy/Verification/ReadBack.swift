internal import URing

/// What is special about a sub-job that reads back what a destination holds, to compare it.
///
/// Three ways to compare a piece:
/// 1. with its checksum, taken when it was written: the destination is read alone;
/// 2. where that differs, block by block with the source, which is read into the same pages: that tells the place;
/// 3. where there is no checksum, as after a restart, likewise, but the source comes first.
struct ReadBack {
  /// That of what was written; `nil`: the source has to tell.
  var checksum: UInt64?
  /// Whether the piece alone is read and no whole units around it, as there are no pages for those.
  var isBare = false
  /// The checksum was another one: the source is read to know where.
  var isDifferent = false
}

/// Whole units of a device around a piece: what is read back has to pass the page cache, and block devices know whole blocks only.
struct Frame: Equatable {
  /// Where it begins on the device.
  let start: UInt64
  /// How far the piece lies behind that, in bytes.
  let head: Int
  /// Up to where it has to be read: a file may end within the last unit.
  let needed: Int
  /// All of it.
  let count: Int
  let unit: Int

  init(of region: Region, _ offset: UInt64, _ count: Int, isBare: Bool) {
    unit = isBare ? region.device.logicalBlock : max(region.device.directAlignment, region.device.logicalBlock)
    let place = region.start + offset
    head = Int(place % UInt64(unit))
    start = place - UInt64(head)
    needed = head + count
    self.count = (needed + unit - 1) / unit * unit
  }

  /// Whole units around a part of it.
  func whole(_ part: Range<Int>) -> Range<Int> { part.lowerBound / unit * unit..<min((part.upperBound + unit - 1) / unit * unit, count) }

  /// What of a part is of the piece, in bytes of that.
  func inPiece(_ part: Range<Int>) -> Range<Int> {
    let clamped = part.clamped(to: head..<needed)
    return clamped.lowerBound - head..<clamped.upperBound - head
  }
}

/// The checksums of the blocks of a piece: the other side is read into the same pages, and compared with them.
struct BlockChecksums {
  private let blocks: [Range<Int>]
  private let checksums: [UInt64]
  /// What could not be read of the first side, in bytes of the piece.
  private let unread: [Range<Int>]

  /// - Parameters:
  ///   - position: where the piece begins on the destination, whose blocks count.
  ///   - offset: where it lies in the memory.
  init(_ memory: TransferMemory, _ offset: Int, count: Int, at position: UInt64, block: Int, unread: [Range<Int>]) {
    blocks = Self.blocks(count: count, at: position, block: block)
    checksums = blocks.map { memory.checksum(offset + $0.lowerBound, count: $0.count) }
    self.unread = unread
  }

  /// Runs of blocks that are different now, in bytes of the piece.
  func differences(_ memory: TransferMemory, _ offset: Int, unread more: [Range<Int>]) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    for (block, checksum) in zip(blocks, checksums) where !(unread + more).contains(where: block.overlaps) {
      guard memory.checksum(offset + block.lowerBound, count: block.count) != checksum else { continue }
      Self.add(block, to: &runs)
    }
    return runs
  }

  /// Runs of blocks that are not zeroes.
  static func notZero(
    _ memory: TransferMemory, _ offset: Int, count: Int, at position: UInt64, block: Int, unread: [Range<Int>]
  ) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    for block in blocks(count: count, at: position, block: block) where !unread.contains(where: block.overlaps) {
      if memory.firstNonZero(offset + block.lowerBound, count: block.count) != nil { add(block, to: &runs) }
    }
    return runs
  }

  private static func add(_ block: Range<Int>, to runs: inout [Range<Int>]) {
    if let last = runs.last, last.upperBound == block.lowerBound {
      runs[runs.count - 1] = last.lowerBound..<block.upperBound
    } else {
      runs.append(block)
    }
  }

  private static func blocks(count: Int, at position: UInt64, block: Int) -> [Range<Int>] {
    var blocks: [Range<Int>] = []
    var start = 0
    while start < count {
      let end = min(start + block - Int((position + UInt64(start)) % UInt64(block)), count)
      blocks.append(start..<end)
      start = end
    }
    return blocks
  }
}
