/// A run of pages that one sub-job owns.
struct PageRun: Equatable {
  /// Which of the client's memories it lies in.
  var arena = 0
  /// The number of the first page in that memory.
  var first: Int
  var count: Int

  /// The run's place in its memory, in bytes.
  var offset: Int { first * PagePool.pageBytes }
  var bytes: Int { count * PagePool.pageBytes }
}

/// The pages of one memory: which of them are free, as a bit each.
///
/// Sub-jobs take runs, first fit; when no run is as long as wanted, the longest that is worth a transfer.
struct PagePool {
  static let pageBytes = 4096
  /// The shortest run that is taken in place of a longer one: 64 KiB.  Shorter transfers cost more than the wait.
  static let shortestSubstitute = 16

  let count: Int
  private(set) var free: Int
  /// Bit set: the page is free.
  private var words: [UInt64]

  init(pages: Int) {
    count = pages
    free = pages
    words = Array(repeating: .max, count: (pages + 63) / 64)
    if pages % 64 != 0 { words[words.count - 1] = (1 << UInt64(pages % 64)) - 1 }
  }

  var isUnused: Bool { free == count }

  /// Takes a run of `wanted` pages, or a shorter one of at least 64 KiB; `nil` when there is neither.
  mutating func take(_ wanted: Int) -> PageRun? {
    guard free >= min(wanted, Self.shortestSubstitute) else { return nil }
    var longest = PageRun(first: 0, count: 0)
    var page = 0
    while let start = next(from: page, free: true) {
      let end = next(from: start, free: false) ?? count
      if end - start >= wanted {
        longest = PageRun(first: start, count: wanted)
        break
      }
      if end - start > longest.count { longest = PageRun(first: start, count: end - start) }
      page = end
    }
    guard longest.count >= min(wanted, Self.shortestSubstitute) else { return nil }
    mark(longest, free: false)
    return longest
  }

  /// Gives a run back.
  mutating func giveBack(_ run: PageRun) { mark(run, free: true) }

  /// The first page at or after `page` that is free, or that isn't.
  private func next(from page: Int, free: Bool) -> Int? {
    var page = page
    while page < count {
      let bits = (free ? words[page / 64] : ~words[page / 64]) >> UInt64(page % 64)
      if bits != 0 {
        let found = page + bits.trailingZeroBitCount
        return found < count ? found : nil
      }
      page = (page / 64 + 1) * 64
    }
    return nil
  }

  private mutating func mark(_ run: PageRun, free isFree: Bool) {
    var page = run.first
    let end = run.first + run.count
    while page < end {
      let width = min(64 - page % 64, end - page)
      let mask = (width == 64 ? UInt64.max : (1 << UInt64(width)) - 1) << UInt64(page % 64)
      precondition(isFree ? words[page / 64] & mask == 0 : words[page / 64] & mask == mask, "a page has two owners")
      words[page / 64] ^= mask
      page += width
    }
    free += isFree ? run.count : -run.count
  }
}
