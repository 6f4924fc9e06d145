/// How a copy is done.
public struct CopyOptions: Sendable {
  /// What an error does to the rest of the copy.
  public enum ErrorMode: String, Sendable, CaseIterable {
    /// A destination that fails is dropped and the others go on; a read error ends the copy.
    case drop
    /// Any error ends the copy: kcopyd without flags.
    case stop
    /// Sectors that can't be read are written as zeroes and listed in the maps, writes that fail are listed, and the copy
    /// goes on: kcopyd's `DM_KCOPYD_IGNORE_ERROR`, by the sector.  What reads well is copied first, and then bad areas, from both
    /// ends; not so with ``hashes`` or ``Order/sequential``, where they are read when they are met.
    case ignore
    /// The copy pauses with the error as its reason; `Copy.resume` tries again what failed.
    case pause
  }

  /// In which order a destination is written.
  public enum Order: String, Sendable, CaseIterable {
    /// As the reads come in.
    case any
    /// Ascending, a write submitted after the one before it completed: kcopyd's `DM_KCOPYD_WRITE_SEQ`.  A copy with a
    /// zoned destination is always written so.
    case sequential
  }

  /// Flush every destination before the notification.  Otherwise a copy that is complete may still be lost with the power.
  public var flushes = true
  /// Read back what every destination holds once it is flushed, past the page cache, and compare it with what was written: by a
  /// checksum of each sub-job, and with the source where there is none, as after a restart.  What differs is an error with EILSEQ.
  /// Not without `flushes`.
  public var verifies = false
  /// Find the SHA-256 of the source in the same pass: `CopyProgress.digest`.  Of what the destinations have from an earlier attempt
  /// the source is read again for it; what is outside of its domain is left out.  Nothing where there is no source.
  public var hashes = false
  /// A region that ends inside the last logical block of a destination device: the rest of that block is written with
  /// zeroes.  Otherwise such a region is refused.
  public var fillsTailWithZeroes = false
  /// Where source and destination are files of one file system that can share blocks between files (`FICLONERANGE`), they do, and
  /// nothing is read or written; where that fails, for whatever reason, it is copied.
  public var sharesBlocks = false
  /// Holes of the source, and runs of at least 4 KiB of zeroes in it, aren't moved: a file gets holes there, and a block device is
  /// asked to zero them by itself.  What can't do that gets the zeroes written; never is anything left as it was.
  public var keepsHoles = false
  /// What an error does to the rest of the copy.
  public var errors = ErrorMode.drop
  /// In which order every destination is written.
  public var order = Order.any
  /// How many times a transfer that failed is tried again, from 0 on, before it is narrowed down to the blocks that fail.  Under
  /// ``ErrorMode/ignore`` it is each block that can't be read, when all else has been read.
  public var retries = 0
  /// Bytes of the region per second, at least 1; `nil`: as fast as the client lets it.
  public var rate: UInt64?
  /// Whose turn comes first among the copies of a share: 0 (first) to 9.
  public var priority = 5
  /// Which share of the client the copy belongs to, by any number: shares take turns, a sub-job each, however many copies each
  /// has, and whatever their priorities are.
  public var share: UInt64 = 0
  /// Begins with the pause that `Copy.pause` asks for: nothing is read or written before `Copy.resume`.
  public var startsPaused = false

  /// Flushed, in any order, without retries; a destination that fails is dropped.
  public init() {}
}
