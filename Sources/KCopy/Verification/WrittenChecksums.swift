/// Checksums of what destinations were given, piece by piece as it was read: what they give back is compared with them.
///
/// Pieces of streams that were left behind begin and end elsewhere, and a source that changes gives destinations different
/// bytes, so each piece knows whom it is of.  One costs 32 bytes: 32 MiB for a TiB in sub-jobs of 1 MiB.
struct WrittenChecksums {
  struct Piece: Equatable {
    /// The first byte in the region.
    var start: UInt64
    var checksum: UInt64
    /// Bit i: destination i was given it, and nothing else since.
    var destinations: UInt64
    var count: UInt32

    var end: UInt64 { start + UInt64(count) }
  }

  /// The pieces that begin in one GiB of the region, by their starts: what comes late is put among few.
  private struct Shelf {
    var pieces: [Piece] = []
    /// The length of the longest: so far back a piece can begin that reaches some place.
    var longest: UInt64 = 0

    /// The first piece that begins at an offset or behind it.
    func place(of offset: UInt64) -> Int {
      var (low, high) = (0, pieces.count)
      while low < high {
        let middle = (low + high) / 2
        if pieces[middle].start < offset { low = middle + 1 } else { high = middle }
      }
      return low
    }
  }

  /// At most 128 MiB: what has no checksum is compared with the source.
  static let most = 1 << 22
  private static let shelfBits: UInt64 = 30

  private let most: Int
  private var shelves: [UInt64: Shelf] = [:]
  private(set) var count = 0

  init(most: Int = Self.most) { self.most = most }

  /// Takes down what destinations are given from now on in a range, in the place of what they were given before.
  mutating func note(_ checksum: UInt64, of range: Range<UInt64>, for destinations: UInt64) {
    let piece = Piece(start: range.lowerBound, checksum: checksum, destinations: destinations, count: UInt32(range.count))
    guard destinations != 0, !range.isEmpty, !replace(in: range, by: piece, for: destinations), count < most else { return }
    var shelf = shelves.removeValue(forKey: range.lowerBound >> Self.shelfBits) ?? Shelf()
    if let last = shelf.pieces.last, last.start > piece.start {
      shelf.pieces.insert(piece, at: shelf.place(of: piece.start))
    } else {
      shelf.pieces.append(piece)
    }
    shelf.longest = max(shelf.longest, UInt64(piece.count))
    shelves[range.lowerBound >> Self.shelfBits] = shelf
    count += 1
  }

  /// Forgets what destinations were given in a range.
  mutating func forget(_ range: Range<UInt64>, for destinations: UInt64) {
    if !range.isEmpty { _ = replace(in: range, by: nil, for: destinations) }
  }

  /// The first piece of a destination that begins in a range.
  func piece(of destination: Int, in range: Range<UInt64>) -> Piece? {
    guard !range.isEmpty else { return nil }
    for number in range.lowerBound >> Self.shelfBits...(range.upperBound - 1) >> Self.shelfBits {
      guard let shelf = shelves[number] else { continue }
      for piece in shelf.pieces[shelf.place(of: range.lowerBound)...] {
        guard piece.start < range.upperBound else { return nil }
        if piece.destinations.has(destination) { return piece }
      }
    }
    return nil
  }

  /// Takes destinations out of all pieces that reach into a range.
  ///
  /// - Parameter piece: what they are given now.
  /// - Returns: whether others were given the same before: then they are added there.
  private mutating func replace(in range: Range<UInt64>, by piece: Piece?, for destinations: UInt64) -> Bool {
    var isThere = false
    let first = range.lowerBound >> Self.shelfBits
    // A piece has a GiB at most, so it begins on the shelf before, if not on this one.
    for number in (first == 0 ? 0 : first - 1)...(range.upperBound - 1) >> Self.shelfBits {
      guard var shelf = shelves.removeValue(forKey: number) else { continue }
      var index = shelf.place(of: range.lowerBound - min(range.lowerBound, shelf.longest))
      while index < shelf.pieces.count, shelf.pieces[index].start < range.upperBound {
        guard shelf.pieces[index].end > range.lowerBound else {
          index += 1
          continue
        }
        shelf.pieces[index].destinations &= ~destinations
        if let piece, shelf.pieces[index].isLike(piece) {
          shelf.pieces[index].destinations |= destinations
          isThere = true
        }
        if shelf.pieces[index].destinations == 0 {
          shelf.pieces.remove(at: index)
          count -= 1
        } else {
          index += 1
        }
      }
      if !shelf.pieces.isEmpty { shelves[number] = shelf }
    }
    return isThere
  }
}

extension WrittenChecksums.Piece {
  fileprivate func isLike(_ other: Self) -> Bool { start == other.start && count == other.count && checksum == other.checksum }
}
