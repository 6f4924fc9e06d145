import Glibc
import Locking

/// Says which seeds ran when the program dies of a trap: a precondition of the engine ends all tests at once.
enum CrashNote {
  private static let slots = 64

  private struct Table: @unchecked Sendable {
    // A word per seed, and a handler that only reads.
    let seeds: UnsafeMutablePointer<UInt64>
  }

  private static let table: Table = {
    let seeds = UnsafeMutablePointer<UInt64>.allocate(capacity: slots)
    seeds.initialize(repeating: 0, count: slots)
    for trap in [SIGILL, SIGTRAP, SIGSEGV, SIGFPE] { signal(trap, handler) }
    return Table(seeds: seeds)
  }()

  /// Writes by `write(2)` alone, as nothing else is allowed there, and dies of the same signal.
  private static let handler: @convention(c) (Int32) -> Void = { number in
    for slot in 0..<slots where table.seeds[slot] != 0 { write(2, seed: table.seeds[slot] - 1) }
    signal(number, SIG_DFL)
  }

  private static func write(_ descriptor: Int32, seed: UInt64) {
    let text: StaticString = "trapped while this seed ran: "
    _ = Glibc.write(descriptor, text.utf8Start, text.utf8CodeUnitCount)
    var (rest, divisor) = (seed, UInt64(1))
    while rest / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      var digit = UInt8(48 + rest / divisor)
      _ = Glibc.write(descriptor, &digit, 1)
      rest %= divisor
      divisor /= 10
    }
    var newline: UInt8 = 10
    _ = Glibc.write(descriptor, &newline, 1)
  }

  /// Held by those who note; the handler takes what it finds.
  private static let noting = Locked(())

  /// Notes that a seed runs; returns where, or `nil` when more run than there are words.
  static func begin(_ seed: UInt64) -> Int? {
    noting.withLock { _ in
      let free = (0..<slots).first { table.seeds[$0] == 0 }
      if let free { table.seeds[free] = seed + 1 }
      return free
    }
  }

  static func end(_ slot: Int?) {
    guard let slot else { return }
    noting.withLock { _ in table.seeds[slot] = 0 }
  }
}
