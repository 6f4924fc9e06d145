internal import Glibc

/// Polls until `condition` holds.
/// - Throws: `Missing` with the sentence when the deadline has passed.
public func eventually(within deadline: Duration = .seconds(30), _ sentence: String, _ condition: () throws -> Bool) throws {
  let end = ContinuousClock.now + deadline
  var pause: UInt32 = 500
  while true {
    if try condition() { return }
    if ContinuousClock.now >= end { throw Missing("not within \(deadline): \(sentence)") }
    usleep(pause)
    pause = min(pause * 2, 20_000)
  }
}

/// Waits; for the few tests that must see that something does not happen.
public func pause(_ duration: Duration) {
  let (seconds, attoseconds) = duration.components
  usleep(UInt32(seconds * 1_000_000 + attoseconds / 1_000_000_000_000))
}
