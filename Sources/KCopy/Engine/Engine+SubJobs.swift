internal import Glibc
internal import Synchronization
internal import URing

/// The way of one sub-job: pages, a read, the writes, pages back.
extension Engine where Driver: ~Copyable {
  /// Starts sub-jobs in turn, until no copy has one to start or there is no room.
  mutating func pump() {
    while let task = runnable.first {
      guard !task.isStopped, task.subJobsInFlight < configuration.slots else {
        runnable.removeFirst()
        task.isRunnable = false
        continue
      }
      // First in line waits for room, and everybody behind it: small copies don't starve large ones.
      guard begin(task) else { return }
      runnable.removeFirst()
      runnable.append(task)
    }
  }

  private mutating func begin(_ task: CopyTask) -> Bool {
    let transfers = task.request.destinations.count
    guard reservedTransfers + transfers <= driver.capacity else { return false }
    let piece = task.plan.piece(at: task.next, limit: configuration.subjob)
    // Writes may fill up a logical block, which can be larger than a page.
    let widest = task.request.destinations.indices.reduce(piece) { max($0, task.writeCount($1, offset: task.next, count: piece)) }
    guard let run = pool.take((widest + PagePool.pageBytes - 1) / PagePool.pageBytes) else { return false }
    let count = run.bytes >= widest ? piece : task.plan.part(of: piece, in: run)
    guard count > 0 else {
      pool.giveBack(run)
      return false
    }
    notePages()
    if task.next == 0 { task.begin() }
    let subJob = SubJob(task: task.copy.task.load(ordering: .relaxed), offset: task.next, count: count, run: run)
    let index = freeSubJobs.popLast() ?? subJobs.count
    if index == subJobs.count { subJobs.append(subJob) } else { subJobs[index] = subJob }
    reservedTransfers += transfers
    task.subJobsInFlight += 1
    task.next += UInt64(subJob.count)
    read(index, from: 0)
    return true
  }

  private mutating func read(_ index: Int, from progress: Int) {
    let subJob = subJobs[index]
    guard let task = tasks[subJob.task] else { preconditionFailure("a sub-job without its copy") }
    let source = task.source
    let position = source.start + subJob.offset + UInt64(progress)
    let count = subJob.count - progress
    driver.read(
      source.device.descriptor(at: position, count: count), at: position, into: subJob.run.offset + progress, count: count,
      token: TransferToken(destination: nil, subJob: index, progress: progress).bits)
  }

  private mutating func write(_ index: Int, to destination: Int, from progress: Int) {
    let subJob = subJobs[index]
    guard let task = tasks[subJob.task] else { preconditionFailure("a sub-job without its copy") }
    let region = task.request.destinations[destination]
    let position = region.start + subJob.offset + UInt64(progress)
    let count = task.writeCount(destination, offset: subJob.offset, count: subJob.count) - progress
    driver.write(
      region.device.descriptor(at: position, count: count), at: position, from: subJob.run.offset + progress, count: count,
      token: TransferToken(destination: destination, subJob: index, progress: progress).bits)
  }

  /// A file that always says EAGAIN would keep the thread busy for ever.
  private static var mostTries: Int { 64 }

  /// Takes a completion; a transfer that was short, or is to be tried again, goes on where it stopped.
  mutating func complete(_ completion: Completion) {
    let token = TransferToken(bits: completion.token)
    var result = completion.result
    if result == Int64(-EINTR) || result == Int64(-EAGAIN), subJobs[token.subJob].triedAgain < Self.mostTries {
      subJobs[token.subJob].triedAgain += 1
      result = 0
      if goOn(token) { return }
    }
    if let destination = token.destination {
      completeWrite(token, destination, result)
    } else {
      completeRead(token, result)
    }
  }

  /// Submits the rest of a transfer, unless its copy is cancelled: then nothing starts any more.
  private mutating func goOn(_ token: TransferToken) -> Bool {
    guard let task = tasks[subJobs[token.subJob].task], !task.isCancelled else { return false }
    if let destination = token.destination {
      write(token.subJob, to: destination, from: token.progress)
    } else {
      read(token.subJob, from: token.progress)
    }
    return true
  }

