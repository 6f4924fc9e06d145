internal import CSystemShims
internal import Synchronization

/// A copy as the engine holds it; the client's thread only.
final class CopyTask {
  let copy: Copy
  let request: CopyRequest
  let plan: CopyPlan
  /// Its turn among what the client was given.
  let serial: UInt64
  /// Ascending writes, because they were asked for or because a destination is zoned.
  let isSequential: Bool
  var priority: Int
  let share: UInt64
  var rate: UInt64?
  /// When the rate lets the next sub-job start.
  var rateOpens: UInt64 = 0

  /// Bit i: it has still to be tried whether destination i can share the source's blocks.
  var mayClone: UInt64
  /// Until when the others wait for that.
  var triesUntil: UInt64 = 0
  /// Where the source has holes, as far as that matters.
  var layout: Layout
  var streams: [Stream]
  var sides: [DestinationSide]
  /// The places of its devices among the client's loads: the source's first, where there is one.
  var loads: [Int] = []

  /// Where its source is hashed.
  var hashing: Hashing?
  /// What of its source could not be read so far, where that doesn't end it.
  var salvage: Salvage
  /// Whether what can't be read is set aside, and tried again behind all else.
  let salvages: Bool
  /// Of what was written, where it is to be verified.
  var checksums = WrittenChecksums()

  /// Its sub-jobs in flight.
  var subJobs: [Int] = []
  var flushesInFlight = 0
  /// Bit i: destination i has not failed.
  var live: UInt64
  /// Bit i: destination i is at its end, flushed if that was asked for.
  var finished: UInt64 = 0
  var hasStarted = false
  var isCancelled = false
  /// It was asked to stop for a later copy to go on.
  var isSuspended = false
  /// An error that ends the copy was found.
  var isHalted = false
  var pause: PauseReason?
  /// How often it went on after a pause.
  var resumes = 0
  /// When the first sub-job began, on the monotonic clock; known where checkpoints are taken.
  var begunAt: UInt64 = 0
  /// When a destination is to be flushed in the middle of the copy, as far as that is planned.
  var checkpointAt = UInt64.max
  /// Whether the counters have to be found by looking at the maps: somebody failed, was left behind or begins again.
  var isUneven = false

  /// Whether it waits for pages or its turn.
  var isQueued = false
  /// When it is to be looked at again, if nothing happens before; `nil`: it isn't kept for that.
  var heldUntil: UInt64?

  init(_ copy: Copy, _ request: CopyRequest, serial: UInt64) {
    self.copy = copy
    self.request = request
    self.serial = serial
    plan = CopyPlan(request)
    mayClone = request.clonable
    let isFile = request.source?.device.isBlockDevice == false
    layout = Layout(plan, isKnown: !request.options.keepsHoles || !isFile)
    isSequential = request.options.order == .sequential || request.destinations.contains { $0.device.isZoned }
    salvage = Salvage(count: plan.count, head: plan.head, retries: request.options.retries)
    // What has to be read in its order is tried at once.
    salvages = request.options.errors == .ignore && request.source != nil && !isSequential && !request.options.hashes
    priority = request.options.priority
    share = request.options.share
    rate = request.options.rate
    pause = request.options.startsPaused ? .user : nil
    let count = request.destinations.count
    live = count == 64 ? .max : .only(count) - 1
    streams = [Stream(mask: live, cursor: 0, end: plan.count, isFresh: request.maps.isEmpty)]
    sides = Array(repeating: DestinationSide(), count: count)
    if request.options.hashes, request.source != nil {
      hashing = Hashing(stream: streams.count)
      streams.append(Stream(mask: 0, cursor: 0, end: plan.count, isFresh: false, isHashing: true))
    }
    isUneven = !request.maps.isEmpty
    beginHashing()
  }

  var index: Int { copy.task.load(ordering: .relaxed) }

  /// Whether no sub-job starts any more, whatever happens.
  var isStopped: Bool { isEnding || isHalted || live == 0 }

  /// Whether what is in flight is followed by nothing: no rest of it, no other try, and no write of what was read.
  var isEnding: Bool { isCancelled || isSuspended }

  /// Whether it ends for a later copy to go on.
  var endsSuspended: Bool { isSuspended && !isCancelled && (live & ~finished != 0 || live != 0 && !isHashed) }

  var isPausedByError: Bool { if case .error = pause { true } else { false } }

