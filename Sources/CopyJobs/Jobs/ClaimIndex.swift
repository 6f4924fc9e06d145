/// The claims on one root object, by where they begin, so that a hundred thousand of them are soon looked through.
///
/// They are kept in runs of a few hundred, each with the furthest end of its claims: a run that ends before a place is
/// passed over as a whole.
struct ClaimIndex {
  struct Entry {
    var claim: Claims.Claim
    var job: String
    var owner: UInt64
  }

  private struct Run {
    /// Ascending by the start of the claim.
    var entries: [Entry]
    var end: UInt64 = 0
    var writtenEnd: UInt64 = 0

    init(_ entries: [Entry]) {
      self.entries = entries
      measure()
    }

    mutating func measure() {
      (end, writtenEnd) = (0, 0)
      for entry in entries { extend(entry.claim) }
    }

    mutating func extend(_ claim: Claims.Claim) {
      end = max(end, claim.end)
      if claim.isWrite { writtenEnd = max(writtenEnd, claim.end) }
    }

    /// The first entry that begins at a place or after it.
    func index(from start: UInt64) -> Int { partition(entries.count) { entries[$0].claim.start >= start } }
  }

  private static let longestRun = 512
  private var runs: [Run] = []

  var isEmpty: Bool { runs.isEmpty }

  /// The first of `count` numbers for which a condition holds that holds for all after it too.
  private static func partition(_ count: Int, _ holds: (Int) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if holds(middle) { high = middle } else { low = middle + 1 }
    }
    return low
  }

  private func run(of start: UInt64) -> Int {
    max(0, Self.partition(runs.count) { (runs[$0].entries.first?.claim.start ?? 0) > start } - 1)
  }

  mutating func insert(_ entry: Entry) {
    guard !runs.isEmpty else { return runs.append(Run([entry])) }
    let run = run(of: entry.claim.start)
    let index = runs[run].index(from: entry.claim.start)
    runs[run].entries.insert(entry, at: index)
    runs[run].extend(entry.claim)
    guard runs[run].entries.count > Self.longestRun else { return }
    let half = Run(Array(runs[run].entries[(Self.longestRun / 2)...]))
    runs[run] = Run(Array(runs[run].entries[..<(Self.longestRun / 2)]))
    runs.insert(half, at: run + 1)
  }

  /// Removes the claims of an owner that begin at a place.
  mutating func remove(_ owner: UInt64, from start: UInt64) {
    // Claims that begin at one place can lie in several runs.
    var run = Self.partition(runs.count) { (runs[$0].entries.last?.claim.start ?? 0) >= start }
    while run < runs.count, let first = runs[run].entries.first, first.claim.start <= start {
      let count = runs[run].entries.count
      runs[run].entries.removeAll { $0.owner == owner && $0.claim.start == start }
      if runs[run].entries.isEmpty {
        runs.remove(at: run)
        continue
      }
      if runs[run].entries.count < count { runs[run].measure() }
      run += 1
    }
  }

  /// A claim that a new one can't be beside: they overlap, and one of them writes.
  func conflict(with claim: Claims.Claim) -> Entry? {
    for run in runs {
      guard let first = run.entries.first, first.claim.start < claim.end else { return nil }
      guard (claim.isWrite ? run.end : run.writtenEnd) > claim.start else { continue }
      for entry in run.entries {
        guard entry.claim.start < claim.end else { return nil }
        if entry.claim.end > claim.start, entry.claim.isWrite || claim.isWrite { return entry }
      }
    }
    return nil
  }

  /// Whether all claims are of one owner.
  func isAlone(_ owner: UInt64) -> Bool { runs.allSatisfy { $0.entries.allSatisfy { $0.owner == owner } } }
}
