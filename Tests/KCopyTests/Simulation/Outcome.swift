@testable import KCopy

/// What a simulation came to, for those who look at it from another thread.
struct Outcome: Sendable {
  /// What became of one side of a copy; times are nanoseconds from the beginning of the world.
  struct Side: Sendable {
    /// Transfers that began.
    var transfers: Int
    var bytes: UInt64
    var firstBegunAt: UInt64
    var lastBegunAt: UInt64
    var lastMovedAt: UInt64
    /// How often the transfers failed that touched the unit that failed most.
    var mostFailures: Int

    init(_ side: SideWatch) {
      transfers = side.begun
      bytes = side.bytesMoved
      firstBegunAt = (side.firstBegunAt ?? SimulatedWorld.start) - SimulatedWorld.start
      lastBegunAt = (side.lastBegunAt ?? SimulatedWorld.start) - SimulatedWorld.start
      lastMovedAt = (side.lastMovedAt ?? SimulatedWorld.start) - SimulatedWorld.start
      mostFailures = side.mostFailures
    }
  }

  struct CopyOutcome: Sendable {
    var notification: KCopy.Notification
    var notifiedAt: UInt64
    var checkpoints: [CopyWatch.Checkpoint]
    /// Whether it went on where another copy had been suspended.
    var isResumed: Bool
    var source: Side
    var destinations: [Side]
    /// What was read back of them.
    var readBacks: [Side]

    var progress: CopyProgress { notification.progress }
  }

  struct DeviceOutcome: Sendable {
    /// The time with a transfer in flight.
    var busy: UInt64
    /// The results of its flushes.
    var flushes: [Int32]
    /// When they began, in nanoseconds from the beginning of the world.
    var flushTimes: [UInt64]
    /// How often it was asked to zero by itself.
    var zeroings: Int
  }

  var complaints: [String]
  /// Those that were notified.
  var copies: [CopyOutcome] = []
  var devices: [DeviceOutcome] = []
  var pagesPeak = 0
  /// Drains and prepared notifications, as "drain 0", and copies, as "copy 0", in the order they came.
  var order: [String] = []

  init(complaint: String) { complaints = [complaint] }

  init(of simulation: Simulation) {
    complaints = simulation.world.complaints
    order = simulation.order
    pagesPeak = simulation.pagesPeak
    devices = simulation.devices.map {
      DeviceOutcome(
        busy: $0.busy, flushes: $0.flushes.map(\.result), flushTimes: $0.flushes.map { $0.begun - SimulatedWorld.start },
        zeroings: $0.zeroings)
    }
    for watch in simulation.watches {
      guard let notification = watch.notifications.first else { continue }
      copies.append(
        CopyOutcome(
          notification: notification, notifiedAt: watch.notifiedAt - SimulatedWorld.start, checkpoints: watch.checkpoints,
          isResumed: watch.spec.resumes != nil,
          source: Side(watch.source),
          destinations: watch.destinations.map(Side.init), readBacks: watch.readBacks.map(Side.init)))
    }
  }
}