  /// What a write of a piece to a destination covers: all of it, and where the region ends inside a logical block of the
  /// destination, the rest of that block too.
  func writeCount(_ destination: Int, offset: UInt64, count: Int) -> Int {
    guard offset + UInt64(count) == plan.count else { return count }
    let block = request.destinations[destination].device.logicalBlock
    return (count + block - 1) / block * block
  }

  /// The most that a write of the piece covers.
  func widest(_ destinations: UInt64, offset: UInt64, count: Int) -> Int {
    var widest = count
    destinations.forEachMember { widest = max(widest, writeCount($0, offset: offset, count: count)) }
    return widest
  }

  /// Whether a destination is asked to make zeroes by itself.
  func zeroesByItself(_ destination: Int) -> Bool {
    !sides[destination].writesZeroes && request.destinations[destination].device.zeroes
  }

  /// Whether a stream that isn't spent has something for the destination.
  func isStreaming(_ destination: Int) -> Bool {
    if !salvage.areas.isEmpty, copy.publish({ $0.maps[destination].next(.missing, from: 0) != nil }) { return true }
    return streams.contains { stream in
      guard stream.mask.has(destination), !stream.isSpent, !stream.isSalvaging else { return false }
      if stream.isFresh { return true }
      if stream.isVerifying { return sides[destination].unverified?.next(.missing, from: stream.cursor) != nil }
      // Of those that share what their maps lack, one can have all before the others.
      guard let lacking = copy.publish({ $0.maps[destination].next(.missing, from: stream.cursor) }) else { return false }
      return lacking.start < stream.end
    }
  }

  /// Takes a destination out of the streams that go by its map.
  func unstreamRepairs(_ destination: Int) {
    for index in streams.indices where !streams[index].isFresh { streams[index].mask &= ~UInt64.only(destination) }
  }

  /// Adds a stream, in the place of one that is over.
  ///
  /// - Returns: its place.
  @discardableResult
  func add(_ stream: Stream) -> Int {
    if let free = streams.firstIndex(where: { $0.mask == 0 && $0.inFlight == 0 && !$0.isHashing }) {
      streams[free] = stream
      return free
    }
    streams.append(stream)
    return streams.count - 1
  }

  /// Takes a destination out of all streams.
  func unstream(_ destination: Int) {
    for index in streams.indices { streams[index].mask &= ~UInt64.only(destination) }
  }

  /// Whether a write of a sub-job to a destination is in flight.
  func isWriting(_ number: Int, _ subJob: SubJob, _ destination: Int) -> Bool {
    guard subJob.waiting.has(destination), !subJob.isReading, subJob.readBack == nil else { return false }
    // Of those that wait in line only the first has begun.
    return !isSequential || sides[destination].isWriting && sides[destination].line.first == number
  }

  /// Takes down that the first sub-job starts.
  func begin() {
    hasStarted = true
    let now = kcs_realtime()
    for destination in sides.indices { noteFlushes(destination) }
    copy.publish { published in
      published.progress.phase = .copy
      published.progress.startedAt = now
      // Who has everything from an earlier attempt can be at its end by then.
      for destination in published.progress.destinations.indices where published.progress.destinations[destination].state == .queued {
        published.progress.destinations[destination].state = .running
      }
    }
  }

  /// Remembers the failed flushes of a destination's handle before what is written now.
  func noteFlushes(_ destination: Int) {
    sides[destination].flushFailures = request.destinations[destination].device.flushFailures
  }

  /// Whether a flush of the destination's handle failed since then, another copy's included.
  func missedFlush(_ destination: Int) -> Bool {
    request.destinations[destination].device.flushFailures != sides[destination].flushFailures
  }
}

/// One destination of a copy, as the engine holds it.
struct DestinationSide {
  /// Sub-jobs that it has not come to an end with.
  var carried = 0
  var isFlushing = false
  /// What the flush in flight makes durable; `nil`: all that is written, for nothing else is under way.
  var covered: [Range<UInt64>]?
  /// When that flush was submitted.
  var flushBegan: UInt64 = 0
  /// When it is to be flushed in the middle of the copy.
  var checkpointAt = UInt64.max
  /// There was nothing to flush at its last time: it isn't looked at again before something is written.
  var awaitsWrite = false
  /// Times that it was flushed in vain.
  var lostFlushes = 0
  var flushFailures = 0
  /// With ascending writes: its sub-jobs in order, the first of which may be written.
  var line: [Int] = []
  /// The first in line is being written.
  var isWriting = false
  /// What is still to be read back and compared, as `missing`; `nil` until it has all that it is to get.
  var unverified: RangeMap?
  /// Its device has failed to zero by itself, for this copy.
  var writesZeroes = false
}
