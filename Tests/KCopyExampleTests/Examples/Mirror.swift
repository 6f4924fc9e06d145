import KCopy

/// What a mirror consists of: a primary and the legs that are to be like it, in regions.
struct Mirror: Sendable {
  let primary: Device
  let legs: [Device]
  /// The length of a region, in bytes; the last may be shorter.
  var regionBytes: UInt64 = 2 << 20
  var copiesAtOnce = 4

  var regionCount: Int { Int((primary.size + regionBytes - 1) / regionBytes) }

  func region(_ number: Int, on device: Device) -> Region {
    let start = UInt64(number) * regionBytes
    return Region(device, start: start, count: min(regionBytes, primary.size - start))
  }
}
