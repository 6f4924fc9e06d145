internal import URing

/// The digest of the source, in the same pass.
extension Engine where Driver: ~Copyable {
  /// Starts to read what no destination lacks, for the digest alone, unless some stream is about to read the next piece anyway.
  mutating func beginHashing(_ task: CopyTask, _ stream: Int, limit: Int, fromReserve: Bool) -> Start {
    guard let range = task.nextForDigest() else { return .nothing }
    var count = Int(min(UInt64(task.plan.piece(at: range.lowerBound, limit: limit)), range.upperBound - range.lowerBound))
    guard let run = takePages(task, for: task.streams[stream].mask, at: range.lowerBound, piece: &count, fromReserve: fromReserve) else {
      return .noRoom
    }
    let isFirst = beginIfFirst(task)
    let subJob = SubJob(
      task: task.index, stream: stream, offset: range.lowerBound, count: count, run: run, isReading: true, isReserved: fromReserve)
    let index = add(subJob, to: task)
    subJobs[index].hashPart = .claimed
    subJobs[index].hashStart = range.lowerBound
    task.streams[stream].cursor = task.nextInside(subJob.range.upperBound)
    charge(task, count)
    read(index, from: 0)
    // Who has had everything from an earlier attempt doesn't wait for the digest.
    if isFirst { finishWhereComplete(task) }
    return .done
  }

  /// A sub-job begins: it has the next piece for the digest, or it hasn't.  What it doesn't read is read for the digest alone.
  func claimForDigest(_ subJob: inout SubJob, _ task: CopyTask) {
    guard let hashing = task.hashing, !subJob.isBlank, subJob.range.contains(task.streams[hashing.stream].cursor) else { return }
    subJob.hashPart = .claimed
    subJob.hashStart = task.streams[hashing.stream].cursor
    task.streams[hashing.stream].cursor = task.nextInside(subJob.range.upperBound)
  }

  /// A sub-job has been read: its piece is given to the digest when those before it were.
  mutating func readForDigest(_ index: Int, _ task: CopyTask) {
    guard subJobs[index].hashPart == .claimed else { return }
    subJobs[index].hashPart = .read
    if subJobs[index].carried == 0, unreadable[index] != nil { task.hashing?.isBroken = true }
    giveToDigest(task)
  }

  private mutating func giveToDigest(_ task: CopyTask) {
    while let hashing = task.hashing,
      let index = task.subJobs.first(where: { subJobs[$0].hashPart == .read && subJobs[$0].hashStart == hashing.given }),
      let run = subJobs[index].run
    {
      let start = Int(subJobs[index].hashStart - subJobs[index].offset)
      subJobs[index].hashPart = .given
      task.hashing?.given = task.nextInside(subJobs[index].range.upperBound)
      driver.hash(
        hashing.digest, Place(arena: run.arena, offset: run.offset + start), count: subJobs[index].count - start,
        token: TransferToken.hash(of: index).bits)
    }
  }

  /// The digest has taken a piece in.
  mutating func hashed(_ index: Int) {
    let task = task(of: index)
    subJobs[index].hashPart = .none
    task.hashing?.done = task.nextInside(subJobs[index].range.upperBound)
    if task.isHashed, let hashing = task.hashing, !hashing.isBroken { task.copy.publish { $0.progress.digest = hashing.digest.text } }
    endHashPart(index, task)
    endIfIdle(task)
  }

  /// A sub-job won't have its piece, so those behind it have to be read once more.
  mutating func unclaim(_ index: Int, _ task: CopyTask) {
    guard let hashing = task.hashing, [.claimed, .read].contains(subJobs[index].hashPart) else { return }
    let start = subJobs[index].hashStart
    task.streams[hashing.stream].cursor = start
    for number in task.subJobs where subJobs[number].hashStart >= start && [.claimed, .read].contains(subJobs[number].hashPart) {
      subJobs[number].hashPart = .none
      endHashPart(number, task)
    }
    queue(task)
  }

  /// A copy that has stopped gives nothing more to its digest.
  mutating func stopHashing(_ task: CopyTask) {
    guard task.hashing != nil else { return }
    for number in task.subJobs where [.claimed, .read].contains(subJobs[number].hashPart) {
      subJobs[number].hashPart = .none
      endHashPart(number, task)
    }
  }

  /// The digest needs the pages of a sub-job no more.
  private mutating func endHashPart(_ index: Int, _ task: CopyTask) {
    releaseSlot(index, task)
    endIfDone(index, task)
  }
}

extension CopyTask {
  var isHashed: Bool { hashing.map { $0.done == plan.count } ?? true }

  /// The digest begins where the copy does.
  func beginHashing() {
    guard let hashing else { return }
    let first = nextInside(0)
    self.hashing?.given = first
    self.hashing?.done = first
    streams[hashing.stream].cursor = first
    // Of nothing there is one, too.
    if isHashed { copy.publish { $0.progress.digest = hashing.digest.text } }
  }

  /// The first byte from an offset on that is a part of the copy; the end of the region where there is none.
  func nextInside(_ offset: UInt64) -> UInt64 {
    guard let domain = request.maps.first, offset < domain.count else { return offset }
    let extent = domain.extent(at: offset)
    return extent.status == .outside ? extent.end : offset
  }

  /// Whether a sub-job that begins there has to wait for the digest, which would have to have it read once more.
  func waitsForDigest(_ offset: UInt64) -> Bool { hashing.map { offset > streams[$0.stream].cursor } ?? false }

  /// What is to be read for the digest alone; `nil` while the next piece is one that destinations lack.
  fileprivate func nextForDigest() -> Range<UInt64>? {
    guard let hashing else { return nil }
    let cursor = streams[hashing.stream].cursor
    let outside = request.maps.first?.next(.outside, from: cursor)?.start ?? plan.count
    var (bound, isAnybodyBehind, isAnybodyThere) = (outside, false, false)
    let readers = streams.filter { !$0.isHashing && !$0.isVerifying && !$0.isCloning && !$0.isSpent }
    // Who was left behind may never read anything more, and the others wait for the digest.
    let areOthers = readers.contains { !$0.isLagging }
    for stream in readers where !stream.isLagging || !areOthers {
      let lacking = copy.publish { $0.nextLacking(stream.mask, from: stream.cursor)?.range.lowerBound }
      guard let next = stream.isFresh ? stream.cursor : lacking, next < stream.end else { continue }
      let start = next / UInt64(request.largestBlock) * UInt64(request.largestBlock)
      if start == cursor || start < cursor && next >= cursor { return nil }
      if start < cursor {
        isAnybodyBehind = true
      } else {
        isAnybodyThere = true
        bound = min(bound, start)
      }
    }
    // Who was left behind comes here, too, if nobody is before.
    return isAnybodyBehind && !isAnybodyThere || cursor >= bound ? nil : cursor..<bound
  }
}
