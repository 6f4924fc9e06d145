internal import Synchronization
internal import URing

/// What becomes of an attempt to start a sub-job.
enum Start {
  case done
  /// Nothing before something of the copy's own comes back.
  case nothing
  /// Nothing before a moment; `.max`: before a device is idle.
  case later(UInt64)
  /// No pages, or too many transfers.
  case noRoom
}

/// Who may start the next sub-job, and when.
extension Engine where Driver: ~Copyable {
  /// A first in line that finds no room for so long waits for a device that doesn't answer.
  private static var stuckPatience: UInt64 { 50_000_000 }
  /// A thread wakes a little late; so much of a rate can be caught up.
  private static var rateSlack: UInt64 { 20_000_000 }
  /// What a device zeroes by itself at a time: soon done, and few calls.
  private static var largestZeroing: Int { 64 << 20 }

  /// Transfers that only those get whose devices answer, when others have made all the rest wait.
  private static func reserve(of capacity: Int) -> Int { capacity < 256 ? 0 : capacity / 4 }

  /// Starts sub-jobs in turn, until no copy has one to start or there is no room.
  mutating func pump() {
    wakesAt = .max
    takeCheckpoints()
    releaseHeld()
    var isStuck = false
    turns: while let task = turns.first {
      switch start(task, fromReserve: false) {
      case .done:
        stuckSince = 0
        task.isQueued = task.streams.count != 1 || !task.streams[0].isSpent
        turns.passTurn(stays: task.isQueued)
      case .nothing:
        unqueue(task)
      case .later(let moment):
        unqueue(task)
        hold(task, until: moment)
      case .noRoom:
        // First in line waits for room, and everybody behind it: small copies don't starve large ones.
        isStuck = true
        break turns
      }
    }
    if isStuck {
      startStuck()
    } else if arenas.free > arenas.reserve {
      // That nobody waits at this moment doesn't mean that there is room.
      stuckSince = 0
    }
  }

  private mutating func unqueue(_ task: CopyTask) {
    turns.removeFirst()
    task.isQueued = false
  }

  private mutating func hold(_ task: CopyTask, until moment: UInt64) {
    if task.heldUntil == nil { held.append(task) }
    task.heldUntil = min(moment, task.heldUntil ?? .max)
    wakesAt = min(wakesAt, moment)
  }

  private mutating func releaseHeld() {
    guard !held.isEmpty else { return }
    var still: [CopyTask] = []
    for task in held {
      guard let moment = task.heldUntil else { continue }
      if moment <= now || deviceBecameIdle {
        task.heldUntil = nil
        queue(task)
      } else {
        wakesAt = min(wakesAt, moment)
        still.append(task)
      }
    }
    held = still
    deviceBecameIdle = false
  }

  /// All pages that may be had wait for somebody: those whose devices answer get some of the reserve.
  private mutating func startStuck() {
    if stuckSince == 0 { stuckSince = now }
    guard now - stuckSince >= Self.stuckPatience else {
      wakesAt = min(wakesAt, stuckSince + Self.stuckPatience)
      return
    }
    wakesAt = min(wakesAt, now + Self.stuckPatience)
    for task in turns.waiting where arenas.free > 0 {
      while case .done = start(task, fromReserve: true) {}
    }
  }

  // MARK: One copy

  private mutating func start(_ task: CopyTask, fromReserve: Bool) -> Start {
    guard !task.isStopped, task.pause == nil else { return .nothing }
    if let moment = tryCloning(task) { return .later(moment) }
    let opens = max(configuration.rate == nil ? 0 : rateOpens, task.rate == nil ? 0 : task.rateOpens)
    guard opens <= now else { return .later(opens) }
    var earliest = UInt64.max
    var waitsForDevice = false
    var hasNoRoom = false
    beginSalvageIfDue(task)
    for stream in task.streams.indices where !task.streams[stream].isSpent {
      let opens = opening(task, stream)
      guard opens <= now else {
        earliest = min(earliest, opens, lookForHoldUp(task, stream))
        waitsForDevice = true
        continue
      }
      if task.streams[stream].inFlight < configuration.slots {
        switch begin(task, stream, fromReserve: fromReserve) {
        case .done:
          task.streams[stream].holdUp.note([], slots: 1, now: now)
          return .done
        case .noRoom: hasNoRoom = true
        case .nothing: continue
        case .later(let moment): earliest = min(earliest, moment)
        }
      }
      earliest = min(earliest, lookForHoldUp(task, stream))
    }
    if earliest <= now { return start(task, fromReserve: fromReserve) }
    if hasNoRoom {
      wakesAt = min(wakesAt, earliest)
      return .noRoom
    }
    return earliest == .max && !waitsForDevice ? .nothing : .later(earliest)
  }

