/// One piece of a copy on its way: read into a run of pages, then written to every destination from there.
struct SubJob {
  var task = -1
  /// The first byte of the piece in the region.
  var offset: UInt64 = 0
  /// The length of the piece, in bytes.
  var count = 0
  var run = PageRun(first: 0, count: 0)
  /// Destinations that have not answered yet.
  var writesInFlight = 0
  /// Transfers that the kernel asked to try again.
  var triedAgain = 0
  /// Bit i: destination i has the piece.
  var written: UInt64 = 0
}

/// What a completion is of, in the 64 bits that a ring gives back: no table, and no allocation per transfer.
struct TransferToken {
  /// `nil`: the read of the sub-job.
  var destination: Int?
  var subJob: Int
  /// How much of the transfer had been done before it was submitted: transfers may be short.
  var progress: Int

  init(destination: Int?, subJob: Int, progress: Int) {
    self.destination = destination
    self.subJob = subJob
    self.progress = progress
  }

  init(bits: UInt64) {
    let side = Int(bits >> 56)
    destination = side == 0 ? nil : side - 1
    subJob = Int(bits >> 32 & 0xff_ffff)
    progress = Int(bits & 0xffff_ffff)
  }

  var bits: UInt64 {
    UInt64(destination.map { $0 + 1 } ?? 0) << 56 | UInt64(subJob) << 32 | UInt64(progress)
  }
}
