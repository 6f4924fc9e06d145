internal import CSystemShims
internal import Glibc
internal import KCopy
internal import Locking

/// The course of an attempt: it is admitted, begins, obeys, and ends once.
extension Job {
  /// Hands over what the job does; what `ctl` asked for meanwhile is passed on.
  func began(_ work: any Work) {
    change { life in
      guard life.state == nil else { return }
      life.arrival = nil
      life.work = work
      life.maps = []
      for command in life.early { pass(command, to: work, &life) }
      life.early = []
    }
  }

  /// Asks the job to end; it is final once nothing of it is in flight.
  ///
  /// - Throws: EALREADY when it is final.
  public func cancel() throws(Refusal) { try obey(.cancel) }

  /// Does what a line of `ctl` says, `retry` aside, which is for the service.
  ///
  /// - Throws: what `JobState.objection` has for the job's state.
  func obey(_ command: JobCommand) throws(Refusal) {
    try change { (life) throws(Refusal) in
      try Self.check(command, life)
      life.settings.take(command)
      switch command {
      case .cancel: life.isCancelRequested = true
      case .pause: life.isPauseRequested = true
      case .resume: life.isPauseRequested = false
      case .retry, .rate, .priority: break
      }
      if command == .cancel {
        life.arrival?.cancel()
        life.waiting?.cancel()
      }
      if let work = life.work {
        pass(command, to: work, &life)
      } else if life.waiting == nil {
        life.early.append(command)
      }
    }
  }

  static func check(_ command: JobCommand, _ life: JobLife) throws(Refusal) {
    // What has ended can't be cancelled any more, although nobody can see the end yet.
    if life.ending != nil, command == .cancel { throw Refusal(errno: EALREADY, column: 0, text: "the job has ended") }
    let state = life.current(life.progress)
    if let errno = state.objection(to: command) {
      let text = errno == EALREADY ? "the job is final" : "\(command.name) is not for a job that is \(state.rawValue)"
      throw Refusal(errno: errno, column: 0, text: text)
    }
  }

  private func pass(_ command: JobCommand, to work: any Work, _ life: inout JobLife) {
    switch command {
    case .cancel: work.cancel()
    case .pause: work.pause()
    case .resume:
      life.resumes += 1
      work.resume { self.change { $0.resumes -= 1 } }
    case .rate(let rate): work.setRate(rate)
    case .priority(let priority): work.setPriority(priority)
    case .retry: break
    }
  }

  // MARK: The end

  /// The attempt is over: how it ended is decided here, and shown by `end` once that is durable.
  func conclude(_ notification: KCopy.Notification) {
    conclude { life in
      let state: JobState =
        if notification.wasCancelled || life.isCancelRequested { .cancelled } else if notification.isComplete { .done } else { .failed }
      life.last = notification.progress
      life.maps = state == .done ? [] : notification.maps
      // Nobody opens the devices of a job that is done again, and there may be a million of those.
      if state == .done {
        life.plan.forgetFingerprints()
        life.predecessors = nil
      }
      // Where nothing was left to do it ends without having begun.
      life.arrival = nil
      return state
    }
  }

  private func conclude(_ body: (inout JobLife) -> JobState) {
    change { life in
      precondition(life.state == nil && life.ending == nil, "a job ends once")
      life.finishedAt = kcs_realtime()
      life.ending = body(&life)
      life.settings = ControlSettings()
      life.work = nil
      life.waiting = nil
      life.early = []
    }
  }

  /// The end is durable: from here on everybody sees a final state.
  ///
  /// - Parameter isVisible: called when that is so, and nobody who waits has been told yet.
  func end(_ isVisible: () -> Void = {}) {
    let arrival = life.withLock { life in
      defer {
        life.state = life.ending
        life.ending = nil
        life.arrival = nil
        _ = note(&life)
      }
      return life.arrival
    }
    isVisible()
    arrival?.left()
    tell(.final)
    changes.tell(of: self)
  }

  /// It goes on with the next daemon: with what its work, which is over, has left.
  func leave(_ notification: KCopy.Notification) {
    change { life in
      life.last = notification.progress
      life.maps = notification.maps
      life.work = nil
    }
  }

  /// Asks its work to leave the rest to the next daemon; one without work begins none.
  ///
  /// - Returns: whether nothing of it is in flight, and nobody else will say so.
  func suspend() -> Bool {
    change { life in
      guard life.state == nil, life.ending == nil else { return false }
      if let work = life.work {
        work.suspend()
        return false
      }
      if let waiting = life.waiting {
        waiting.suspend()
        return false
      }
      // Whoever opens its paths finds that somebody was before, and closes them again; unless it begins right now.
      guard !life.isLeft, life.parked != nil || life.arrival?.claim() == true else { return false }
      life.isLeft = true
      return true
    }
  }

  // MARK: The source

  /// It begins to read a file of a version; what earlier attempts have left on the media is of the one that they have read.
  func reads(_ version: FileVersion?) {
    life.withLock { life in
      let hasRead = life.progress.destinations.contains { $0.bytesDurable > 0 }
      if life.sourceVersion == nil || version == nil || !hasRead { life.sourceVersion = version }
    }
  }

  /// The version of its source that it has read, if that is a file.
  var sourceVersion: FileVersion? { life.withLock { $0.sourceVersion } }

