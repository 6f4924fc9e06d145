/// In which order a copy that ignores errors reads a source that has bad areas: what reads well first.
///
/// 1. The copy goes on behind what fails, by a step that doubles while it fails again, so that one area costs little time now.
/// 2. What was passed over is read from its far end on, down to what fails, and then the rest of it.
/// 3. Every area that failed is read block by block from its beginning on, up to the first bad block, and from its end on, down to
///    the last one.
/// 4. What lies between those is read block by block.
/// 5. Bad blocks are tried again, as often as was asked for, from the end on and from the beginning on in turn.
///
/// So each bad block fails in one long read, if at all, and then by itself: once, and once for each time that it is tried again.
/// It knows of offsets in the region only, and nothing of who lacks what.
struct Salvage {
  enum Pass: Equatable {
    case copying, returning, sweeping, trimming, scraping
    case retrying(Int)
  }

  /// What to read next.
  struct Step: Equatable {
    enum Order {
      /// At a time: it is good or not.
      case whole
      /// Block by block, up to the first bad one, or down to the last one.
      case upToBad, downToBad
      /// Block by block, whatever they are.
      case up, down
    }

    var range: Range<UInt64>
    var order: Order
    /// How often a block that is bad in it has failed by itself then.
    var tries: Int

    var isByBlock: Bool { order != .whole }
    var isDescending: Bool { order == .downToBad || order == .down }
    var endsAtBad: Bool { order == .upToBad || order == .downToBad }

    func clamped(to piece: Range<UInt64>) -> Step { Step(range: range.clamped(to: piece), order: order, tries: tries) }
  }

  /// The pieces in bad neighbourhoods: so much is read block by block when one fails.
  static let smallest: UInt64 = 64 << 10
  /// Pieces of that length and more are no longer short.
  private static let largest: UInt64 = 1 << 20
  /// So many pieces have to go well before they are twice as long.
  private static let trust = 1024
  private static let longestStep: UInt64 = 1 << 30

  private(set) var areas = UnreadAreas()
  private(set) var pass = Pass.copying
  /// The longest piece that is read while the copy goes on; `.max`: nothing has failed lately.
  private(set) var limit: UInt64
  /// A step is being read.
  var isBusy = false

  private let count: UInt64
  /// Pieces end at multiples of `smallest` behind it.
  private let head: UInt64
  private let retries: Int
  private var wentWell = 0
  /// The last step over something bad, and where it led to.
  private var step: UInt64 = 0
  private var landing: UInt64 = 0
  /// No area that the pass looks for begins before it, or of one that goes down, ends behind it.
  private var cursor: UInt64 = 0

  /// - Parameters:
  ///   - count: the length of the region.
  ///   - head: where its first whole piece begins.
  ///   - retries: who asks for some expects bad areas, and has short pieces from the beginning on.
  init(count: UInt64, head: UInt64 = 0, retries: Int) {
    self.count = count
    self.head = head
    self.retries = retries
    limit = retries > 0 ? Self.smallest : .max
  }

  /// Whether a block that has failed so many times by itself is given up.
  func isGivenUp(_ tries: Int) -> Bool { tries > retries }

  // MARK: While the copy goes on

  /// Whether one piece is read at a time: neighbours that are under way together become one request on their way to the disk, and
  /// fail together.
  var isCareful: Bool { limit != .max }

  /// The longest piece that may begin at an offset, in bytes.
  func longest(at offset: UInt64) -> Int {
    guard isCareful, offset >= head else { return .max }
    return Int(limit - (offset - head) % limit)
  }

  /// A piece was read.
  mutating func read(_ range: Range<UInt64>) {
    if range.lowerBound >= landing { step = 0 }
    guard isCareful else { return }
    wentWell += 1
    guard wentWell >= Self.trust else { return }
    wentWell = 0
    limit = limit < Self.largest ? limit * 2 : .max
  }

  /// A piece failed.
  ///
  /// - Parameters:
  ///   - tries: how often it failed by itself where it is one block.
  ///   - cursor: where the next piece would begin.
  ///   - end: behind the last one.
  /// - Returns: where the next piece begins.
  mutating func failed(_ range: Range<UInt64>, isBlock: Bool, cursor: UInt64, end: UInt64) -> UInt64 {
    areas.set(range, isBlock && !isGivenUp(1) ? .bad(tries: 1) : .failed)
    limit = Self.smallest
    wentWell = 0
    // What was on its way before the last step says nothing of where that led to.
    guard range.lowerBound >= landing, cursor < end else { return cursor }
    step = min(max(step * 2, Self.smallest), max(count / 100, Self.smallest), Self.longestStep)
    landing = min(max(bound(before: cursor + step + 1), cursor), end)
    var at = cursor
    while at < landing {
      let (open, next) = areas.open(at..<landing)
      if let open { areas.set(open, .passed) }
      at = next
    }
    return landing
  }