  /// When the devices of a stream let a read start.
  private mutating func opening(_ task: CopyTask, _ stream: Int) -> UInt64 {
    let throttle = configuration.throttle
    guard throttle < 100 else { return 0 }
    var opens: UInt64 = 0
    forEachLoad(task, task.streams[stream].mask) { opens = max(opens, $0.opening(throttle: throttle)) }
    return opens
  }

  /// Starts the next sub-job of a stream.
  private mutating func begin(_ task: CopyTask, _ stream: Int, fromReserve: Bool) -> Start {
    if task.streams[stream].isSalvaging { return beginStep(task, stream, fromReserve: fromReserve) }
    if task.streams[stream].isCloning { return task.streams[stream].isTrying ? .nothing : beginCloning(task, stream) }
    if task.streams[stream].isVerifying {
      guard hasRoom(for: 1, fromReserve: fromReserve) else { return .noRoom }
      return beginReadBack(task, stream, limit: limit(task, configuration.subjob), fromReserve: fromReserve)
    }
    if task.streams[stream].isHashing {
      guard hasRoom(for: 1, fromReserve: fromReserve) else { return .noRoom }
      return beginHashing(task, stream, limit: limit(task, configuration.subjob), fromReserve: fromReserve)
    }
    guard let (lacking, mask) = next(task, stream) else {
      // It was the last that a destination waited for, or that one needs another stream: look again.
      finishWhereComplete(task)
      return .later(now)
    }
    guard let (range, isZeroing) = cut(lacking, of: task), isZeroing || !task.waitsForDigest(range.lowerBound) else { return .nothing }
    var byDevices = isZeroing
    mask.forEachMember { if !task.zeroesByItself($0) { byDevices = false } }
    var limit = limit(task, byDevices ? max(Self.largestZeroing, configuration.subjob) : configuration.subjob)
    if task.salvages, !isZeroing {
      if task.salvage.isCareful, task.subJobs.contains(where: { subJobs[$0].isReading && subJobs[$0].stream == stream }) { return .nothing }
      limit = min(limit, task.salvage.longest(at: range.lowerBound))
    }
    guard hasRoom(for: mask.nonzeroBitCount, fromReserve: fromReserve) else { return .noRoom }
    var count = Int(min(UInt64(task.plan.piece(at: range.lowerBound, limit: limit)), range.upperBound - range.lowerBound))
    var run: PageRun?
    if !byDevices {
      guard fits(task, stream, at: range.lowerBound, count), mayHaveMore(task, stream, count) else { return .nothing }
      guard let taken = takePages(task, for: mask, at: range.lowerBound, piece: &count, fromReserve: fromReserve) else { return .noRoom }
      run = taken
    }
    let isFirst = beginIfFirst(task)
    var subJob = SubJob(
      task: task.index, stream: stream, offset: range.lowerBound, count: count, run: run, carried: mask, waiting: mask,
      isReading: !isZeroing, isBlank: isZeroing, isReserved: fromReserve, isLagging: task.streams[stream].isLagging,
      isRepair: !task.streams[stream].isFresh)
    claimForDigest(&subJob, task)
    let index = add(subJob, to: task)
    if task.isSequential { mask.forEachMember { task.sides[$0].line.append(index) } }
    if subJob.isLagging { laggingPages += run?.count ?? 0 }
    // What follows may be there already: then nobody has to wait for this stream any more.  A destination that lacks less than a
    // whole block may have been passed over with it.
    if subJob.isRepair, next(task, stream) == nil { finishWhereComplete(task) }
    // A hole is no work, whatever its length.
    if !isZeroing || task.request.source == nil { charge(task, count) }
    mergeIfCaughtUp(task, stream)
    if isZeroing {
      beginWrites(index, task)
    } else {
      read(index, from: 0)
    }
    // Who has had everything from an earlier attempt waits for no piece, and so for nobody.
    if isFirst, !task.request.maps.isEmpty { finishWhereComplete(task) }
    return .done
  }

  /// The longest piece that may be started, of those that are so long at most.
  private func limit(_ task: CopyTask, _ longest: Int) -> Int {
    guard let rate = task.rate.map({ min($0, configuration.rate ?? .max) }) ?? configuration.rate else { return longest }
    // A low rate in small steps.
    return min(longest, max(Int(min(rate / 8, UInt64(longest))) / task.plan.unit * task.plan.unit, task.plan.unit))
  }

