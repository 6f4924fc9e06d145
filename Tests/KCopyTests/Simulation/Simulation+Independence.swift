@testable import KCopy

extension Simulation {
  /// Nothing happens any more until a device that hangs is let go: all that doesn't need it must be done.
  ///
  /// With few pages those that hang may have them all; here there are enough for everybody's sub-jobs at once.
  func judgeIndependence(_ unfinished: [CopyWatch], _ holding: [SimulatedDevice]) {
    let pagesOfAll = watches.count * configuration.slots * configuration.subjob / 4096
    let isReshaped = scenario.script.contains { if case .reshape = $0.action { true } else { false } }
    // A throttle lets no read start while one of the devices is busy, and one that hangs is.
    guard configuration.pages >= max(64, 4 * pagesOfAll), scenario.capacity >= 1024, !isReshaped, configuration.throttle == 100 else {
      return
    }
    for watch in unfinished {
      guard let copy = watch.copy, watch.cancelPostedAt == nil, watch.suspendPostedAt == nil, copy.progress.pause == nil,
        watch.spec.options.errors != .stop
      else {
        continue
      }
      if copy.progress.readError && watch.spec.options.errors != .ignore { continue }
      if let source = watch.sourceDevice, holding.contains(where: { $0 === source }) { continue }
      for destination in watch.destinations.indices where !holding.contains(where: { $0 === watch.device(destination) }) {
        let isDead = copy.progress.writeErrors & .only(destination) != 0
        let missing = copy.map(of: destination).bytes(.missing)
        if missing > 0, !isDead {
          world.complain(
            "copy \(watch.index): destination \(destination) waits with \(missing) bytes to go for a device that it doesn't need")
        }
      }
    }
  }
}
