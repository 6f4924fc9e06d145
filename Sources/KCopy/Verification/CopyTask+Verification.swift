/// What is still to be read back of the destinations of a copy.
extension CopyTask {
  /// Whether nothing of a destination has to be read back any more.
  func isVerified(_ destination: Int) -> Bool {
    guard request.options.verifies else { return true }
    return sides[destination].unverified.map { $0.next(.missing, from: 0) == nil } ?? false
  }

  /// Begins to verify a destination that has all it is to get, or goes on with what was written anew.
  ///
  /// - Returns: whether there is anything to read back.
  func beginVerification(of destination: Int) -> Bool {
    let isFirst = sides[destination].unverified == nil
    if isFirst {
      var unverified = RangeMap(count: plan.count, status: .durable)
      for range in copy.publish({ $0.maps[destination].runs(of: .durable) }) { unverified.set(range, .missing) }
      sides[destination].unverified = unverified
    }
    guard !isVerified(destination) else { return false }
    add(Stream(mask: .only(destination), cursor: 0, end: plan.count, isFresh: false, isVerifying: true))
    let isLast = sides.indices.allSatisfy { !live.has($0) || finished.has($0) || isVerifying($0) }
    if isLast { copy.publish { $0.progress.phase = .verify } }
    return true
  }

  private func isVerifying(_ destination: Int) -> Bool { streams.contains { $0.isVerifying && $0.mask.has(destination) } }

  /// What is to be read back next of the destination of a stream, at most so much, and with what checksum; `nil`: nothing, and
  /// then the stream is spent.
  func nextUnverified(_ stream: Int, limit: Int) -> (range: Range<UInt64>, checksum: UInt64?)? {
    let (destination, cursor) = (streams[stream].mask.trailingZeroBitCount, streams[stream].cursor)
    guard streams[stream].mask != 0, let next = sides[destination].unverified?.next(.missing, from: cursor) else {
      streams[stream].cursor = streams[stream].end
      return nil
    }
    var end = min(next.end, next.start + UInt64(plan.piece(at: next.start, limit: limit)))
    if let piece = checksums.piece(of: destination, in: next.start..<end) {
      // One that goes on where the destination lacks something, or isn't to be looked at, says nothing of the rest.
      if piece.start == next.start, piece.end <= next.end { return (piece.start..<piece.end, piece.checksum) }
      if piece.start > next.start { end = piece.start }
    }
    return (next.start..<end, nil)
  }

  /// A part of a destination is as it was written, or has been settled otherwise: it isn't looked at again.
  func verified(_ destination: Int, _ range: Range<UInt64>) { sides[destination].unverified?.set(range, .durable) }

  /// A part of a destination is written once more.
  func unverify(_ destination: Int, _ range: Range<UInt64>) {
    guard sides[destination].unverified != nil else { return }
    sides[destination].unverified?.set(range, .missing)
    copy.publish { $0.progress.phase = .copy }
  }

  /// What was read back came from the page cache.
  func noteCache() { copy.publish { $0.progress.isVerifiedInCache = true } }

  /// Ends the reading back of a destination where it is: something of it has to be written again.
  func endVerification(of destination: Int) {
    for index in streams.indices where streams[index].isVerifying { streams[index].mask &= ~UInt64.only(destination) }
  }
}
