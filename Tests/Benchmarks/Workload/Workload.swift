internal import KCopy
internal import Locking

/// Copies of one size that are given to a client, so many in flight at once: a notification gives the next one.
final class Workload: Sendable {
  enum Pattern: String, CaseIterable, Sendable { case sequential, random }
  enum Operation: String, CaseIterable, Sendable { case copy, zero }
  enum Sync: String, CaseIterable, Sendable { case none, end, each }

  /// What keeps a workload from being run, or from ending.
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// A notification has to come within so many seconds of the one before.
  private static let patience: UInt64 = 60

  private let client: Client
  private let source: Device?
  private let destinations: [Device]
  private let jobSize: Int
  private let jobs: Int
  private let depth: Int
  private let sync: Sync
  private let places: Places
  private let tally: Locked<Tally>
  /// Signalled when the last job is over, or the last in flight after one that failed.
  private let isOver = Semaphore()

  /// Makes the client; its pages are there before anything is measured.
  ///
  /// - Parameter source: `nil`: the destinations are zeroed.
  /// - Throws: what `Client` throws.
  init(
    source: Device?, destinations: [Device], jobSize: Int, jobs: Int, depth: Int, pattern: Pattern, sync: Sync,
    configuration: Client.Configuration
  ) throws(DeviceError) {
    client = try Client(configuration)
    self.source = source
    self.destinations = destinations
    self.jobSize = jobSize
    self.jobs = jobs
    self.depth = depth
    self.sync = sync
    let smallest = (destinations + (source.map { [$0] } ?? [])).map(\.size).min() ?? 0
    places = Places(fitting: smallest / UInt64(jobSize), pattern: pattern)
    tally = Locked(Tally(jobs: jobs, holdsLastBack: sync == .end))
  }

  /// Runs the workload once, and destroys the client.
  ///
  /// - Throws: `Failure` when the devices are too small for `depth` jobs side by side, or notifications stay out; jobs that
  ///   fail are in the result.
  func run() throws(Failure) -> Result {
    // Two writes of one place in flight at once would be a race of the workload's own making.
    guard depth <= places.count else {
      throw Failure(description: "\(places.count) jobs of \(jobSize) bytes fit the smallest device; \(depth) are to be in flight")
    }
    let before = Usage.now
    for _ in 0..<min(depth, jobs) { giveNext() }
    try awaitEnd()
    let used = Usage.now - before
    client.destroy()
    for device in destinations + (source.map { [$0] } ?? []) { device.closeNow() }
    // After `destroy`, as a notification that came twice would be in by then.
    return tally.withLock { tally in
      Result(
        used: used, bytes: tally.notifications * jobSize, jobs: jobs, notifications: tally.notifications, errors: tally.errors,
        transport: client.transport, trouble: tally.trouble)
    }
  }

  private func awaitEnd() throws(Failure) {
    var seen = -1
    while !isOver.wait(until: Usage.monotonicNanoseconds + Self.patience * 1_000_000_000) {
      let notifications = tally.withLock { $0.notifications }
      guard notifications > seen else {
        throw Failure(description: "no notification for \(Self.patience) s; \(notifications) of \(jobs) jobs were notified")
      }
      seen = notifications
    }
  }

  /// Gives the client the next job, if there is one and it's time.
  private func giveNext() {
    guard let number = tally.withLock({ $0.next() }) else { return }
    do throws(DeviceError) {
      try give(number)
    } catch {
      if tally.withLock({ $0.refused(number, error) }) { isOver.signal() }
    }
  }

  private func give(_ number: Int) throws(DeviceError) {
    var options = CopyOptions()
    // One flush at the end covers the writes of all jobs on a device: so fio's end_fsync has it.
    options.flushes = sync == .each || sync == .end && number == jobs - 1
    let start = UInt64(places.ascending(number) * jobSize)
    let regions = destinations.map { Region($0, start: start, count: UInt64(jobSize)) }
    if let source {
      let from = Region(source, start: UInt64(places.place(number) * jobSize), count: UInt64(jobSize))
      try client.copy(from: from, to: regions, options: options) { self.notified(number, $0) }
    } else {
      try client.zero(regions, options: options) { self.notified(number, $0) }
    }
  }

  private func notified(_ number: Int, _ notification: Notification) {
    if tally.withLock({ $0.notified(number, notification) }) {
      isOver.signal()
    } else {
      giveNext()
    }
  }
}
