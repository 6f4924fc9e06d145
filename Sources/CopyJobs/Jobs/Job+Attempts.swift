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
      switch command {
      case .cancel: life.isCancelRequested = true
      case .pause: life.isPauseRequested = true
      case .resume: life.isPauseRequested = false
      case .retry, .rate, .priority: break
      }
      if command == .cancel { life.arrival?.cancel() }
      if let work = life.work { pass(command, to: work, &life) } else { life.early.append(command) }
    }
  }

  static func check(_ command: JobCommand, _ life: JobLife) throws(Refusal) {
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

  /// Takes down the end; from here on everybody sees a final state.
  ///
  /// - Parameter isVisible: called when that is so, and nobody who waits has been told yet.
  func end(_ notification: KCopy.Notification, _ isVisible: () -> Void = {}) {
    end { life in
      let state: JobState =
        if notification.wasCancelled || life.isCancelRequested { .cancelled } else if notification.isComplete { .done } else { .failed }
      life.last = notification.progress
      life.maps = state == .done ? [] : notification.maps
      life.state = state
    } isVisible: {
      isVisible()
    }
  }

  private func end(_ body: (inout JobLife) -> Void, isVisible: () -> Void) {
    life.withLock { life in
      precondition(life.state == nil, "a job ends once")
      body(&life)
      life.work = nil
      life.arrival = nil
      life.early = []
      life.finishedAt = kcs_realtime()
      _ = note(&life)
    }
    isVisible()
    tell(.final)
    changes.tell(of: self)
  }

  // MARK: Admission later than acceptance

  /// It is accepted, and its paths are opened after that.
  func awaits(_ arrival: Arrival) { life.withLock { $0.arrival = arrival } }

  /// It ends with what admission says of it.
  func failArrival(_ errno: Int32) { endArrival(.failed, errno) }

  /// It was cancelled while its paths were being opened, and none is open any more.
  func cancelArrival() { endArrival(.cancelled, 0) }

  private func endArrival(_ state: JobState, _ errno: Int32) {
    let arrival = life.withLock { $0.arrival }
    end { life in
      var progress = life.progress
      for index in progress.destinations.indices where progress.destinations[index].state != .done {
        progress.destinations[index].state = state == .cancelled ? .cancelled : .failed
      }
      life.last = progress
      life.refusal = errno
      life.state = state
    } isVisible: {
      arrival?.left()
    }
  }

  /// Begins the next attempt of a job that failed or was cancelled.
  ///
  /// - Throws: EINVAL in any other state.
  func beginAgain(_ arrival: Arrival) throws(Refusal) {
    try change { (life) throws(Refusal) in
      guard !life.isRemoved else { throw Refusal(errno: ENODEV, column: 0, text: "the job was removed") }
      try Self.check(.retry, life)
      life.last = Self.start(of: life.progress, life)
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
    var progress = CopyProgress(destinations: before.destinations)
    for index in progress.destinations.indices where progress.destinations[index].state != .done {
      var destination = DestinationProgress()
      destination.bytesDurable = life.maps.indices.contains(index) ? life.maps[index].bytes(.durable) : 0
      destination.bytesDone = destination.bytesDurable
      progress.destinations[index] = destination
    }
    let lacking = progress.destinations.indices.filter { progress.destinations[$0].state != .done }
    progress.bytesDurable =
      common(lacking.map { life.maps.indices.contains($0) ? life.maps[$0] : RangeMap(count: life.plan.bytesTotal) })
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
