internal import Glibc

extension CopyRequest {
  /// What the engine relies on; who broke it hears of it before anything is read.
  func check() throws(DeviceError) {
    guard options.retries >= 0, options.rate != 0, (0...9).contains(options.priority), options.flushes || !options.verifies else {
      throw DeviceError(errno: EINVAL, call: "options of a copy")
    }
    guard (1...64).contains(destinations.count), count > 0 else { throw DeviceError(errno: EINVAL, call: "number of regions") }
    guard maps.isEmpty || maps.count == destinations.count && maps.allSatisfy({ $0.count == count }) else {
      throw DeviceError(errno: EINVAL, call: "maps of a copy")
    }
    // A transfer of whole blocks would take what lies outside along.
    let block = UInt64(largestBlock)
    guard maps.allSatisfy({ $0.isOutsideOfBlocks(of: block) }) else {
      throw DeviceError(errno: EINVAL, call: "maps of a copy: the domain is not a multiple of the logical block")
    }
    guard maps.dropFirst().allSatisfy({ $0.isOfSameDomain(as: maps[0]) }) else {
      throw DeviceError(errno: EINVAL, call: "maps of a copy: the domain is not the same for all destinations")
    }
    // Before anything is added to a start: what overflows would end the program.
    guard source?.isAddressable != false, source?.isWhole != false else {
      throw DeviceError(errno: EINVAL, call: "source: not a multiple of the logical block")
    }
    for (index, region) in destinations.enumerated() {
      guard region.count == count, region.isAddressable, region.device.access != .reading
      else { throw DeviceError(errno: EINVAL, call: "destination \(index)") }
      let block = UInt64(region.device.logicalBlock)
      guard region.start % block == 0, region.count % block == 0 || options.fillsTailWithZeroes else {
        throw DeviceError(errno: EINVAL, call: "destination \(index): not a multiple of the logical block")
      }
      guard source.map(region.overlaps) != true, !destinations[..<index].contains(where: region.overlaps) else {
        throw DeviceError(errno: EINVAL, call: "destination \(index): regions overlap")
      }
    }
  }

  /// The largest logical block of all devices, in bytes.
  var largestBlock: Int { destinations.reduce(source?.device.logicalBlock ?? 1) { max($0, $1.device.logicalBlock) } }
}

extension RangeMap {
  /// Whether the same bytes are to be copied by two maps.
  fileprivate func isOfSameDomain(as other: RangeMap) -> Bool { runs(of: .outside) == other.runs(of: .outside) }

  /// Whether what is not to be copied begins and ends with blocks of that size, the region's end aside.
  fileprivate func isOutsideOfBlocks(of block: UInt64) -> Bool {
    block == 1
      || extents.allSatisfy {
        $0.status != .outside || $0.start % block == 0 && ($0.end % block == 0 || $0.end == count)
      }
  }
}

extension Region {
  /// Whether its bytes have places that a system call can name.
  fileprivate var isAddressable: Bool { count <= UInt64(Int64.max) && start <= UInt64(Int64.max) - count }

  fileprivate var isWhole: Bool {
    let block = UInt64(device.logicalBlock)
    return start % block == 0 && count % block == 0
  }
}

/// How a region is cut into sub-jobs: so that block devices get whole blocks, and as many files as possible whole pages.
///
/// Three different pieces:
/// 1. a head, up to the first page boundary of the side that the cut follows;
/// 2. sub-jobs of full length;
/// 3. a tail, which is no multiple of a page, apart from the rest where a file's last page must go through the cache.
struct CopyPlan {
  let count: UInt64
  let head: UInt64
  /// All pieces but head and tail are multiples of it: a page, or the largest logical block.
  let unit: Int
  private let splitsTail: Bool

  private static let page: UInt64 = 4096

  init(_ request: CopyRequest) {
    count = request.count
    if let unit = Self.unitOfAligned(request) {
      (head, splitsTail) = (0, false)
      self.unit = unit
      return
    }
    let sides = request.destinations + [request.source].compactMap { $0 }
    let block = Self.block(of: sides)
    // Of the cuts that suit the block devices, the one that lets most sides be direct; among equals the first destination's.
    var best = (head: UInt64(0), direct: -1)
    for phase in sides.map({ $0.start % Self.page }) + [0] {
      let head = (Self.page - phase) % Self.page
      guard head % block == 0 else { continue }
      let direct = sides.count { $0.isDirect(after: head) }
      if direct > best.direct { best = (head, direct) }
    }
    head = best.head < count ? best.head : 0
    unit = Int(Self.unit(of: sides))
    let body = count - head
    splitsTail = sides.contains { $0.device.directAlignment > 0 && body % UInt64($0.device.directAlignment) != 0 }
  }

  /// The unit of a copy whose sides are all aligned, which most are: nothing has to be weighed, and small copies are many.
  private static func unitOfAligned(_ request: CopyRequest) -> Int? {
    guard request.count % page == 0 else { return nil }
    var unit = Int(page)
    if let source = request.source, !source.isAligned(&unit) { return nil }
    for region in request.destinations where !region.isAligned(&unit) { return nil }
    return unit
  }

  /// What all block devices of a copy can transfer: they have no choice, where a file can go through the page cache.
  private static func block(of sides: [Region]) -> UInt64 {
    UInt64(sides.filter(\.device.isBlockDevice).map(\.device.logicalBlock).max() ?? 1)
  }

  static func unit(of sides: [Region]) -> UInt64 { max(page, block(of: sides)) }

  /// The length of the piece that begins at `offset` of the region, at most `limit`, in bytes.
  func piece(at offset: UInt64, limit: Int) -> Int {
    if offset < head { return Int(min(head - offset, UInt64(limit))) }
    let remaining = count - offset
    guard remaining <= UInt64(limit) else { return max(limit / unit, 1) * unit }
    let tail = remaining % UInt64(unit)
    return Int(splitsTail && tail != 0 && remaining > UInt64(unit) ? remaining - tail : remaining)
  }

  /// What of a piece fits into a run of pages that is shorter than wanted; 0 when nothing does.
  ///
  /// Never all of it: the last piece of a region may be written with the rest of a block behind it.
  func part(of piece: Int, in run: PageRun) -> Int {
    min(run.bytes, piece - 1) / unit * unit
  }
}

extension Region {
  /// Whether it begins at a page and can be direct to its end; a block device's block counts for the unit.
  fileprivate func isAligned(_ unit: inout Int) -> Bool {
    let alignment = UInt64(device.directAlignment)
    guard start % UInt64(PagePool.pageBytes) == 0, alignment == 0 || count % alignment == 0 else { return false }
    if device.isBlockDevice { unit = max(unit, device.logicalBlock) }
    return true
  }

  /// Whether transfers that begin so many bytes behind the start can be direct ones.
  fileprivate func isDirect(after head: UInt64) -> Bool {
    let alignment = UInt64(device.directAlignment)
    return alignment > 0 && (start + head) % alignment == 0
  }
}
