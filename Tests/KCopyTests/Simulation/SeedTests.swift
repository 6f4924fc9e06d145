import Glibc
import KCopy
import Testing

/// The whole engine on simulated devices and virtual time, judged by a model.
///
/// `KCOPY_SEEDS=N` changes how many seeds there are; `KCOPY_SEED=N` runs that one alone, and prints all that happens.
@Suite("The engine in a simulated world")
struct SeedTests {
  /// A part of the seeds, so that all cores have some.
  struct Block: Sendable, CustomTestStringConvertible {
    let seeds: Range<UInt64>
    var testDescription: String { "seeds \(seeds.lowerBound) to \(seeds.upperBound - 1)" }
  }

  static let only = number("KCOPY_SEED")
  static let count = number("KCOPY_SEEDS") ?? 10_000

  private static func number(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }

  static let blocks: [Block] = {
    if let only { return [Block(seeds: only..<only + 1)] }
    let parts: UInt64 = 20
    return (0..<parts).map { Block(seeds: $0 * count / parts..<($0 + 1) * count / parts) }.filter { !$0.seeds.isEmpty }
  }()

  @Test("10,000 seeds: right bytes, right bits, one notification, whatever the devices do", arguments: blocks)
  func seeds(_ block: Block) throws {
    var (checkpoints, suspended, resumed, verified, differed) = (0, 0, 0, 0, 0)
    for seed in block.seeds {
      let outcome = try Rehearsal.run(ScenarioMaker.scenario(seed), isLogging: Self.only != nil)
      for complaint in outcome.complaints {
        Issue.record("seed \(seed): \(complaint)\nAlone: KCOPY_SEED=\(seed) swift test --disable-xctest --filter SeedTests")
      }
      checkpoints += outcome.copies.count { !$0.checkpoints.isEmpty }
      suspended += outcome.copies.count { $0.notification.wasSuspended }
      verified += outcome.copies.count { $0.notification.isComplete && $0.readBacks.contains { $0.bytes > 0 } }
      differed += outcome.copies.count { $0.progress.destinations.contains { $0.error?.errno == EILSEQ && $0.error?.step == .verify } }
      resumed += outcome.copies.count { $0.isResumed && $0.notification.isComplete }
    }
    // What no seed comes to they prove nothing of.
    guard block.seeds.count >= 500 else { return }
    #expect(checkpoints >= 20 && suspended >= 20 && resumed >= 20, "\(checkpoints), \(suspended), \(resumed)")
    #expect(verified >= 20 && differed >= 1, "\(verified), \(differed)")
  }
}
