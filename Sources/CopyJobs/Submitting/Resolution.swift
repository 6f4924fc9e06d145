internal import Admission
internal import Glibc
internal import KCopy

/// What a record comes to on the devices that it names: regions in bytes, checked against their sizes.
struct Resolution {
  var source: Region
  var destinations: [Region]

  init(_ record: JobRecord, from text: RegionText, source: Endpoint, destinations: [Endpoint]) throws(Refusal) {
    let count = try Self.sourceCount(text, source)
    self.source = Region(source.device, start: text.start, count: count)
    let endsWithSource = text.start + count == source.device.size
    self.destinations = []
    for (text, endpoint) in zip(record.to, destinations) {
      try Self.check(text, endpoint, count: count, fillsTail: record.tailZero && endsWithSource)
      self.destinations.append(Region(endpoint.device, start: text.start, count: count))
    }
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

  private static func check(_ text: RegionText, _ endpoint: Endpoint, count: UInt64, fillsTail: Bool) throws(Refusal) {
    if let own = text.count, own != count {
      throw Refusal(errno: EINVAL, column: text.column, text: "the region of \(endpoint.path) has \(own)B, that of the source \(count)B")
    }
    let device = endpoint.device
    let block = UInt64(device.logicalBlock)
    guard text.start % block == 0, count % block == 0 || fillsTail else {
      let hint = text.start % block == 0 ? "; tail=zero fills the last block of a copy that reaches the source's end" : ""
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
  func claims(source: Endpoint, destinations: [Endpoint]) -> [Claims.Claim] {
    [Claims.Claim(source, self.source, isWrite: false)]
      + zip(destinations, self.destinations).map { endpoint, region in
        let block = UInt64(region.device.logicalBlock)
        let whole = Region(region.device, start: region.start, count: (region.count + block - 1) / block * block)
        return Claims.Claim(endpoint, whole, isWrite: true)
      }
  }
}
