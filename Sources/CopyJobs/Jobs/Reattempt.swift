internal import KCopy

/// An attempt after the first: the engine is given the destinations that lack something, the others stand as they stood.
struct Reattempt: Sendable {
  /// The number that each destination of the engine's copy has in the job.
  let indices: [Int]
  /// All destinations of the job, as the attempt finds them.
  let before: [DestinationProgress]
  /// Their maps, from the attempts before.
  let maps: [RangeMap]
  /// Destinations that lack something and could not be opened.
  let failures: [TransferError]

  /// What the engine need not do again.
  var startingMaps: [RangeMap] { indices.map { maps[$0] } }

  /// The progress of the job, with that of the engine's copy.
  func whole(_ part: CopyProgress) -> CopyProgress {
    var progress = part
    progress.destinations = before
    progress.writeErrors = 0
    for error in failures {
      guard let index = error.destination else { continue }
      progress.writeErrors |= 1 << UInt64(index)
      progress.destinations[index].state = .failed
      progress.destinations[index].error = error
    }
    for (place, index) in indices.enumerated() {
      if part.writeErrors >> UInt64(place) & 1 != 0 { progress.writeErrors |= 1 << UInt64(index) }
      progress.destinations[index] = part.destinations[place]
      progress.destinations[index].error = moved(part.destinations[place].error)
    }
    // Of those that are left all may have been done before.
    if !part.destinations.contains(where: { $0.state != .failed }), before.contains(where: { $0.state == .done }) {
      progress.bytesDone = maps.first?.bytesToCopy ?? 0
      progress.bytesDurable = progress.bytesDone
    }
    progress.firstError = failures.first ?? moved(part.firstError)
    if case .error(let error)? = part.pause, let error = moved(error) { progress.pause = .error(error) }
    return progress
  }

  /// The end of the attempt, for all of the job.
  func whole(_ part: KCopy.Notification) -> KCopy.Notification {
    var notification = part
    notification.progress = whole(part.progress)
    notification.maps = maps
    for (place, index) in indices.enumerated() where part.maps.indices.contains(place) { notification.maps[index] = part.maps[place] }
    for index in notification.progress.destinations.indices where !indices.contains(index) {
      if notification.progress.destinations[index].state != .done { notification.progress.destinations[index].state = .failed }
    }
    return notification
  }

  private func moved(_ error: TransferError?) -> TransferError? {
    guard var error else { return nil }
    error.destination = error.destination.map { indices[$0] }
    return error
  }
}
