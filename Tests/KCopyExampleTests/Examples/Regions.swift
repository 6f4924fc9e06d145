/// The regions of a mirror: which are dirty, which are being copied, and which legs are there to copy them to.
struct Regions: Sendable {
  /// Since its last copy began, the primary may have changed.
  var dirty: [Bool]
  /// How many are writing to a region.
  var writers: [Int]
  /// The legs that haven't failed.
  var live: [Int]
  var inFlight: Set<Int> = []
  /// Regions that couldn't be read.
  var lost: Set<Int> = []
  /// The last region that was taken: the next is sought behind it.
  private var search = 0
  private var isTold = false

  init(count: Int, legs: Int) {
    dirty = Array(repeating: true, count: count)
    writers = Array(repeating: 0, count: count)
    live = Array(0..<legs)
  }

  /// Takes a dirty region that nobody writes to or copies; `nil`: there is none, or so many are in flight already.
  mutating func take(atMost limit: Int) -> (region: Int, legs: [Int])? {
    func isNext(_ region: Int) -> Bool { dirty[region] && writers[region] == 0 && !inFlight.contains(region) }
    guard inFlight.count < limit, !live.isEmpty else { return nil }
    guard let region = (search..<dirty.count).first(where: isNext) ?? (0..<search).first(where: isNext) else { return nil }
    (dirty[region], search, isTold) = (false, region + 1, false)
    inFlight.insert(region)
    lost.remove(region)
    return (region, live)
  }

  /// What there is to tell once nothing is left to copy, or no leg to copy to: the legs that live, and the lost regions.
  mutating func outcome() -> (live: [Int], lost: Set<Int>)? {
    guard !isTold, inFlight.isEmpty, live.isEmpty || !dirty.contains(true) else { return nil }
    isTold = true
    return (live, lost)
  }
}
