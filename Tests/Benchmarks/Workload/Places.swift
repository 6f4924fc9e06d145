/// Where the jobs lie on the devices, in job sizes from the start.
struct Places {
  let count: Int
  private let pattern: Workload.Pattern

  /// As many places as fit; of `random`, the largest power of two of them.
  init(fitting fit: UInt64, pattern: Workload.Pattern) {
    let fit = Int(fit)
    count = pattern == .random && fit > 0 ? 1 << (Int.bitWidth - 1 - fit.leadingZeroBitCount) : fit
    self.pattern = pattern
  }

  /// The place of a job on a destination: one after the other, and round.
  func ascending(_ number: Int) -> Int { number % count }

  /// The place of a job on the source.  `random` has no order, the same at each run, and takes every place once a round:
  /// each of the three steps maps the places one to one.  `bench.py` knows them too, and checks the copy by them.
  func place(_ number: Int) -> Int {
    var place = ascending(number)
    guard pattern == .random else { return place }
    let half = count.trailingZeroBitCount / 2 + 1
    place = (place &* 0x9E37_79B1) & (count - 1)
    place ^= place >> half
    return (place &* 0x85EB_CA6B) & (count - 1)
  }
}
