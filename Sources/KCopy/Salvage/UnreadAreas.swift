/// What of a region could not be read so far, and what has been tried there: ascending areas, of which no two of one state touch.
struct UnreadAreas {
  /// What has been tried.
  enum State: Equatable {
    /// Nothing: it lies behind something bad, and was passed over.
    case passed
    /// All of it was read in pieces, each of which failed.
    case failed
    /// Read from its beginning on up to the first bad block: what follows that.
    case headed
    /// Read from its end on, too: what lies between two bad blocks.
    case inner
    /// Blocks that have failed by themselves so many times.
    case bad(tries: Int)
  }

  struct Area: Equatable {
    var range: Range<UInt64>
    var state: State
  }

  private(set) var all: [Area] = []

  var isEmpty: Bool { all.isEmpty }

  /// Gives a range a state; `nil`: there is nothing more to try.
  mutating func set(_ range: Range<UInt64>, _ state: State?) {
    guard !range.isEmpty else { return }
    let first = index(endingBehind: range.lowerBound)
    var (low, high) = (first, first)
    while high < all.count, all[high].range.lowerBound < range.upperBound { high += 1 }
    var pieces: [Area] = []
    if low < high, all[low].range.lowerBound < range.lowerBound {
      pieces.append(Area(range: all[low].range.lowerBound..<range.lowerBound, state: all[low].state))
    }
    if let state { pieces.append(Area(range: range, state: state)) }
    if low < high, all[high - 1].range.upperBound > range.upperBound {
      pieces.append(Area(range: range.upperBound..<all[high - 1].range.upperBound, state: all[high - 1].state))
    }
    // Neighbours of the same state become one.
    if low > 0 {
      low -= 1
      pieces.insert(all[low], at: 0)
    }
    if high < all.count {
      pieces.append(all[high])
      high += 1
    }
    var joined: [Area] = []
    for piece in pieces {
      if let last = joined.last, last.state == piece.state, last.range.upperBound == piece.range.lowerBound {
        joined[joined.count - 1].range = last.range.lowerBound..<piece.range.upperBound
      } else {
        joined.append(piece)
      }
    }
    all.replaceSubrange(low..<high, with: joined)
  }

  /// The first area that isn't before an offset and of which that holds.
  func first(from offset: UInt64, where matches: (State) -> Bool) -> Area? {
    all[index(endingBehind: offset)...].first { matches($0.state) }
  }

  /// The last area that begins before an offset and of which that holds.
  func last(before offset: UInt64, where matches: (State) -> Bool) -> Area? {
    var end = index(endingBehind: offset)
    if end < all.count, all[end].range.lowerBound < offset { end += 1 }
    return all[..<end].last { matches($0.state) }
  }

  /// What of a range lies in no area from its beginning on, or where that is inside of one, `nil` and the end of those that follow
  /// each other there.
  func open(_ range: Range<UInt64>) -> (range: Range<UInt64>?, next: UInt64) {
    var place = index(endingBehind: range.lowerBound)
    guard place < all.count, all[place].range.lowerBound < range.upperBound else { return (range, range.upperBound) }
    if all[place].range.lowerBound > range.lowerBound {
      return (range.lowerBound..<all[place].range.lowerBound, all[place].range.lowerBound)
    }
    var end = all[place].range.upperBound
    place += 1
    while place < all.count, all[place].range.lowerBound == end {
      end = all[place].range.upperBound
      place += 1
    }
    return (nil, end)
  }

  /// The place of the first area that ends behind an offset.
  private func index(endingBehind offset: UInt64) -> Int {
    var (low, high) = (0, all.count)
    while low < high {
      let middle = (low + high) / 2
      if all[middle].range.upperBound <= offset { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