  func hasRoom(for transfers: Int, fromReserve: Bool) -> Bool {
    reservedTransfers + transfers <= driver.capacity - (fromReserve ? 0 : Self.reserve(of: driver.capacity))
  }

  /// - Returns: whether it hadn't begun before.
  @discardableResult
  mutating func beginIfFirst(_ task: CopyTask) -> Bool {
    guard !task.hasStarted else { return false }
    task.begin()
    tellChange(of: task)
    planFirstCheckpoint(of: task)
    return true
  }

  /// Takes in a sub-job that its stream has cut off, and returns its number.
  mutating func add(_ subJob: SubJob, to task: CopyTask) -> Int {
    let index = freeSubJobs.popLast() ?? subJobs.count
    if index == subJobs.count { subJobs.append(subJob) } else { subJobs[index] = subJob }
    reservedTransfers += subJob.transfers
    task.subJobs.append(index)
    task.streams[subJob.stream].inFlight += 1
    task.streams[subJob.stream].cursor = subJob.range.upperBound
    subJob.carried.forEachMember { task.sides[$0].carried += 1 }
    return index
  }

  /// What a stream has to do next, and for which of its destinations; `nil`: nothing, and then it is spent.
  private func next(_ task: CopyTask, _ stream: Int) -> (range: Range<UInt64>, mask: UInt64)? {
    let (cursor, end, mask) = (task.streams[stream].cursor, task.streams[stream].end, task.streams[stream].mask)
    var place = cursor
    while task.streams[stream].isFresh, place < end {
      let (open, next) = task.salvage.areas.open(place..<end)
      if let open { return (open, mask) }
      place = next
    }
    while place < end, let (lacking, members) = task.copy.publish({ $0.nextLacking(mask, from: place) }), lacking.lowerBound < end {
      let (open, next) = task.salvage.areas.open(lacking)
      place = next
      guard let open else { continue }
      // Files lack what they lack to the byte, and disks are read and written by whole blocks.
      let block = UInt64(task.request.largestBlock)
      return (open.lowerBound / block * block..<min((open.upperBound + block - 1) / block * block, end), members)
    }
    task.streams[stream].cursor = end
    return nil
  }

  /// Whether the client has the pages for the smallest piece at all: one that was made smaller may not.
  func fits(_ task: CopyTask, _ stream: Int, at offset: UInt64, _ count: Int) -> Bool {
    let smallest = task.widest(task.streams[stream].mask, offset: offset, count: min(count, task.plan.unit))
    return smallest <= arenas.limit * PagePool.pageBytes
  }

  /// Those that were left behind have half of the pages together, and one sub-job each beyond that.
  private func mayHaveMore(_ task: CopyTask, _ stream: Int, _ count: Int) -> Bool {
    guard task.streams[stream].isLagging, task.streams[stream].inFlight > 0 else { return true }
    return laggingPages + count / PagePool.pageBytes <= arenas.limit / 2
  }

  /// Takes the pages for a piece, or for the part of it that there are pages for.
  ///
  /// - Parameter destinations: those that get it.
  mutating func takePages(
    _ task: CopyTask, for destinations: UInt64, at offset: UInt64, piece count: inout Int, fromReserve: Bool
  ) -> PageRun? {
    // Writes may fill up a logical block, which can be larger than a page.
    let widest = task.widest(destinations, offset: offset, count: count)
    var wanted = (widest + PagePool.pageBytes - 1) / PagePool.pageBytes
    if fromReserve {
      wanted = min(wanted, roomInReserve(task, destinations))
      guard wanted > 0 else { return nil }
    }
    guard let run = arenas.take(wanted, leaving: fromReserve ? 0 : arenas.reserve) else { return nil }
    let part = run.bytes >= widest ? count : task.plan.part(of: count, in: run)
    guard part > 0 else {
      giveBack(run)
      return nil
    }
    count = part
    if fromReserve { forEachLoad(task, destinations) { $0.reserve(run.count) } }
    notePages()
    return run
  }

  /// The pages of the reserve that all devices of a sub-job may have: one block at first, so that there is something left
  /// when many have shown that they don't come back, and twice as many with each answer.
  mutating func roomInReserve(_ task: CopyTask, _ destinations: UInt64) -> Int {
    let smallest = task.plan.unit / PagePool.pageBytes
    var room = max(arenas.reserve / 4, smallest)
    let (now, stuckSince) = (now, stuckSince)
    forEachLoad(task, destinations) {
      room = min(room, $0.roomInReserve(smallest: smallest, now: now, stuckSince: stuckSince))
    }
    return room
  }

