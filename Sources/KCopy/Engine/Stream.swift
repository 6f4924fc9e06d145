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
  /// Whether all its destinations lack everything from the cursor on; else it has one, and its map says what it lacks.
  var isFresh = true
  /// Whether it was left behind: then it gives way when pages are short.
  var isLagging = false
  /// Sub-jobs in a slot: those that a destination of the stream still waits for.
  var inFlight = 0
  /// Of these, how many are being read.
  var reading = 0
  var holdUp = HoldUp()

  /// Whether nothing is left to start.
  var isSpent: Bool { mask == 0 || cursor >= end }
}

/// How long some destinations of a stream have made the others wait, lately.
struct HoldUp {
  /// The destinations that were waited for every time; 0: nobody.
  private(set) var mask: UInt64 = 0
  private var windowStart: UInt64 = 0
  private var since: UInt64?
  private var total: UInt64 = 0

  /// So much waiting is nobody's bad moment, but a device that is slower than the others.
  private static let patience: UInt64 = 200_000_000
  private static let window: UInt64 = 5 * patience

  /// Takes down that the stream waits for some of its destinations only.
  ///
  /// - Returns: when that will have been long enough, if nothing changes.
  mutating func note(_ waitedFor: UInt64, now: UInt64) -> UInt64 {
    stop(now: now)
    if mask & waitedFor == 0 || now - windowStart > Self.window {
      (mask, windowStart, total) = (waitedFor, now, 0)
    } else {
      mask &= waitedFor
    }
    since = now
    // At least a third of the time, too: who is a little slower doesn't cost another read of the source.
    let elapsed = now - windowStart
    let byShare = total * 3 < elapsed ? (elapsed - total * 3) / 2 : 0
    return now + max(Self.patience - min(total, Self.patience), byShare)
  }

  /// The stream went on, or waits for all.
  mutating func stop(now: UInt64) {
    if let since { total += now - since }
    since = nil
  }
}
