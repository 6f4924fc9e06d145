/// Destinations that are written by the same reads, and how far those have got.
///
/// A copy begins with one stream for all.  Destinations that hold up the others get a stream of their own, and so does one
/// that has to be given again what it lost.
struct Stream {
  /// Bit i: destination i is written by it.
  var mask: UInt64
  /// The first byte of the region that no sub-job of the stream has taken.
  var cursor: UInt64
  /// Where the stream ends.
  var end: UInt64
  /// Whether all its destinations lack everything from the cursor on; else their maps say what they lack.
  var isFresh = true
  /// Whether it reads back what its only destination holds, and writes nothing.
  var isVerifying = false
  /// Whether its only destination shares the source's blocks, and nothing is read.
  var isCloning = false
  /// Whether that is still being tried.
  var isTrying = false
  /// Whether it reads for the digest alone, what no destination lacks: its cursor is where the digest's next piece begins.
  var isHashing = false
  /// Whether it reads what was set aside: then its cursor says nothing.
  var isSalvaging = false
  /// Whether it was left behind: then it gives way when pages are short.
  var isLagging = false
  /// When that was.
  var leftAt: UInt64 = 0
  /// Sub-jobs in a slot: those that a destination of the stream still waits for.
  var inFlight = 0
  var holdUp = HoldUp()

  /// Whether nothing is left to start.
  var isSpent: Bool { mask == 0 && !isHashing || cursor >= end }
}

/// How much each destination of a stream has made the others wait, lately.
///
/// A slot that waits for one destination only, while others have the piece already, is lost to those: its share of all
/// slots counts for as long as it lasts.
struct HoldUp {
  /// Nanoseconds of waiting for each destination, times the share of the slots that waited; empty until somebody did.
  private var held: [Double] = []
  private var shares: [Double] = []
  private var windowStart: UInt64 = 0
  private var lastChange: UInt64 = 0

  /// So much waiting is nobody's bad moment, but a device that is slower than the others.
  private static let patience = 200e6
  static let window: UInt64 = 1_000_000_000
  /// The share of the time, too: who is a little slower doesn't cost another read of the source.
  private static let share = 1.0 / 3

  /// Takes down the shares of the slots that wait from now on.
  ///
  /// - Parameter waiting: per destination, how many slots wait for it although others have their piece; empty: none do.
  mutating func note(_ waiting: [Int], slots: Int, now: UInt64) {
    guard !held.isEmpty || waiting.contains(where: { $0 > 0 }) else { return }
    if held.isEmpty || now - windowStart > Self.window {
      if held.isEmpty {
        held = Array(repeating: 0, count: waiting.count)
        shares = held
      }
      for index in held.indices { held[index] = 0 }
      windowStart = now
    } else {
      for index in shares.indices { held[index] += Double(now - lastChange) * shares[index] }
    }
    lastChange = now
    for index in shares.indices { shares[index] = index < waiting.count ? Double(waiting[index]) / Double(slots) : 0 }
  }

  /// Those who have made the others wait for too long, and when the next one will have, if nothing changes.
  func judge(now: UInt64) -> (guilty: UInt64, next: UInt64) {
    let elapsed = Double(now - windowStart)
    var guilty: UInt64 = 0
    var next = Double.infinity
    for index in shares.indices where shares[index] > 0 {
      let byTime = (Self.patience - held[index]) / shares[index]
      let lead = shares[index] - Self.share
      let byShare = held[index] >= elapsed * Self.share ? 0 : lead > 0 ? (elapsed * Self.share - held[index]) / lead : .infinity
      let due = max(byTime, byShare)
      if due <= 0 { guilty |= .only(index) } else { next = min(next, due) }
    }
    return (guilty, next.isFinite ? now + UInt64(next) + 1 : .max)
  }
}
