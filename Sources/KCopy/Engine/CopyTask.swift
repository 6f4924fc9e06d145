internal import CSystemShims

/// A copy as the engine holds it; the client's thread only.
final class CopyTask {
  let copy: Copy
  let request: CopyRequest
  let plan: CopyPlan
  /// The first byte of the region that no sub-job has taken.
  var next: UInt64 = 0
  var subJobsInFlight = 0
  var flushesInFlight = 0
  /// Bit i: destination i has not failed.
  var live: UInt64
  /// Bit i: destination i answered its flush with success.
  var flushed: UInt64 = 0
  var hasReadError = false
  var isCancelled = false
  /// The failed flushes of each destination's handle before its first write.
  private var flushFailures: [Int] = []
  /// Whether it waits for pages or its turn.
  var isRunnable = false

  init(_ copy: Copy, _ request: CopyRequest) {
    self.copy = copy
    self.request = request
    plan = CopyPlan(request)
    let destinations = request.destinations.count
    live = destinations == 64 ? .max : (1 << UInt64(destinations)) - 1
  }

  var source: Region { request.source ?? request.destinations[0] }

  /// Whether no sub-job starts any more.
  var isStopped: Bool { isCancelled || hasReadError || live == 0 || next == plan.count }

  func isLive(_ destination: Int) -> Bool { live & 1 << UInt64(destination) != 0 }

  /// What a write of a piece to a destination covers: all of it, and where the region ends inside a logical block of the
  /// destination, the rest of that block too.
  func writeCount(_ destination: Int, offset: UInt64, count: Int) -> Int {
    guard offset + UInt64(count) == plan.count else { return count }
    let region = request.destinations[destination]
    let block = region.device.logicalBlock
    return (count + block - 1) / block * block
  }

  /// Takes down that the first sub-job starts.
  func begin() {
    let now = kcs_realtime()
    flushFailures = request.destinations.map(\.device.flushFailures)
    copy.publish { progress in
      progress.phase = .copy
      progress.startedAt = now
      for destination in progress.destinations.indices { progress.destinations[destination].state = .running }
    }
  }

  /// Whether a flush of the destination's handle failed since its first write, another copy's included.
  func missedFlush(_ destination: Int) -> Bool {
    request.destinations[destination].device.flushFailures != flushFailures[destination]
  }

  /// Takes down the failure of one destination: the others go on without it.
  func fail(_ destination: Int, _ error: TransferError) {
    live &= ~(1 << UInt64(destination))
    copy.publish { progress in
      progress.writeErrors |= 1 << UInt64(destination)
      progress.firstError = progress.firstError ?? error
      progress.destinations[destination].error = progress.destinations[destination].error ?? error
      progress.destinations[destination].state = .failed
    }
  }

  /// Takes down that the source cannot be read: the copy ends.
  func failReading(_ error: TransferError) {
    hasReadError = true
    copy.publish { progress in
      progress.readError = true
      progress.firstError = progress.firstError ?? error
    }
  }

  /// The last snapshot: every destination is in its final state.
  func conclude() {
    let (count, isCancelled, hasReadError, flushed) = (plan.count, isCancelled, hasReadError, flushed)
    let flushes = request.options.flushes
    copy.publish { progress in
      progress.phase = .none
      for index in progress.destinations.indices where progress.destinations[index].error == nil {
        let isComplete = progress.destinations[index].bytesDone == count && (!flushes || flushed & 1 << UInt64(index) != 0)
        progress.destinations[index].state =
          if isComplete { .done } else if isCancelled { .cancelled } else { .failed }
      }
    }
    assert(isCancelled || hasReadError || live == 0 || next == count, "a copy that ended before its end")
  }
}
