import Glibc
import KCopy

/// What a simulated device is like.
struct DeviceSpec {
  /// How long it takes over a transfer.
  struct Pace {
    /// The time of each transfer by itself, in nanoseconds.
    var latency: ClosedRange<UInt64>
    /// What it needs for each KiB, one transfer after the other.
    var perKiB: UInt64

    static let fast = Pace(latency: 20 * Span.microsecond...200 * Span.microsecond, perKiB: 500)
    static let medium = Pace(latency: Span.millisecond...6 * Span.millisecond, perKiB: 4000)
    static let slow = Pace(latency: 15 * Span.millisecond...60 * Span.millisecond, perKiB: 40_000)
    static let verySlow = Pace(latency: 200 * Span.millisecond...1500 * Span.millisecond, perKiB: 1_000_000)
  }

  /// Blocks that can't be read or written.
  struct BlockFault {
    enum Kind: CaseIterable { case read, write, both }

    var kind = Kind.both
    /// On the device, in bytes.
    var range: Range<UInt64>
    var errno: Int32 = EIO
    /// How many more transfers that touch them fail; `nil`: all.
    var remaining: Int?

    func concerns(_ isRead: Bool) -> Bool { kind == .both || (kind == .read) == isRead }
  }

  /// A time in which nothing of a kind ends.
  struct Hang {
    enum Kind: CaseIterable { case reads, writes, flushes, all }

    var kind = Kind.all
    var from: UInt64
    /// `nil`: until nothing else is left to happen.
    var until: UInt64?
  }

  /// What it says when it is asked to zero by itself.
  enum Zeroing { case unknown, works, refuses, fails }

  var size: UInt64 = 0
  var logicalBlock = 512
  var errorBlock = 512
  var isFile = false
  var isZoned = false
  var zeroing = Zeroing.unknown
  /// Ranges that are zeroes at the beginning, ascending, and whether it tells of them as holes.
  var blanks: [Range<UInt64>] = []
  var tellsHoles = false
  var pace = Pace.fast
  var flushLatency: ClosedRange<UInt64> = 100 * Span.microsecond...2 * Span.millisecond
  var faults: [BlockFault] = []
  /// Of a transfer that meets a bad block, what is before it is moved; else nothing is.
  var movesUpToFault = false
  /// One transfer of so many is short; 0: none.
  var shortOneIn = 0
  /// The flushes that fail, by their number from 0.
  var failingFlushes = 0..<0
  var flushErrno: Int32 = EIO
  /// A flush that fails loses all that the cache holds, also what came after it had begun or is on its way.
  var losesAllByFlush = false
  var hangs: [Hang] = []
  var shrinks: (at: UInt64, to: UInt64)?
  var goneAt: UInt64?
  var goneErrno: Int32 = ENODEV
  /// Where in the common pattern its first bytes come from.
  var patternOffset = 0

  /// The unit of short transfers.
  var transferUnit: Int { isFile ? 1 : logicalBlock }

  /// Whether all that it ever says are errors of blocks that stay bad, and every one of these can be told from the others.
  var hasOnlyLastingFaults: Bool {
    faults.allSatisfy { $0.remaining == nil } && failingFlushes.isEmpty && shrinks == nil && goneAt == nil && !isZoned
      && zeroing != .fails
  }

  /// Whether it never keeps anybody waiting nor fails anything.
  var isClean: Bool {
    faults.isEmpty && shortOneIn == 0 && failingFlushes.isEmpty && hangs.isEmpty && shrinks == nil && goneAt == nil && isPrompt
  }

  var isPrompt: Bool { pace.latency.upperBound <= Pace.fast.latency.upperBound }
}
