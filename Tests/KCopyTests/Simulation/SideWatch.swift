/// What has been seen of one side of a copy: its source, or one destination.
///
/// Units are 512 bytes of the region, counted from its start.
struct SideWatch {
  static let unit: UInt64 = 512

  /// Of each unit, how many transfers that touched it failed; empty while none did.
  private(set) var failures: [UInt16] = []
  /// Units whose last transfer failed.
  private(set) var lastFailed: [Bool] = []
  /// Units that were transferred at least once.
  private(set) var moved: [Bool]
  /// Units that a transfer began for.
  private(set) var touched: [Bool]
  private(set) var errnos: Set<Int32> = []
  private(set) var inFlight = 0
  private(set) var begun = 0
  private(set) var bytesMoved: UInt64 = 0
  private(set) var firstBegunAt: UInt64?
  private(set) var lastBegunAt: UInt64?
  private(set) var lastMovedAt: UInt64?
  /// A transfer said that the device ends, or is gone: such errors aren't tried again.
  private(set) var sawEnd = false
  /// The offset behind the last transfer that began, for those in order.
  private(set) var front: UInt64 = 0

  init(count: UInt64) {
    let units = Int((count + Self.unit - 1) / Self.unit)
    moved = Array(repeating: false, count: units)
    touched = moved
  }

  var units: Int { moved.count }

  static func touchedUnits(_ start: UInt64, _ count: Int, of units: Int) -> Range<Int> {
    let low = min(Int(start / unit), units)
    return low..<max(low, min(Int((start + UInt64(count) + unit - 1) / unit), units))
  }

  mutating func begins(_ start: UInt64, _ count: Int, at now: UInt64) {
    inFlight += 1
    begun += 1
    if firstBegunAt == nil { firstBegunAt = now }
    lastBegunAt = now
    front = start + UInt64(count)
    for index in Self.touchedUnits(start, count, of: units) { touched[index] = true }
  }

  mutating func ends(_ start: UInt64, _ count: Int, _ result: Int64, isGone: Bool, isRefused: Bool, at now: UInt64) {
    inFlight -= 1
    guard !isRefused else { return }
    if result > 0 {
      bytesMoved += UInt64(result)
      lastMovedAt = now
      let whole = (Int((start + Self.unit - 1) / Self.unit), Int((start + UInt64(result)) / Self.unit))
      let end = start + UInt64(result) >= UInt64(units) * Self.unit - Self.unit + 1 ? units : min(whole.1, units)
      guard whole.0 < end else { return }
      for index in whole.0..<end {
        moved[index] = true
        if !lastFailed.isEmpty { lastFailed[index] = false }
      }
    } else {
      if result == 0 || isGone { sawEnd = true }
      errnos.insert(Int32(-result))
      if failures.isEmpty {
        failures = Array(repeating: 0, count: units)
        lastFailed = Array(repeating: false, count: units)
      }
      for index in Self.touchedUnits(start, count, of: units) {
        failures[index] &+= 1
        lastFailed[index] = true
      }
    }
  }

  var hasFailures: Bool { !failures.isEmpty }
  var mostFailures: Int { Int(failures.max() ?? 0) }
  func hasLastFailed(_ unit: Int) -> Bool { !lastFailed.isEmpty && unit < units && lastFailed[unit] }
  func failures(of unit: Int) -> Int { failures.isEmpty || unit >= units ? 0 : Int(failures[unit]) }
}
