internal import Synchronization

/// Destinations that share the source's blocks: files of one file system, each by itself, whatever the others do.
///
/// The first piece is a try.  Who fails it stays with those that are copied, and has cost a system call; the others get streams
/// of their own, which become streams like any other at the first piece that fails.
extension Engine where Driver: ~Copyable {
  /// Of one call: soon done, and few of them.
  private static var largestClone: UInt64 { 64 << 20 }

  /// Tries which destinations can share blocks, before anything is read.
  ///
  /// - Returns: whether that is under way: nothing else of the copy starts before.
  mutating func tryCloning(_ task: CopyTask) -> Bool {
    if task.triesCloning != 0 { return true }
    guard task.mayClone != 0 else { return false }
    let stream = task.streams.firstIndex { $0.mask & task.mayClone != 0 } ?? 0
    let count = min(task.plan.count / task.clonedUnit * task.clonedUnit, Self.largestClone)
    beginIfFirst(task)
    (task.triesCloning, task.mayClone) = (task.mayClone & task.live, 0)
    task.triesCloning.forEachMember { destination in
      // In no slot of the stream, whose cursor stays where it is.
      let cursor = task.streams[stream].cursor
      let subJob = SubJob(
        task: task.index, stream: stream, count: Int(count), carried: .only(destination), waiting: .only(destination), isBlank: true,
        isClone: true)
      let index = add(subJob, to: task)
      task.streams[stream].cursor = cursor
      clone(index, task, destination)
    }
    return task.triesCloning != 0
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
    let isTry = task.triesCloning.has(destination)
    task.triesCloning &= ~UInt64.only(destination)
    let end = subJobs[token.subJob].range.upperBound
    if result == 0 {
      shared.bytesWritten.wrappingAdd(end - subJobs[token.subJob].offset, ordering: .relaxed)
      if isTry { letClone(task, destination, from: end) }
      moved(token, task)
    } else {
      // What a later piece is of is copied as what its map lacks, and what follows as from any stream.
      if !isTry { task.streams[subJobs[token.subJob].stream].isCloning = false }
      leave(token.subJob, task, destination)
    }
    if task.index >= 0, !task.isStopped { queue(task) }
  }

  /// Takes a destination that can share blocks out of the stream of those that can't.
  private mutating func letClone(_ task: CopyTask, _ destination: Int, from cursor: UInt64) {
    task.isUneven = true
    task.unstream(destination)
    let end = task.plan.count / task.clonedUnit * task.clonedUnit
    guard cursor < end else { return }
    task.add(Stream(mask: .only(destination), cursor: cursor, end: end, isCloning: true))
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
