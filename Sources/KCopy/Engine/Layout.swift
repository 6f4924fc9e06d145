/// Where a source has holes, as far as that is known; offsets are bytes from the start of the region.
struct Layout {
  /// What a piece is.
  enum Piece: Equatable {
    case data(end: UInt64)
    case hole(end: UInt64)
    /// Nobody has looked there yet.
    case unknown
  }

  /// Somebody looks for more.
  var isAsked = false
  private let count: UInt64
  /// All but a head is cut at multiples of `unit` behind `head`, and holes are taken as far as they are.
  private let head: UInt64
  private let unit: UInt64
  private var holes: [Range<UInt64>] = []
  /// How far it is known.
  private(set) var end: UInt64 = 0

  /// - Parameter isKnown: there are no holes, or nobody can say where.
  init(_ plan: CopyPlan, isKnown: Bool) {
    count = plan.count
    head = plan.head
    unit = UInt64(plan.unit)
    if isKnown { end = count }
  }

  /// Takes holes, ascending and behind those that are known, and how far it is known with them.
  mutating func learn(_ found: [Range<UInt64>], _ end: UInt64) {
    for hole in found {
      let start = aligned(hole.lowerBound, up: true)
      let stop = hole.upperBound >= count ? count : aligned(hole.upperBound, up: false)
      guard start < stop else { continue }
      if let last = holes.last, last.upperBound == start {
        holes[holes.count - 1] = last.lowerBound..<stop
      } else {
        holes.append(start..<stop)
      }
    }
    self.end = max(end, self.end)
  }

  private func aligned(_ offset: UInt64, up: Bool) -> UInt64 {
    guard offset > head else { return head }
    let units = (offset - head + (up ? unit - 1 : 0)) / unit
    return head + units * unit
  }

  /// What begins at an offset of the region.
  func piece(at offset: UInt64) -> Piece {
    var (low, high) = (0, holes.count)
    while low < high {
      let middle = (low + high) / 2
      if holes[middle].upperBound <= offset { low = middle + 1 } else { high = middle }
    }
    if low < holes.count {
      return holes[low].lowerBound <= offset ? .hole(end: holes[low].upperBound) : .data(end: holes[low].lowerBound)
    }
    guard end < count else { return .data(end: count) }
    let stop = aligned(end, up: false)
    return offset < stop ? .data(end: stop) : .unknown
  }
}
