internal import Synchronization

/// Destinations that share the source's blocks: files of one file system, each by itself, whatever the others do.
///
/// The first piece is a try, in a stream of the destination's own.  The others wait a moment for it: who fails is then copied with
/// them, and has cost a system call.  After a later piece that fails, or an answer that is late, a stream is one like any other.
extension Engine where Driver: ~Copyable {
  /// Of one call: soon done, and few of them.
  private static var largestClone: UInt64 { 64 << 20 }
  private static var patience: UInt64 { 50_000_000 }

  /// Tries which destinations can share blocks, before anything is read.
  ///
  /// - Returns: until when nothing else of the copy starts; `nil`: nobody need wait.
  mutating func tryCloning(_ task: CopyTask) -> UInt64? {
    let candidates = task.mayClone & task.live
    if candidates != 0 {
      task.mayClone = 0
      task.isUneven = true
      task.triesUntil = now + Self.patience
      beginIfFirst(task)
      let end = task.plan.count / task.clonedUnit * task.clonedUnit
      candidates.forEachMember { destination in
        task.unstream(destination)
        let stream = task.add(Stream(mask: .only(destination), cursor: 0, end: end, isCloning: true, isTrying: true))
        _ = beginCloning(task, stream)
      }
    }
    guard now < task.triesUntil, task.streams.contains(where: { $0.isTrying && $0.mask != 0 }) else { return nil }
    return task.triesUntil
  }

  /// Starts the next piece of a stream whose destination shares blocks.
  mutating func beginCloning(_ task: CopyTask, _ stream: Int) -> Start {
    let (cursor, mask) = (task.streams[stream].cursor, task.streams[stream].mask)
    let count = min(task.streams[stream].end - cursor, Self.largestClone)
    let subJob = SubJob(
      task: task.index, stream: stream, offset: cursor, count: Int(count), carried: mask, waiting: mask, isBlank: true, isClone: true)
    clone(add(subJob, to: task), task, mask.trailingZeroBitCount)
    return .done
  }

  private mutating func clone(_ index: Int, _ task: CopyTask, _ destination: Int) {
    guard let source = task.request.source else { preconditionFailure("a clone of nothing") }
    let region = task.request.destinations[destination]
    let (offset, count) = (subJobs[index].offset, UInt64(subJobs[index].count))
    task.unverify(destination, subJobs[index].range)
    task.checksums.forget(subJobs[index].range, for: .only(destination))
    busy(task, destination)
    let token = TransferToken(destination: destination, subJob: index, progress: 0)
    region.device.medium.clone(at: region.start + offset, from: source.device.medium, at: source.start + offset, count: count) {
      [mailbox] result in
      mailbox.post(.cloned(token: token.bits, result: result))
    }
  }

  /// A piece is shared, or has to be copied.
  mutating func complete(cloned token: TransferToken, _ result: Int32) {
    let task = task(of: token.subJob)
    idle(task, token.destination)
    guard let destination = token.destination else { preconditionFailure("a clone for no destination") }
    let stream = subJobs[token.subJob].stream
    if result == 0 {
      task.streams[stream].isTrying = false
      moved(token, task)
    } else {
      task.streams[stream].isCloning = false
      if task.streams[stream].isTrying { copyInstead(task, stream) }
      // What a later piece is of is copied as what the map lacks, and what follows as from any stream.
      leave(token.subJob, task, destination)
    }
    if task.index >= 0, !task.isStopped { queue(task) }
  }

  /// A destination can't share blocks: it is copied from the beginning, with the others if those haven't begun.
  private func copyInstead(_ task: CopyTask, _ stream: Int) {
    task.streams[stream].isTrying = false
    let others = task.streams.indices.first {
      let other = task.streams[$0]
      return $0 != stream && other.mask != 0 && other.isFresh && !other.isCloning && !other.isLagging && other.cursor == 0
    }
    if let others {
      task.streams[others].mask |= task.streams[stream].mask
      task.streams[stream].mask = 0
    } else {
      task.streams[stream].cursor = 0
      task.streams[stream].end = task.plan.count
    }
  }
}

extension CopyTask {
  /// Blocks are shared by whole pages; what is left behind the last is copied.
  var clonedUnit: UInt64 { UInt64(PagePool.pageBytes) }
}

extension CopyRequest {
  /// Bit i: destination i may be able to share the source's blocks.
  var clonable: UInt64 {
    let page = UInt64(PagePool.pageBytes)
    guard options.sharesBlocks, options.order == .any, maps.isEmpty, let source, source.device.facts.clones, source.start % page == 0,
      count >= page, case .file(let fileSystem, _) = source.device.key
    else { return 0 }
    var clonable: UInt64 = 0
    for (index, region) in destinations.enumerated() where region.device.facts.clones && region.start % page == 0 {
      if case .file(fileSystem, _) = region.device.key { clonable |= .only(index) }
    }
    return clonable
  }
}