  /// The version that its source has at the end of an attempt; `nil` when nobody can say.
  func hasRead(_ version: FileVersion?) {
    life.withLock { life in
      if let version, let before = life.sourceVersion, version != before { life.warnings.insert(.sourceChanged) }
    }
  }

  /// What is said of its source when it is opened again.
  func warns(_ warnings: JobWarnings) {
    life.withLock { life in
      let isKept = life.progress.destinations.contains { $0.bytesDurable > 0 }
      life.warnings = warnings.union(isKept ? life.warnings.intersection(.sourceChanged) : [])
    }
  }

  // MARK: The wait for others

  /// It has all that it needs, and others come first.
  func waits(_ waiting: Waiting) {
    change { life in
      life.arrival = nil
      life.waiting = waiting
      if life.isCancelRequested { waiting.cancel() }
    }
  }

  /// Nobody comes before it any more: it begins with what `ctl` has come to meanwhile.
  func isDue() {
    change { life in
      life.waiting = nil
      life.early = life.settings.commands + (life.isCancelRequested ? [.cancel] : [])
    }
  }

  // MARK: Admission later than acceptance

  /// It is accepted, and its paths are opened after that.
  func awaits(_ arrival: Arrival) { life.withLock { $0.arrival = arrival } }

  /// It ends with what admission says of it, or because it was cancelled before any of its paths was open.
  func concludeArrival(_ state: JobState, _ errno: Int32 = 0) {
    conclude { life in
      var progress = life.progress
      for index in progress.destinations.indices where progress.destinations[index].state != .done {
        progress.destinations[index].state = state == .cancelled ? .cancelled : .failed
      }
      life.last = progress
      life.refusal = errno
      return state
    }
  }

  /// It can't go on before `resume`.
  func park(_ reason: JobPause, _ ticket: UInt64) {
    change { life in
      guard let arrival = life.arrival else { return }
      life.parked = Parked(reason: reason, ticket: ticket, left: arrival.left)
      life.arrival = nil
    }
  }

  /// Takes a parked job out of its rest, for one who then opens its paths.
  ///
  /// - Parameter arrival: made of what is to be called when the job ends.
  /// - Returns: `nil` when it isn't parked.
  func unpark(_ arrival: (@escaping @Sendable () -> Void) -> Arrival) -> Arrival? {
    change { life in
      guard life.state == nil, let parked = life.parked else { return nil }
      let arrival = arrival(parked.left)
      life.parked = nil
      life.isPauseRequested = false
      life.settings.take(.resume)
      life.arrival = arrival
      return arrival
    }
  }

  /// Begins the next attempt of a job that failed or was cancelled.
  ///
  /// - Throws: EINVAL in any other state.
  func beginAgain(_ arrival: Arrival) throws(Refusal) {
    try change { (life) throws(Refusal) in
      guard !life.isRemoved else { throw Refusal(errno: ENODEV, column: 0, text: "the job was removed") }
      try Self.check(.retry, life)
      let start = Self.start(of: life.progress, life)
      life.last = start
      life.doneBefore = start.bytesDone
      life.attempt += 1
      life.state = nil
      life.refusal = 0
      life.finishedAt = 0
      life.isPauseRequested = false
      life.isCancelRequested = false
      life.resumes = 0
      life.arrival = arrival
    }
  }

  /// What is there when an attempt begins: counted from what is on the media.
  private static func start(of before: CopyProgress, _ life: JobLife) -> CopyProgress {
    counted(CopyProgress(destinations: before.destinations), life, lacking: before.destinations.map { $0.state != .done })
  }

  /// What is there when an attempt goes on after a restart: what had failed has failed.
  static func resumed(_ before: CopyProgress, _ life: JobLife) -> CopyProgress {
    var progress = CopyProgress(destinations: before.destinations)
    let failed = before.destinations.map { $0.state == .failed }
    for index in failed.indices where failed[index] { progress.writeErrors |= before.writeErrors & 1 << UInt64(index) }
    if let error = before.firstError, let index = error.destination, failed.indices.contains(index), failed[index] {
      progress.firstError = error
    }
    return counted(progress, life, lacking: before.destinations.map { $0.state != .done && $0.state != .failed })
  }

  private static func counted(_ before: CopyProgress, _ life: JobLife, lacking: [Bool]) -> CopyProgress {
    var progress = before
    let lacking = lacking.indices.filter { lacking[$0] }
    for index in lacking {
      var destination = DestinationProgress()
      destination.bytesDurable = life.maps.indices.contains(index) ? life.maps[index].bytes(.durable) : 0
      destination.bytesDone = destination.bytesDurable
      progress.destinations[index] = destination
    }
    progress.bytesDurable =
      common(lacking.map { life.maps.indices.contains($0) ? life.maps[$0] : life.plan.map() })
      ?? life.plan.bytesTotal
    progress.bytesDone = progress.bytesDurable
    return progress
  }

  /// How many bytes are durable in all of the maps; `nil` where there is none.
  private static func common(_ maps: [RangeMap]) -> UInt64? {
    guard var all = maps.first else { return nil }
    for map in maps.dropFirst() {
      for extent in map.extents where extent.status != .durable { all.set(extent.start..<extent.end, .missing) }
    }
    return all.bytes(.durable)
  }
}
