internal import KCopy

/// What was given and what was notified: every job once, and no more after one that failed.
struct Tally {
  private let jobs: Int
  /// The last job is given when all others are notified.
  private let holdsLastBack: Bool
  private var given = 0
  private var isNotified: [Bool]
  private(set) var notifications = 0
  private(set) var errors = 0
  /// The first thing that went wrong.
  private(set) var trouble: String?

  init(jobs: Int, holdsLastBack: Bool) {
    self.jobs = jobs
    self.holdsLastBack = holdsLastBack
    isNotified = Array(repeating: false, count: jobs)
  }

  /// The number of the job to give now, from 0.
  mutating func next() -> Int? {
    guard trouble == nil, given < jobs else { return nil }
    if holdsLastBack, given == jobs - 1, notifications < given { return nil }
    given += 1
    return given - 1
  }

  /// Counts a job that the client didn't take; returns whether nothing is in flight now.
  mutating func refused(_ number: Int, _ error: DeviceError) -> Bool {
    given -= 1
    note("job \(number) was refused: \(error.call): \(ErrnoName.of(error.errno))")
    return isOver
  }

  /// Counts a notification; returns whether it was the last.
  mutating func notified(_ number: Int, _ notification: Notification) -> Bool {
    notifications += 1
    if isNotified[number] { note("job \(number) was notified twice") }
    isNotified[number] = true
    if let error = notification.progress.firstError {
      note("job \(number): \(error.step.rawValue) at \(error.offset)+\(error.length): \(ErrnoName.of(error.errno))")
    } else if !notification.isComplete {
      note("job \(number) is not complete")
    }
    return isOver
  }

  private var isOver: Bool { notifications == given && (given == jobs || trouble != nil) }

  private mutating func note(_ text: String) {
    errors += 1
    trouble = trouble ?? text
  }
}
