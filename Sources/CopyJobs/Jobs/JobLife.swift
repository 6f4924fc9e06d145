internal import CSystemShims
internal import Glibc
internal import KCopy
internal import Synchronization

/// What changes of a job, in the hands of whoever has its lock.
struct JobLife {
  struct Observer: Sendable {
    /// Told of each change, and not of the end alone.
    var isLasting: Bool
    var body: @Sendable (Job.Event) -> Void
  }

  var permissions: UInt32
  var plan: Job.Plan
  /// The first is 1.
  var attempt: UInt64 = 1
  /// Whoever decides what becomes of it while its paths are being opened; `nil` when they are.
  var arrival: Arrival?
  /// What it comes after, until it is done.
  var predecessors: Predecessors?
  /// It waits for those, with all that it needs.
  var waiting: Waiting?
  /// It waits for `resume`, with nothing open.
  var parked: Parked?
  var work: (any Work)?
  /// What `ctl` asked for before there was work to ask.
  var early: [JobCommand] = []
  /// What `ctl` asked for in this attempt, as a restart has to know it.
  var settings = ControlSettings()
  /// `ctl` asked for a pause, and not for its end since.
  var isPauseRequested = false
  /// Resumes that the work has not taken yet: the pause for an error that it still shows is over.
  var resumes = 0
  var isCancelRequested = false
  /// The progress to show while there is no work: the last one, or with what the next attempt begins.
  var last: CopyProgress?
  /// Bytes that were done when the attempt began, or went on after a restart.
  var doneBefore: UInt64 = 0
  /// The last maps, of a job that is not done.
  var maps: [RangeMap] = []
  var state: JobState?
  /// How the attempt ended, until that is durable and `state` can say so.
  var ending: JobState?
  /// The errno with which the attempt's admission ended; 0 when it went well.
  var refusal: Int32 = 0
  var finishedAt: UInt64 = 0
  var warnings: JobWarnings = []
  /// Its source, a regular file, as it was when the first of what counts was read.
  var sourceVersion: FileVersion?
  var isRemoved = false
  /// It is left to the next daemon.
  var isLeft = false
  /// The state that everybody was told of.
  var shown = JobState.queued
  var changeCount: UInt64 = 0
  var observers: [UInt64: Observer] = [:]
  private var lastObserver: UInt64 = 0

  init(_ plan: Job.Plan, permissions: UInt32) {
    self.plan = plan
    self.permissions = permissions
  }

  // MARK: Reading

  var progress: CopyProgress {
    work?.progress ?? last ?? CopyProgress(destinations: plan.destinations.map { _ in DestinationProgress() })
  }

  /// Why it is paused, if what its work says of itself is this.
  func pause(_ progress: CopyProgress) -> JobPause? {
    if state != nil || ending != nil || isCancelRequested { return nil }
    if let parked { return parked.reason }
    if case .error? = progress.pause, resumes == 0 { return JobPause(progress.pause) }
    return isPauseRequested ? .user : nil
  }

  func current(_ progress: CopyProgress) -> JobState {
    if let state { return state }
    // What has ended is what it was until its end is durable.
    if ending != nil { return shown == .queued ? .queued : .running }
    if pause(progress) != nil { return .paused }
    // Whoever cancels what was paused doesn't put it into the queue again.
    if isCancelRequested, shown != .queued { return .running }
    return progress.startedAt == 0 ? .queued : .running
  }

  func snapshot() -> JobSnapshot {
    let progress = progress
    let (state, pause) = (current(progress), pause(progress))
    let started = progress.startedAt
    let end = finishedAt != 0 ? finishedAt : kcs_realtime()
    let elapsed = started == 0 || end <= started ? 0 : end - started
    let copied = progress.bytesDone - min(doneBefore, progress.bytesDone)
    let rate = elapsed == 0 ? 0 : UInt64(min(Double(copied) * 1e9 / Double(elapsed), 1e18))
    let remaining = plan.bytesTotal - min(progress.bytesDone, plan.bytesTotal)
    return JobSnapshot(
      state: state, plan: plan, attempt: attempt, progress: progress, pause: pause, phase: phase(state, pause, progress),
      refusal: refusal, warnings: progress.isVerifiedInCache ? warnings.union(.verifiedInCache) : warnings, startedAt: started,
      finishedAt: finishedAt, rate: rate,
      eta: state == .running && rate > 0 ? remaining / rate : nil)
  }

  private func phase(_ state: JobState, _ pause: JobPause?, _ progress: CopyProgress) -> JobPhase {
    if ending != nil { return .journal }
    if state.isFinal || pause != nil { return .none }
    if isCancelRequested { return .cancelling }
    if arrival != nil { return .admission }
    return switch progress.phase {
    case .none: .none
    case .copy: .copy
    case .flush: .flush
    case .verify: .verify
    case .cancelling: .cancelling
    }
  }

  func map(of destination: Int) -> RangeMap {
    if let work { return work.map(of: destination) }
    if maps.indices.contains(destination) { return maps[destination] }
    // A job that is done has all of it, one that never began nothing.
    guard (state ?? ending) == .done, let last else { return plan.map() }
    let isDurable = last.destinations[destination].bytesDurable == plan.bytesTotal
    return plan.map(isDurable ? .durable : .written)
  }

  // MARK: Following

  mutating func add(_ observer: Observer) -> UInt64 {
    lastObserver += 1
    observers[lastObserver] = observer
    return lastObserver
  }

  /// Who is to be told; those who are told once are struck off.
  mutating func observers(for event: Job.Event) -> [Observer] {
    guard !observers.isEmpty else { return [] }
    switch event {
    case .changed: return observers.values.filter(\.isLasting)
    case .final:
      let all = Array(observers.values)
      observers = observers.filter(\.value.isLasting)
      return all
    case .removed, .shutdown:
      defer { observers = [:] }
      return Array(observers.values)
    }
  }
}

/// The right to decide what becomes of a job whose paths are being opened: admission's, its deadline's, or a cancel's.
final class Arrival: Sendable {
  private let isTaken = Atomic(false)
  private let cancelled = Atomic(false)
  private let started = Atomic(false)
  /// To be called when the job ends without having begun, and that can be seen.
  let left: @Sendable () -> Void

  init(left: @escaping @Sendable () -> Void) { self.left = left }

  /// True for one only.
  func claim() -> Bool { !isTaken.exchange(true, ordering: .acquiringAndReleasing) }

  /// A cancel: nothing more is opened, and when nothing is open any more, whoever opens ends the job.
  func cancel() { cancelled.store(true, ordering: .sequentiallyConsistent) }

  var isCancelled: Bool { cancelled.load(ordering: .sequentiallyConsistent) }

  /// Somebody has begun to open, and will come to an end with it, however late.
  func start() { started.store(true, ordering: .sequentiallyConsistent) }

  var hasStarted: Bool { started.load(ordering: .sequentiallyConsistent) }

  var isAwaited: Bool { !isTaken.load(ordering: .acquiring) && !isCancelled }
}
