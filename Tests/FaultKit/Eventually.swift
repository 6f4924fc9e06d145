internal import Glibc

/// How many times as long as elsewhere everything may take here: `KCOPYFS_PATIENCE`, for a program that a sanitizer slows down.
///
/// It stretches every deadline of this kit; none of them is waited for unless a test fails.
public let patience: Int = getenv("KCOPYFS_PATIENCE").flatMap { Int(String(cString: $0)) } ?? 1

/// Polls until `condition` holds.
/// - Throws: `Missing` with the sentence when the deadline has passed.
public func eventually(within deadline: Duration = .seconds(30), _ sentence: String, _ condition: () throws -> Bool) throws {
  let end = ContinuousClock.now + deadline * patience
  var pause: UInt32 = 500
  while true {
    if try condition() { return }
    if ContinuousClock.now >= end { throw Missing("not within \(deadline * patience): \(sentence)") }
    usleep(pause)
    pause = min(pause * 2, 20_000)
  }
}

/// Waits; for the few tests that must see that something does not happen.
public func pause(_ duration: Duration) {
  let (seconds, attoseconds) = duration.components
  usleep(UInt32(seconds * 1_000_000 + attoseconds / 1_000_000_000_000))
}