  // MARK: Afterwards

  /// What to read next; `nil` when there is nothing any more, and the copy goes on as if it had been so.
  mutating func next() -> Step? {
    if pass == .copying { begin(.returning) }
    while !areas.isEmpty {
      if let step = nextOfPass() { return step }
      switch pass {
      case .copying, .returning: begin(.sweeping)
      case .sweeping: begin(.trimming)
      case .trimming: begin(.scraping)
      case .scraping: begin(.retrying(1))
      case .retrying(let number): begin(number < retries ? .retrying(number + 1) : .returning)
      }
    }
    pass = .copying
    (step, landing) = (0, 0)
    return nil
  }

  private mutating func begin(_ pass: Pass) {
    self.pass = pass
    cursor = isDescending ? .max : 0
  }

  private var isDescending: Bool {
    switch pass {
    case .returning: true
    case .retrying(let number): number % 2 == 1
    default: false
    }
  }

  private mutating func nextOfPass() -> Step? {
    switch pass {
    case .copying: return nil
    case .returning: return down({ $0 == .passed }, .whole, tries: 0)
    case .sweeping: return up({ $0 == .passed }, .whole, tries: 0)
    case .trimming:
      guard let area = areas.first(from: cursor, where: { $0 == .failed || $0 == .headed }) else { return nil }
      return area.state == .failed ? up({ $0 == .failed }, .upToBad, tries: 1) : tail(of: area, .downToBad, tries: 1)
    case .scraping: return up({ $0 == .inner }, .up, tries: 1)
    case .retrying(let number):
      let state = UnreadAreas.State.bad(tries: number)
      return isDescending ? down({ $0 == state }, .down, tries: number + 1) : up({ $0 == state }, .up, tries: number + 1)
    }
  }

  /// The piece at the beginning of the next area.
  private mutating func up(_ matches: (UnreadAreas.State) -> Bool, _ order: Step.Order, tries: Int) -> Step? {
    guard let area = areas.first(from: cursor, where: matches) else { return nil }
    cursor = area.range.lowerBound
    return Step(range: cursor..<min(area.range.upperBound, bound(behind: cursor)), order: order, tries: tries)
  }

  /// The piece at the end of the next area before.
  private mutating func down(_ matches: (UnreadAreas.State) -> Bool, _ order: Step.Order, tries: Int) -> Step? {
    guard let area = areas.last(before: cursor, where: matches) else { return nil }
    cursor = area.range.upperBound
    return tail(of: area, order, tries: tries)
  }

  private func tail(of area: UnreadAreas.Area, _ order: Step.Order, tries: Int) -> Step {
    let end = area.range.upperBound
    return Step(range: max(area.range.lowerBound, bound(before: end))..<end, order: order, tries: tries)
  }

  /// The last place before an offset where pieces end.
  private func bound(before offset: UInt64) -> UInt64 {
    offset <= head + 1 ? 0 : head + (offset - 1 - head) / Self.smallest * Self.smallest
  }

  /// The first one behind it.
  private func bound(behind offset: UInt64) -> UInt64 {
    offset < head ? head : head + ((offset - head) / Self.smallest + 1) * Self.smallest
  }

  /// Nobody lacks a range, or what can be had of it is had.
  mutating func resolve(_ range: Range<UInt64>) { areas.set(range, nil) }

  /// A step that was read at a time failed.
  mutating func failed(_ step: Step) {
    // Coming from the far end it has met the bad area: what is left of this one is read later.
    if pass == .returning { cursor = areas.first(from: step.range.lowerBound) { _ in true }?.range.lowerBound ?? 0 }
    areas.set(step.range, .failed)
  }

  /// A step was read block by block, all of it or until that was enough; ranges ascend.
  mutating func took(_ step: Step, good: [Range<UInt64>], bad: [Range<UInt64>]) {
    let area = areas.first(from: step.range.lowerBound) { _ in true }?.range ?? step.range
    for range in good { areas.set(range, nil) }
    for range in bad { areas.set(range, isGivenUp(step.tries) ? nil : .bad(tries: step.tries)) }
    guard let first = bad.first, let last = bad.last else { return }
    if step.order == .upToBad, last.upperBound < area.upperBound { areas.set(last.upperBound..<area.upperBound, .headed) }
    if step.order == .downToBad, area.lowerBound < first.lowerBound { areas.set(area.lowerBound..<first.lowerBound, .inner) }
  }
}
