import FaultKit

/// The clock, the chances and the conscience of one simulation: nothing in it waits, and all that happens follows from a seed.
final class SimulatedWorld: @unchecked Sendable {
  /// When every simulation begins.
  static let start: UInt64 = 1_000_000_000

  let seed: UInt64
  let isLogging: Bool
  /// The virtual monotonic clock, in nanoseconds.
  private(set) var now = start
  var random: SeededGenerator
  /// What was found to be wrong.
  private(set) var complaints: [String] = []
  /// Called when nothing is going to happen any more; returns whether it saw to it that something does.
  var whenIdle: () -> Bool = { false }
  /// Leaves the simulation for good, as the engine would never return.
  var giveUp: () -> Never = { fatalError("a simulation without a way out") }

  private static let patience = 1000
  private static let mostEvents = 300_000

  private var events = EventHeap()
  private var idleTurns = 0
  private var happened = 0

  init(seed: UInt64, isLogging: Bool = false) {
    self.seed = seed
    self.isLogging = isLogging
    random = SeededGenerator(seed: seed ^ 0x51_3a7e)
  }

  func at(_ time: UInt64, _ happen: @escaping () -> Void) { events.insert(at: max(time, now), happen) }
  func after(_ delay: UInt64, _ happen: @escaping () -> Void) { events.insert(at: now + delay, happen) }

  /// Drops what would still happen: it holds what it would happen to.
  func end() { events = EventHeap() }

  /// Moves the clock until something has happened that `isDone` asks for, at most to a deadline.
  func run(until deadline: UInt64?, _ isDone: () -> Bool) {
    // A real clock never stands still: an engine that asks again and again gets somewhere.
    now += Span.microsecond
    while !isDone() {
      if let next = events.nextTime, next <= deadline ?? .max {
        now = max(now, next)
        let happen = events.removeFirst()
        happen()
        happened += 1
        if happened > Self.mostEvents { stop("a world without end: the same again and again") }
        idleTurns = 0
      } else if let deadline {
        if deadline > now { log("looks again in \(deadline - now) ns") }
        idleTurns += events.nextTime == nil ? 1 : 0
        // It may look again and again while a device doesn't answer, but somebody has to end that.
        if idleTurns > Self.patience, !whenIdle() { stop("asks for deadlines for ever, and nothing happens") }
        now = max(now, deadline)
        return
      } else if !whenIdle() {
        stop("hung: nothing is in flight, no deadline is set, and something is unfinished")
      }
    }
    // What comes at the same moment comes at once, now and then.
    while let next = events.nextTime, next <= now, !random.happens(oneIn: 4) {
      let happen = events.removeFirst()
      happen()
    }
  }

  func complain(_ what: String) {
    log("WRONG: \(what)")
    // The first ones say it; a thousand of the same say no more.
    if complaints.count < 8 { complaints.append(what) }
  }

  /// Complains of what can't be gone on from.
  func stop(_ what: String) -> Never {
    complain(what)
    giveUp()
  }

  func log(_ text: @autoclosure () -> String) {
    guard isLogging else { return }
    let microseconds = (now - Self.start) / 1000
    print("\(microseconds / 1_000_000).\(String(microseconds % 1_000_000 + 1_000_000).dropFirst()) \(text())")
  }
}