  private mutating func completeRead(_ token: TransferToken, _ result: Int64) {
    let subJob = subJobs[token.subJob]
    guard let task = tasks[subJob.task] else { preconditionFailure("a sub-job without its copy") }
    shared.bytesRead.wrappingAdd(UInt64(max(0, result)), ordering: .relaxed)
    if task.isCancelled { return end(token.subJob) }
    // A read of nothing before the region's end: the source has shrunk, which no errno says.
    guard result > 0 else {
      task.failReading(
        TransferError(
          errno: result == 0 ? EIO : Int32(-result), step: .read, destination: nil,
          offset: task.source.start + subJob.offset + UInt64(token.progress), length: UInt64(subJob.count - token.progress)))
      return end(token.subJob)
    }
    let progress = token.progress + Int(result)
    if progress < subJob.count { return read(token.subJob, from: progress) }
    beginWrites(token.subJob, task)
  }

  private mutating func beginWrites(_ index: Int, _ task: CopyTask) {
    let subJob = subJobs[index]
    // After a cancel no write starts; after another sub-job's error those in flight finish.
    guard !task.isCancelled, task.live != 0 else { return end(index) }
    let destinations = task.request.destinations.indices.filter(task.isLive)
    let widest = destinations.reduce(subJob.count) { max($0, task.writeCount($1, offset: subJob.offset, count: subJob.count)) }
    memory.zero(subJob.run.offset + subJob.count, count: widest - subJob.count)
    subJobs[index].writesInFlight = destinations.count
    for destination in destinations { write(index, to: destination, from: 0) }
  }

  private mutating func completeWrite(_ token: TransferToken, _ destination: Int, _ result: Int64) {
    let subJob = subJobs[token.subJob]
    guard let task = tasks[subJob.task] else { preconditionFailure("a sub-job without its copy") }
    let count = task.writeCount(destination, offset: subJob.offset, count: subJob.count)
    let isRest = result >= 0 && token.progress + Int(result) < count
    if isRest, task.isCancelled {
      shared.bytesWritten.wrappingAdd(UInt64(result), ordering: .relaxed)
    } else if result <= 0 {
      task.fail(
        destination,
        TransferError(
          // A write of nothing is no success, and a loop would never end.
          errno: result == 0 ? EIO : Int32(-result), step: .write, destination: destination,
          offset: task.request.destinations[destination].start + subJob.offset + UInt64(token.progress),
          length: UInt64(count - token.progress)))
    } else {
      shared.bytesWritten.wrappingAdd(UInt64(result), ordering: .relaxed)
      let progress = token.progress + Int(result)
      if progress < count { return write(token.subJob, to: destination, from: progress) }
      subJobs[token.subJob].written |= 1 << UInt64(destination)
    }
    subJobs[token.subJob].writesInFlight -= 1
    if subJobs[token.subJob].writesInFlight == 0 { end(token.subJob) }
  }

  /// Gives back what a sub-job held, counts what it moved, and lets its copy go on or end.
  private mutating func end(_ index: Int) {
    let subJob = subJobs[index]
    guard let task = tasks[subJob.task] else { preconditionFailure("a sub-job without its copy") }
    pool.giveBack(subJob.run)
    notePages()
    freeSubJobs.append(index)
    reservedTransfers -= task.request.destinations.count
    task.subJobsInFlight -= 1
    if subJob.written != 0 {
      let live = task.live
      task.copy.publish { progress in
        for destination in progress.destinations.indices where subJob.written & 1 << UInt64(destination) != 0 {
          progress.destinations[destination].bytesDone += UInt64(subJob.count)
        }
        if live != 0, live & ~subJob.written == 0 { progress.bytesDone += UInt64(subJob.count) }
      }
    }
    if task.isStopped { endIfIdle(task) } else { queue(task) }
  }

  private func notePages() {
    shared.pagesFree.store(pool.free, ordering: .relaxed)
    let used = pool.count - pool.free
    if used > shared.pagesPeak.load(ordering: .relaxed) { shared.pagesPeak.store(used, ordering: .relaxed) }
  }
}
