/// What a client does to one device, over all its copies.
struct DeviceLoad {
  var key: DeviceKey
  /// Sides of copies that use it.
  var users = 0
  private(set) var inFlight = 0
  /// Nanoseconds of work that the device is to be left alone for, times the share that it may be busy.
  private var debt: Int64 = 0
  private var lastChange: UInt64 = 0
  private var lastAnswer: UInt64 = 0
  /// The last completion, where `lastAnswer` may be the beginning of what is in flight.
  private var lastCompletion: UInt64 = 0
  /// Pages of the reserve that its transfers hold, and may hold: doubled with each answer, so that a device which doesn't
  /// answer never has many.
  private var reserved = 0
  private var window = 0

  /// So much idle time is remembered: a destination waits while its source is read, and may be busy for it later.
  private static let credit: Int64 = 100_000_000
  /// A device that has not answered for so long counts as one that doesn't.
  private static let patience: UInt64 = 1_000_000_000

  init(key: DeviceKey, now: UInt64) {
    self.key = key
    lastChange = now
    lastAnswer = now
  }

  // MARK: Throttle

  /// Brings the debt up to date, before something changes: it grows by the share that isn't ours while the device is
  /// busy, and falls by ours while it is idle.
  mutating func accrue(now: UInt64, throttle: Int) {
    let passed = Int64(now - lastChange)
    lastChange = now
    guard throttle < 100 else {
      debt = 0
      return
    }
    if inFlight > 0 {
      debt += passed * Int64(100 - throttle)
    } else {
      debt = max(-Self.credit * Int64(throttle), debt - passed * Int64(throttle))
    }
  }

  /// When a read may start, as far as this device goes: 0 is now, `.max` after what is in flight.
  func opening(throttle: Int) -> UInt64 {
    guard throttle < 100, debt > 0 else { return 0 }
    return inFlight > 0 ? .max : lastChange + UInt64(debt / Int64(throttle)) + 1
  }

  mutating func began(now: UInt64, throttle: Int) {
    accrue(now: now, throttle: throttle)
    if inFlight == 0 { lastAnswer = now }
    inFlight += 1
  }

  /// - Returns: whether nothing is in flight any more.
  mutating func ended(now: UInt64, throttle: Int) -> Bool {
    accrue(now: now, throttle: throttle)
    lastAnswer = now
    lastCompletion = now
    inFlight -= 1
    return inFlight == 0
  }

  // MARK: Reserve

  /// The pages of the reserve that the device may have more, while all others are waited for since a moment.
  mutating func roomInReserve(smallest: Int, now: UInt64, stuckSince: UInt64) -> Int {
    // Who has not answered since then may never do.
    guard inFlight == 0 || lastCompletion >= stuckSince else { return 0 }
    if inFlight > 0, now - lastAnswer > Self.patience { window = 0 }
    return max(window, smallest) - reserved
  }

  mutating func reserve(_ pages: Int) { reserved += pages }

  mutating func giveBack(_ pages: Int, most: Int) {
    reserved -= pages
    window = min(max(window, pages) * 2, most)
  }
}
