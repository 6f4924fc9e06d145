import KCopy

/// Where the chunks of a snapshot lie: on the origin each at its own place, in the store in the order of the exceptions.
struct Chunks: Sendable {
  let origin: Device
  let store: Device
  /// The length of a chunk, in bytes; the last of the origin may be shorter.
  let bytes: UInt64

  func original(_ chunk: UInt64) -> Region {
    Region(origin, start: chunk * bytes, count: min(bytes, origin.size - chunk * bytes))
  }

  func stored(_ chunk: UInt64, at place: Int) -> Region {
    Region(store, start: UInt64(place) * bytes, count: original(chunk).count)
  }
}
