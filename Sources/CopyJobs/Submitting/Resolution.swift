internal import Admission
internal import Glibc
internal import KCopy

/// What a record comes to on the devices that it names: regions in bytes, checked against their sizes.
struct Resolution {
  private(set) var regions = Regions(source: nil, destinations: [])

  /// - Parameter source: `nil` where the record has none; then the destinations' own lengths count.
  init(_ record: JobRecord, source: Endpoint?, destinations: [Endpoint]) throws(Refusal) {
    var endsWithSource = false
    if let text = record.from, let source {
      let region = Region(source.device, start: text.start, count: try Self.sourceCount(text, source))
      endsWithSource = region.end == source.device.size
      regions.source = region
    }
    let tail: Tail = regions.source == nil ? .none : record.tailZero && endsWithSource ? .filled : .refused
    for (text, endpoint) in zip(record.to, destinations) {
      guard let count = regions.source?.count ?? record.to.first?.count else { break }
      try Self.check(text, endpoint, count: count, tail)
      regions.destinations.append(Region(endpoint.device, start: text.start, count: count))
    }
  }

  /// What becomes of a region that ends inside a logical block of its destination.
  private enum Tail {
    /// There is no source that could.
    case none
    case refused
    /// The rest of the block is filled with zeroes.
    case filled
  }

  private static func sourceCount(_ text: RegionText, _ source: Endpoint) throws(Refusal) -> UInt64 {
    let size = source.device.size
    let block = UInt64(source.device.logicalBlock)
    guard text.start <= size, text.count ?? 0 <= size - text.start else {
      throw Refusal(errno: ERANGE, column: text.column, text: "\(source.path) ends at \(size)B, before the region does")
    }
    let count = text.count ?? size - text.start
    guard count > 0 else { throw Refusal(errno: EINVAL, column: text.column, text: "the region of \(source.path) is empty") }
    guard text.start % block == 0, count % block == 0 else {
      throw Refusal(
        errno: EINVAL, column: text.column, text: "\(source.path) has blocks of \(block)B, and the region is no multiple of them")
    }
    return count
  }

  private static func check(_ text: RegionText, _ endpoint: Endpoint, count: UInt64, _ tail: Tail) throws(Refusal) {
    if let own = text.count, own != count {
      let other = tail == .none ? "the first" : "the source"
      throw Refusal(errno: EINVAL, column: text.column, text: "the region of \(endpoint.path) has \(own)B, that of \(other) \(count)B")
    }
    let device = endpoint.device
    let block = UInt64(device.logicalBlock)
    guard text.start % block == 0, count % block == 0 || tail == .filled else {
      let hint =
        text.start % block == 0 && tail == .refused ? "; tail=zero fills the last block of a copy that reaches the source's end" : ""
      throw Refusal(
        errno: EINVAL, column: text.column, text: "\(endpoint.path) has blocks of \(block)B, and the region is no multiple of them\(hint)")
    }
    let (end, isTooLarge) = text.start.addingReportingOverflow((count + block - 1) / block * block)
    guard !isTooLarge, end <= UInt64(Int64.max) else {
      throw Refusal(errno: EINVAL, column: text.column, text: "no file or device is as long as \(endpoint.path) would have to be")
    }
    if device.isBlockDevice, end > device.size {
      throw Refusal(errno: ENOSPC, column: text.column, text: "\(endpoint.path) has \(device.size)B, the region ends at \(end)B")
    }
  }

  /// The claims of the job, source first; a destination's last block is its own although only a part of it is copied.
  func claims(source: Endpoint?, destinations: [Endpoint]) -> [Claims.Claim] {
    var claims: [Claims.Claim] = []
    if let source, let region = regions.source { claims.append(Claims.Claim(source, region, isWrite: false)) }
    for (endpoint, region) in zip(destinations, regions.destinations) {
      let block = UInt64(region.device.logicalBlock)
      let whole = Region(region.device, start: region.start, count: (region.count + block - 1) / block * block)
      claims.append(Claims.Claim(endpoint, whole, isWrite: true))
    }
    return claims
  }
}
