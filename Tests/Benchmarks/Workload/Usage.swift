internal import Glibc

/// Time and CPU of the process so far, or between two moments, in seconds.
struct Usage {
  var seconds: Double
  var user: Double
  var system: Double

  /// All threads, those included that the kernel runs for the process.
  static var now: Usage {
    var usage = rusage()
    let result = unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    precondition(result == 0, "getrusage of the process itself")
    return Usage(seconds: Double(monotonicNanoseconds) / 1e9, user: seconds(usage.ru_utime), system: seconds(usage.ru_stime))
  }

  /// The monotonic clock.
  static var monotonicNanoseconds: UInt64 {
    var time = timespec()
    let result = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    precondition(result == 0, "clock_gettime of the monotonic clock")
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  static func - (later: Usage, earlier: Usage) -> Usage {
    Usage(seconds: later.seconds - earlier.seconds, user: later.user - earlier.user, system: later.system - earlier.system)
  }

  private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
}
