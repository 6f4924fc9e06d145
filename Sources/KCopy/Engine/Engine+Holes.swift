internal import Synchronization
internal import URing

/// Copies that keep holes: what reads as zeroes isn't moved.
extension Engine where Driver: ~Copyable {
  /// Holes that are looked for in one go.
  private static var mostHoles: Int { 4096 }

  /// What of a range is one hole, or one run of what has to be read.
  ///
  /// - Returns: `nil` while it is looked for.
  func cut(_ range: Range<UInt64>, of task: CopyTask) -> (range: Range<UInt64>, isHole: Bool)? {
    guard let source = task.request.source else { return (range, true) }
    switch task.layout.piece(at: range.lowerBound) {
    case .data(let end): return (range.lowerBound..<min(range.upperBound, end), false)
    case .hole(let end): return (range.lowerBound..<min(range.upperBound, end), true)
    case .unknown: break
    }
    guard !task.layout.isAsked else { return nil }
    task.layout.isAsked = true
    let index = task.index
    source.device.medium.findHoles(in: source.start + task.layout.end..<source.end, most: Self.mostHoles) { [mailbox] holes, end in
      mailbox.post(.foundHoles(task: index, holes: holes, end: end))
    }
    return nil
  }

  /// Somebody has looked for holes of a source.
  mutating func learn(_ index: Int, _ holes: [Range<UInt64>], _ end: UInt64) {
    guard let task = tasks[index], let source = task.request.source else { preconditionFailure("a layout without its copy") }
    task.layout.isAsked = false
    task.layout.learn(holes.map { $0.lowerBound - source.start..<$0.upperBound - source.start }, end - source.start)
    if !task.isStopped { queue(task) }
    endIfIdle(task)
  }

  /// Takes down which runs of a piece that was read are zeroes.
  mutating func noteBlanks(_ index: Int, _ task: CopyTask) {
    guard task.request.options.keepsHoles, task.request.source != nil, !subJobs[index].isBlank, unsettled[index] == nil,
      let run = subJobs[index].run
    else { return }
    let found = arenas[run].blanks(run.offset, count: subJobs[index].count, unit: task.plan.unit)
    if !found.isEmpty { blanks[index] = found }
  }

  /// The zeroes that begin at a place of a write, as far as the destination makes them by itself.
  func blank(at progress: Int, _ index: Int, _ destination: Int) -> Range<Int>? {
    guard !subJobs[index].isPlain.has(destination), let found = blanks[index]?.first(where: { $0.contains(progress) }) else { return nil }
    return progress..<(found.upperBound == subJobs[index].count ? writeCount(index, destination) : found.upperBound)
  }

  /// Where what is written in one go ends: at the next zeroes that the destination makes by itself, or what isn't there yet.
  func endOfData(from progress: Int, _ index: Int, _ destination: Int) -> Int {
    let whole = writeCount(index, destination)
    if let open = unsettled[index] { return open.first { $0.lowerBound > progress }?.lowerBound ?? whole }
    guard let found = blanks[index], !subJobs[index].isPlain.has(destination) else { return whole }
    return found.first { $0.lowerBound > progress }?.lowerBound ?? whole
  }

  /// Has a destination zero a range of a sub-job by itself.
  mutating func zero(_ index: Int, _ task: CopyTask, _ destination: Int, _ range: Range<Int>) {
    let region = task.request.destinations[destination]
    let token = TransferToken(destination: destination, subJob: index, progress: range.lowerBound)
    busy(task, destination)
    region.device.zero(
      at: region.start + subJobs[index].offset + UInt64(range.lowerBound), count: UInt64(range.count),
      asHole: task.request.options.keepsHoles
    ) { [mailbox] result in
      mailbox.post(.zeroed(token: token.bits, count: range.count, result: result))
    }
  }

  /// A device has zeroed a range by itself, or says that it doesn't: then the zeroes are written.
  mutating func complete(zeroed token: TransferToken, count: Int, _ result: Int32) {
    let task = task(of: token.subJob)
    idle(task, token.destination)
    guard let destination = token.destination else { preconditionFailure("zeroes for no destination") }
    if result == 0 {
      shared.bytesWritten.wrappingAdd(UInt64(count), ordering: .relaxed)
      return advance(token, task, to: token.progress + count)
    }
    task.sides[destination].writesZeroes = true
    guard subJobs[token.subJob].run != nil else {
      // Which block it was nobody says: written one by one, they tell, as all that it still lacks.
      return leave(token.subJob, task, destination)
    }
    subJobs[token.subJob].isPlain |= .only(destination)
    if isWanted(token, task) { goOn(token, from: token.progress) } else { giveUp(token, task) }
  }
}
