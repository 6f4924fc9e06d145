import Testing

@testable import KCopy

/// A source as the steps of a salvage see it.
private struct Patient {
  static let block: UInt64 = 512
  let count: UInt64
  /// Numbers of blocks.
  let bad: Set<UInt64>
  var salvage: Salvage
  /// How often each block failed by itself, and the long reads that failed, in their order.
  var failures: [UInt64: Int] = [:]
  var longFailures: [Range<UInt64>] = []
  var reads: [Range<UInt64>] = []
  var had: Set<UInt64> = []
  var givenUp: Set<UInt64> = []

  init(blocks: UInt64, bad: Set<UInt64>, retries: Int) {
    count = blocks * Self.block
    self.bad = bad
    salvage = Salvage(count: count, retries: retries)
  }

  private func blocks(_ range: Range<UInt64>) -> Range<UInt64> { range.lowerBound / Self.block..<range.upperBound / Self.block }

  private mutating func isRead(_ range: Range<UInt64>) -> Bool {
    reads.append(range)
    return bad.isDisjoint(with: blocks(range))
  }

  /// The copy itself, a piece at a time.
  mutating func copy(longest: UInt64 = 1 << 20) {
    var cursor: UInt64 = 0
    while cursor < count {
      let range = cursor..<min(cursor + min(longest, UInt64(salvage.longest(at: cursor))), count)
      cursor = range.upperBound
      if isRead(range) {
        salvage.read(range)
        had.formUnion(blocks(range))
      } else {
        // A piece of one block has failed by itself.
        let isBlock = range.count == Int(Self.block) && !salvage.isGivenUp(1)
        if isBlock { failures[range.lowerBound / Self.block, default: 0] += 1 } else { longFailures.append(range) }
        cursor = salvage.failed(range, isBlock: isBlock, cursor: cursor, end: count)
      }
    }
  }

  /// What comes behind it.
  ///
  /// - Returns: the passes that there were.
  mutating func finish() -> [Salvage.Pass] {
    var passes: [Salvage.Pass] = []
    while let step = salvage.next() {
      if passes.last != salvage.pass { passes.append(salvage.pass) }
      guard step.isByBlock else {
        if isRead(step.range) {
          had.formUnion(blocks(step.range))
          salvage.resolve(step.range)
        } else {
          longFailures.append(step.range)
          salvage.failed(step)
        }
        continue
      }
      var (good, failed): ([Range<UInt64>], [Range<UInt64>]) = ([], [])
      let numbers = Array(blocks(step.range))
      for number in step.isDescending ? numbers.reversed() : numbers {
        let range = number * Self.block..<(number + 1) * Self.block
        if isRead(range) {
          had.insert(number)
          good.append(range)
        } else {
          failures[number, default: 0] += 1
          failed.append(range)
          if salvage.isGivenUp(step.tries) { givenUp.insert(number) }
          if step.endsAtBad { break }
        }
      }
      salvage.took(step, good: good.sorted { $0.lowerBound < $1.lowerBound }, bad: failed.sorted { $0.lowerBound < $1.lowerBound })
    }
    return passes
  }
}

@Suite("The order in which bad areas are read")
struct SalvageTests {
  @Test(
    "All that can be read is had, each bad block fails by itself once and once for each retry, whatever is bad", arguments: [0, 1, 2, 5])
  func complete(_ retries: Int) {
    var generator = SystemRandomNumberGenerator()
    for round in 0..<60 {
      let blocks = UInt64.random(in: 1...20_000, using: &generator)
      var bad: Set<UInt64> = []
      for _ in 0..<Int.random(in: 0...8, using: &generator) {
        let start = UInt64.random(in: 0..<blocks, using: &generator)
        let length = ([1, 1, 3, 200, 3000] as [UInt64]).randomElement(using: &generator) ?? 1
        bad.formUnion(start..<min(start + length, blocks))
      }
      var patient = Patient(blocks: blocks, bad: bad, retries: retries)
      patient.copy()
      _ = patient.finish()
      #expect(patient.had == Set(0..<blocks).subtracting(bad), "round \(round)")
      #expect(patient.givenUp == bad && patient.salvage.areas.isEmpty)
      #expect(patient.failures.values.allSatisfy { $0 == 1 + retries } && patient.failures.count == bad.count)
      // In each 64 KiB where something is bad, which is what ddrescue reads at a time, one long read fails at most.
      let clusters = Set(bad.map { $0 / 128 }).count
      #expect(patient.longFailures.count <= clusters, "\(patient.longFailures)")
    }
  }

  @Test("What reads well is read first: the copy passes over what is bad, and each pass is behind the one before")
  func order() {
    // 1,000 blocks in the middle of 64 MiB.
    let bad = Set<UInt64>(60_000..<61_000).union([100_000])
    var patient = Patient(blocks: 131_072, bad: bad, retries: 2)
    patient.copy()
    // So far a few reads have failed, and only what is near to something bad is not there.
    #expect(patient.longFailures.count <= 4)
    #expect(patient.had.count > 131_072 - 4_096)
    let (failed, read) = (patient.longFailures.count, patient.reads.count)
    let passes = patient.finish()
    #expect(passes == [.returning, .sweeping, .trimming, .scraping, .retrying(1), .retrying(2)])
    // Coming back it reads down to what is bad, from the far end on.
    let back = patient.reads[read...].prefix { patient.bad.isDisjoint(with: $0.lowerBound / 512..<$0.upperBound / 512) }
    #expect(!back.isEmpty && zip(back, back.dropFirst()).allSatisfy { $0.lowerBound >= $1.upperBound })
    #expect(patient.longFailures.count > failed)
  }

  @Test("After an error pieces are short, and long again when many went well; who asked for retries begins with short ones")
  func lengths() {
    var salvage = Salvage(count: 1 << 40, retries: 0)
    #expect(salvage.longest(at: 0) == .max)
    _ = salvage.failed(0..<(1 << 20), isBlock: false, cursor: 1 << 20, end: 1 << 40)
    var lengths: [Int] = []
    var at: UInt64 = 1 << 30
    for _ in 0..<5000 {
      let length = min(salvage.longest(at: at), 1 << 20)
      if lengths.last != length { lengths.append(length) }
      salvage.read(at..<at + UInt64(length))
      at += UInt64(length)
    }
    #expect(lengths == [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20])
    #expect(Salvage(count: 1 << 40, retries: 1).longest(at: 4096) == 60 << 10)
  }
}