  mutating func forEachLoad(_ task: CopyTask, _ destinations: UInt64, _ body: (inout DeviceLoad) -> Void) {
    func visit(_ index: Int) {
      guard var load = loads[index] else { return }
      body(&load)
      loads[index] = load
    }
    if task.request.source != nil { visit(load(of: nil, task)) }
    var rest = destinations
    while rest != 0 {
      visit(load(of: rest.trailingZeroBitCount, task))
      rest &= rest - 1
    }
  }

  mutating func charge(_ task: CopyTask, _ count: Int) {
    func advanced(_ opens: UInt64, _ rate: UInt64) -> UInt64 {
      max(opens, now > Self.rateSlack ? now - Self.rateSlack : 0) + UInt64(Double(count) / Double(rate) * 1e9)
    }
    if let rate = configuration.rate { rateOpens = advanced(rateOpens, rate) }
    if let rate = task.rate { task.rateOpens = advanced(task.rateOpens, rate) }
  }

  // MARK: Independent pace

  /// Lets go of the destinations that have made the others of a stream, which can't start anything, wait for too long.
  ///
  /// - Returns: when they will have; `.max` while nobody waits.
  private mutating func lookForHoldUp(_ task: CopyTask, _ stream: Int) -> UInt64 {
    let mask = task.streams[stream].mask
    guard mask.nonzeroBitCount > 1 else { return .max }
    waiting.removeAll(keepingCapacity: true)
    for _ in task.sides { waiting.append(0) }
    for number in task.subJobs where subJobs[number].stream == stream && subJobs[number].isInSlot {
      let missing = subJobs[number].waiting & mask
      guard !subJobs[number].isReading, missing != subJobs[number].carried & mask else { continue }
      var rest = missing
      while rest != 0 {
        waiting[rest.trailingZeroBitCount] += 1
        rest &= rest - 1
      }
    }
    task.streams[stream].holdUp.note(waiting, slots: max(task.streams[stream].inFlight, 1), now: now)
    let (guilty, next) = task.streams[stream].holdUp.judge(now: now)
    guard guilty & mask != 0, guilty & mask != mask else { return next }
    letGo(task, stream, guilty & mask)
    return now
  }

  /// Gives destinations a stream of their own, with the sub-jobs that wait for them.
  private mutating func letGo(_ task: CopyTask, _ stream: Int, _ destinations: UInt64) {
    task.isUneven = true
    let before = task.streams[stream]
    if before.isSalvaging {
      // What they lack then they are given when the others have been.
      task.streams[stream].mask &= ~destinations
      task.streams[stream].holdUp = HoldUp()
      return releaseSlots(task)
    }
    task.add(Stream(mask: destinations, cursor: before.cursor, end: before.end, isFresh: before.isFresh, isLagging: true, leftAt: now))
    let own = task.streams.lastIndex { $0.mask == destinations && $0.isLagging && $0.inFlight == 0 } ?? stream
    task.streams[stream].mask &= ~destinations
    task.streams[stream].holdUp = HoldUp()
    for number in task.subJobs where subJobs[number].stream == stream && subJobs[number].isInSlot {
      guard subJobs[number].waiting & task.streams[stream].mask == 0 else { continue }
      // It waits for those that are let go; the others have it, and everybody may know.
      subJobs[number].stream = own
      task.streams[stream].inFlight -= 1
      task.streams[own].inFlight += 1
      if !subJobs[number].isLagging { laggingPages += subJobs[number].run?.count ?? 0 }
      subJobs[number].isLagging = true
      publishWritten(number, task)
    }
    finishWhereComplete(task)
  }

  /// Whom the others have waited for, or were overtaken by: one read serves all again.
  private mutating func mergeIfCaughtUp(_ task: CopyTask, _ stream: Int) {
    let own = task.streams[stream]
    // Nothing that it had to wait for is left, and not for a moment only.
    guard own.isLagging, own.isFresh, own.inFlight == 1, now - own.leftAt > HoldUp.window else { return }
    guard
      let other = task.streams.indices.first(where: {
        let candidate = task.streams[$0]
        return $0 != stream && !candidate.isLagging && !candidate.isSpent && candidate.isFresh && candidate.end == own.end
          && candidate.cursor == own.cursor
      })
    else { return }
    task.streams[other].mask |= own.mask
    task.streams[stream].mask = 0
  }
}
