/// How far the digest of a copy's source is.
///
/// It takes in the region in ascending order, so a sub-job says when it begins that it is the next one, and keeps its pages and
/// its slot until it has been taken in; bytes that are read for others later don't count any more.
struct Hashing {
  let digest = RegionDigest()
  /// The place of the stream that reads what no destination lacks; its cursor is where the next piece begins that is to be taken in.
  let stream: Int
  /// Up to where pieces were given to the digest.
  var given: UInt64 = 0
  /// Up to where it has them.
  var done: UInt64 = 0
  /// Something was zeroed that the destinations may have: nobody can say any more what they hold.
  var isBroken = false
}

/// What a sub-job has to do with the digest.
enum HashPart {
  case none
  /// It has the next piece, when it is read.
  case claimed
  /// The piece is in its pages.
  case read
  /// The piece was given to the digest.
  case given
}
