/// The claims on one root object, by where they begin, so that a hundred thousand of them are soon looked through.
///
/// They are kept in runs of a hundred or so, each with the furthest end of its claims: a run that ends before a place is
/// passed over as a whole.
struct ClaimIndex {
  struct Entry {
    var claim: Claims.Claim
    var job: String
    var uid: UInt32
    var owner: UInt64
    /// The number of the job.
    var id: UInt64

    /// Those that begin at one place are in the order in which they were taken.
    func isBefore(_ start: UInt64, _ owner: UInt64) -> Bool { (claim.start, self.owner) < (start, owner) }

    /// What somebody may know of the job.
    func name(for reader: UInt32) -> String { reader == uid || reader == 0 ? "job \(job)" : "a job of uid \(uid)" }
  }

  private struct Run {
    /// Ascending by the start of the claim, and then by the owner.
    var entries: [Entry]
    var end: UInt64 = 0
    var writtenEnd: UInt64 = 0
    /// The length of the longest claim, at the least.
    var longest: UInt64 = 0
    /// The highest number of a job, at the least.
    var newest: UInt64 = 0

    init(_ entries: [Entry]) {
      self.entries = entries
      measure()
    }

    mutating func measure() {
      (end, writtenEnd, longest, newest) = (0, 0, 0, 0)
      for index in entries.indices { extend(entries[index]) }
    }

    mutating func extend(_ entry: Entry) {
      let claim = entry.claim
      newest = max(newest, entry.id)
      end = max(end, claim.end)
      if claim.isWrite { writtenEnd = max(writtenEnd, claim.end) }
      longest = max(longest, claim.end - claim.start)
    }

    /// Removes the entry of an owner that begins at a place.
    mutating func remove(_ owner: UInt64, from start: UInt64) {
      let index = index(from: start, owner)
      guard index < entries.count, entries[index].claim.start == start, entries[index].owner == owner else { return }
      let claim = entries.remove(at: index).claim
      // As long as the furthest stays it is right; the longest may be shorter by now, and then a little more is looked at.
      if claim.end == end || claim.end == writtenEnd { measure() }
    }

    /// The first entry that begins at a place or after it; those of owners before one come before it.
    func index(from start: UInt64, _ owner: UInt64 = 0) -> Int { partition(entries.count) { !entries[$0].isBefore(start, owner) } }
  }

  private static let longestRun = 128
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

  /// The run that an entry lies in, or is to lie in.
  private func run(of start: UInt64, _ owner: UInt64) -> Int {
    max(0, Self.partition(runs.count) { runs[$0].entries.first?.isBefore(start, owner + 1) == false } - 1)
  }

  mutating func insert(_ entry: Entry) {
    guard !runs.isEmpty else { return runs.append(Run([entry])) }
    let run = run(of: entry.claim.start, entry.owner)
    let index = runs[run].index(from: entry.claim.start, entry.owner)
    runs[run].entries.insert(entry, at: index)
    runs[run].extend(entry)
    guard runs[run].entries.count > Self.longestRun else { return }
    let half = Run(Array(runs[run].entries[(Self.longestRun / 2)...]))
    runs[run] = Run(Array(runs[run].entries[..<(Self.longestRun / 2)]))
    runs.insert(half, at: run + 1)
  }

  /// Removes the claim of an owner that begins at a place.
  mutating func remove(_ owner: UInt64, from start: UInt64) {
    guard !runs.isEmpty else { return }
    let run = run(of: start, owner)
    runs[run].remove(owner, from: start)
    if runs[run].entries.isEmpty { runs.remove(at: run) }
  }

  /// A claim that a new one can't be beside: they overlap, one of them writes, and it isn't a relative's.
  ///
  /// - Parameters:
  ///   - number: of the claim, for its job's relatives.
  ///   - kinship: of its job.
  func conflict(with claim: Claims.Claim, _ number: Int, _ kinship: inout Kinship, _ lineage: Lineage) -> Entry? {
    for run in runs.indices where runs[run].newest > kinship.cleared(number) {
      guard let first = runs[run].entries.first?.claim.start, first < claim.end else { return nil }
      guard (claim.isWrite ? runs[run].end : runs[run].writtenEnd) > claim.start else { continue }
      // What begins further ahead than the longest claim reaches ends before the place.
      let (earliest, isBelow) = claim.start.subtractingReportingOverflow(runs[run].longest)
      var index = runs[run].index(from: isBelow ? 0 : earliest)
      while index < runs[run].entries.count {
        guard runs[run].entries[index].claim.start < claim.end else { return nil }
        if runs[run].entries[index].claim.end > claim.start, runs[run].entries[index].claim.isWrite || claim.isWrite,
          !kinship.isRelated(to: runs[run].entries[index].id, about: number, lineage)
        {
          return runs[run].entries[index]
        }
        index += 1
      }
    }
    return nil
  }

  /// Whether all claims are of one owner.
  func isAlone(_ owner: UInt64) -> Bool { runs.allSatisfy { $0.entries.allSatisfy { $0.owner == owner } } }
}
