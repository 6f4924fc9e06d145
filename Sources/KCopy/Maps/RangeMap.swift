/// What has become of each byte of a region on one destination: a list of extents without gaps.
///
/// Offsets are bytes from the start of the region.  Neighbours of the same status are one extent, so a copy that goes
/// well has few of them, whatever its length.
public struct RangeMap: Sendable, Equatable {
  /// What is known of a byte.
  public enum Status: UInt8, Sendable, CaseIterable {
    /// Not copied yet.
    case missing
    /// Written, but not known to be on the medium: after a power loss it may be gone.
    case written
    /// Written, and flushed to the medium after that.
    case durable
    /// Its read or its write failed for good.
    case failed
    /// Not to be copied: it lies outside the domain of the copy, and stays as it is.
    case outside
  }

  /// A run of bytes of one status.
  public struct Extent: Sendable, Equatable {
    /// The first byte, from the start of the region.
    public var start: UInt64
    /// The byte after the last one.
    public var end: UInt64
    /// What is known of all of them.
    public var status: Status

    /// A run of bytes from `start` up to, and without, `end`.
    public init(start: UInt64, end: UInt64, status: Status) {
      self.start = start
      self.end = end
      self.status = status
    }

    /// The length, in bytes.
    public var count: UInt64 { end - start }
  }

  /// In ascending order, from 0 to `count`; empty when the region is.
  public private(set) var extents: [Extent]

  /// A map of a region of so many bytes, of which none is copied.
  public init(count: UInt64, status: Status = .missing) {
    extents = count == 0 ? [] : [Extent(start: 0, end: count, status: status)]
  }

  /// The length of the region, in bytes.
  public var count: UInt64 { extents.last?.end ?? 0 }

  /// How many bytes of the region have the status.
  public func bytes(_ status: Status) -> UInt64 {
    extents.reduce(0) { $1.status == status ? $0 + $1.count : $0 }
  }

  /// How many bytes of a range have the status.
  public func bytes(_ status: Status, in range: Range<UInt64>) -> UInt64 {
    guard !range.isEmpty else { return 0 }
    var total: UInt64 = 0
    for extent in extents[index(of: range.lowerBound)...] {
      guard extent.start < range.upperBound else { break }
      if extent.status == status { total += min(extent.end, range.upperBound) - max(extent.start, range.lowerBound) }
    }
    return total
  }

  /// The extent that holds an offset, which has to be less than `count`.
  public func extent(at offset: UInt64) -> Extent { extents[index(of: offset)] }

  /// How many bytes of the region are to be copied, in bytes: all that aren't `outside`.
  public var bytesToCopy: UInt64 { count - bytes(.outside) }

  /// Whether every byte that is to be copied is written, and flushed too if asked for.
  public func isComplete(durable: Bool) -> Bool {
    extents.allSatisfy { $0.status == .durable || $0.status == .outside || ($0.status == .written && !durable) }
  }

  /// A map of a region of so many bytes, of which only some ranges are to be copied, and none is.
  ///
  /// - Parameters:
  ///   - region: where the region lies on the source, in bytes.
  ///   - domain: ascending ranges of the source, in bytes; what lies outside of `region` doesn't count.
  public init(region: Range<UInt64>, domain: some Sequence<Range<UInt64>>) {
    var extents: [Extent] = []
    func append(_ end: UInt64, _ status: Status) {
      let start = extents.last?.end ?? 0
      guard end > start else { return }
      if extents.last?.status == status {
        extents[extents.count - 1].end = end
      } else {
        extents.append(Extent(start: start, end: end, status: status))
      }
    }
    for range in domain {
      let cut = range.clamped(to: region)
      guard !cut.isEmpty else { continue }
      append(cut.lowerBound - region.lowerBound, .outside)
      append(cut.upperBound - region.lowerBound, .missing)
    }
    append(region.upperBound - region.lowerBound, .outside)
    self.extents = extents
  }

  /// The first extent at or after an offset that has the status, cut to begin there; `nil` when there is none.
  public func next(_ status: Status, from offset: UInt64) -> Extent? {
    guard offset < count else { return nil }
    guard var found = extents[index(of: offset)...].first(where: { $0.status == status }) else { return nil }
    found.start = max(found.start, offset)
    return found
  }

  /// Gives all bytes of a range a status; the range has to lie in the region.
  public mutating func set(_ range: Range<UInt64>, _ status: Status) {
    guard !range.isEmpty else { return }
    precondition(range.upperBound <= count, "outside of the region")
    if extents.count == 1, range == 0..<count {
      extents[0].status = status
      return
    }
    let first = index(of: range.lowerBound)
    let last = index(of: range.upperBound - 1)
    // The next piece of a copy that goes well: one boundary moves, and nothing else.
    if first == last, first > 0, extents[first].start == range.lowerBound, extents[first - 1].status == status,
      extents[first].end > range.upperBound
    {
      extents[first - 1].end = range.upperBound
      extents[first].start = range.upperBound
      return
    }
    var middle = Extent(start: range.lowerBound, end: range.upperBound, status: status)
    var (low, high) = (first, last)
    var pieces: [Extent] = []
    if extents[first].start < range.lowerBound {
      if extents[first].status == status {
        middle.start = extents[first].start
      } else {
        pieces.append(Extent(start: extents[first].start, end: range.lowerBound, status: extents[first].status))
      }
    } else if first > 0, extents[first - 1].status == status {
      low -= 1
      middle.start = extents[low].start
    }
    var after: Extent?
    if extents[last].end > range.upperBound {
      if extents[last].status == status {
        middle.end = extents[last].end
      } else {
        after = Extent(start: range.upperBound, end: extents[last].end, status: extents[last].status)
      }
    } else if last + 1 < extents.count, extents[last + 1].status == status {
      high += 1
      middle.end = extents[high].end
    }
    pieces.append(middle)
    if let after { pieces.append(after) }
    extents.replaceSubrange(low...high, with: pieces)
  }

  /// Gives all bytes of one status another.
  public mutating func replace(_ status: Status, with other: Status) {
    guard extents.contains(where: { $0.status == status }) else { return }
    var result: [Extent] = []
    for var extent in extents {
      if extent.status == status { extent.status = other }
      if let last = result.last, last.status == extent.status {
        result[result.count - 1].end = extent.end
      } else {
        result.append(extent)
      }
    }
    extents = result
  }

  /// Leaves what the next attempt can rely on: whether what was written is on the medium nobody knows any more, and what failed
  /// is tried again.
  mutating func forgetUnflushed() {
    replace(.written, with: .missing)
    replace(.failed, with: .missing)
  }

  /// Gives the bytes of one status in a range another; returns how many there were.
  mutating func replace(_ status: Status, with other: Status, in range: Range<UInt64>) -> UInt64 {
    var (at, total) = (range.lowerBound, UInt64(0))
    while at < range.upperBound {
      let extent = extent(at: at)
      let end = min(extent.end, range.upperBound)
      if extent.status == status {
        set(at..<end, other)
        total += end - at
      }
      at = end
    }
    return total
  }

  /// Where the bytes of a status are, ascending.
  public func runs(of status: Status) -> [Range<UInt64>] { extents.compactMap { $0.status == status ? $0.start..<$0.end : nil } }

  /// The place of the extent that holds an offset.
  private func index(of offset: UInt64) -> Int {
    precondition(offset < count, "outside of the region")
    var (low, high) = (0, extents.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if extents[middle].end <= offset { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
