internal import Glibc

extension CopyRequest {
  /// What the engine relies on; who broke it hears of it before anything is read.
  func check() throws(DeviceError) {
    guard (1...64).contains(destinations.count), source.count > 0 else { throw DeviceError(errno: EINVAL, call: "number of regions") }
    for (index, region) in destinations.enumerated() {
      guard region.count == source.count, region.start <= UInt64(Int64.max) - region.count, region.device.access != .reading
      else { throw DeviceError(errno: EINVAL, call: "destination \(index)") }
      let block = UInt64(region.device.logicalBlock)
      guard region.start % block == 0, region.count % block == 0 || options.fillsTailWithZeroes else {
        throw DeviceError(errno: EINVAL, call: "destination \(index): not a multiple of the logical block")
      }
      guard !region.overlaps(source), !destinations[..<index].contains(where: region.overlaps) else {
        throw DeviceError(errno: EINVAL, call: "destination \(index): regions overlap")
      }
    }
    let block = UInt64(source.device.logicalBlock)
    guard source.start % block == 0, source.count % block == 0, source.start <= UInt64(Int64.max) - source.count else {
      throw DeviceError(errno: EINVAL, call: "source: not a multiple of the logical block")
    }
  }
}

/// How a region is cut into sub-jobs: so that as many of its sides as possible can be transferred directly.
///
/// Three different pieces:
/// 1. a head, up to the first page boundary of the side that the cut follows;
/// 2. sub-jobs of full length;
/// 3. a tail, which is no multiple of a page, apart from the rest where a file's last page must go through the cache.
struct CopyPlan {
  let count: UInt64
  let head: UInt64
  private let splitsTail: Bool

  private static let page: UInt64 = 4096

  init(_ request: CopyRequest) {
    count = request.source.count
    let sides = request.destinations + [request.source]
    // Follow the side whose page boundaries let most sides be direct; among equals the first destination.
    var best = (phase: UInt64(0), direct: -1)
    for side in sides {
      let phase = side.start % Self.page
      let direct = sides.count { $0.isDirect(atPhase: phase) }
      if direct > best.direct { best = (phase, direct) }
    }
    let untilBoundary = (Self.page - best.phase) % Self.page
    head = untilBoundary < count ? untilBoundary : 0
    let body = count - head
    splitsTail = sides.contains { $0.device.directAlignment > 0 && body % UInt64($0.device.directAlignment) != 0 }
  }

  /// The length of the piece that begins at `offset` of the region, at most `limit`, in bytes.
  func piece(at offset: UInt64, limit: Int) -> Int {
    if offset < head { return Int(min(head - offset, UInt64(limit))) }
    let remaining = count - offset
    guard remaining <= UInt64(limit) else { return limit }
    let tail = remaining % Self.page
    return Int(splitsTail && tail != 0 && remaining > Self.page ? remaining - tail : remaining)
  }
}

extension Region {
  /// Whether transfers at page boundaries of a side with this phase are direct ones here.
  fileprivate func isDirect(atPhase phase: UInt64) -> Bool {
    let alignment = UInt64(device.directAlignment)
    return alignment > 0 && (start + 4096 - phase) % alignment == 0
  }
}
