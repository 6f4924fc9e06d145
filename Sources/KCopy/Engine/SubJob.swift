/// One piece of a copy on its way: read into a run of pages, then written to every destination from there.
struct SubJob {
  var task = -1
  var stream = 0
  /// The first byte of the piece in the region.
  var offset: UInt64 = 0
  /// The length of the piece, in bytes.
  var count = 0
  /// `nil`: it is blank, and every destination zeroes the piece by itself.
  var run: PageRun?
  /// Bit i: destination i is to get the piece.
  var carried: UInt64 = 0
  /// Bit i: destination i has not come to an end with it.
  var waiting: UInt64 = 0
  /// Bit i: destination i has all of the piece, but that isn't published yet.
  var written: UInt64 = 0
  /// Bit i: a flush of destination i failed while the piece was being written to it.
  var doubtful: UInt64 = 0
  /// Whether it takes one of its stream's slots.
  var isInSlot = true
  var isReading = false
  /// Whether it is zeroes that nobody reads.
  var isBlank = false
  /// Whether its pages are of the reserve.
  var isReserved = false
  /// Whether its pages count as those of a stream that was left behind.
  var isLagging = false
  /// Whether its destination is to share the source's blocks: then it is blank, for nobody reads it.
  var isClone = false
  /// Bit i: destination i is written the zeroes of the piece, although it could make them by itself.
  var isPlain: UInt64 = 0
  /// Whether it is there for what a map lacks, and may cover a little more.
  var isRepair = false
  /// Set where it reads back what its only destination holds.
  var readBack: ReadBack?
  /// Set where it reads again what could not be read, and since when it does.
  var step: Salvage.Step?
  var readSince: UInt64 = 0
  /// What it has to do with the digest, and from where on.
  var hashPart = HashPart.none
  var hashStart: UInt64 = 0
  /// Transfers that the kernel asked to try again.
  var triedAgain = 0

  /// The most transfers that it can have in flight.
  var transfers: Int { max(carried.nonzeroBitCount, 1) }

  /// The range of the region that it covers.
  var range: Range<UInt64> { offset..<offset + UInt64(count) }
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

  /// The digest's of a sub-job.
  static func hash(of subJob: Int) -> TransferToken { TransferToken(destination: hashSide - 1, subJob: subJob, progress: 0) }
  private static let hashSide = 255

  var isHash: Bool { destination == Self.hashSide - 1 }

  init(bits: UInt64) {
    let side = Int(bits >> 56)
    destination = side == 0 ? nil : side - 1
    subJob = Int(bits >> 32 & 0xff_ffff)
    progress = Int(bits & 0xffff_ffff)
  }

  var bits: UInt64 { side << 56 | UInt64(subJob) << 32 | UInt64(progress) }

  /// The number of the side: 0 for the source.
  private var side: UInt64 { UInt64(destination.map { $0 + 1 } ?? 0) }

  /// The same for all transfers of one side of a sub-job.
  var key: UInt64 { side << 56 | UInt64(subJob) << 32 }
}

extension UInt64 {
  /// The set with one member, destination i.
  static func only(_ destination: Int) -> UInt64 { 1 << UInt64(destination) }

  func has(_ destination: Int) -> Bool { self & .only(destination) != 0 }

  /// Calls the body with each member, ascending.
  func forEachMember(_ body: (Int) -> Void) {
    var rest = self
    while rest != 0 {
      body(rest.trailingZeroBitCount)
      rest &= rest - 1
    }
  }
}
