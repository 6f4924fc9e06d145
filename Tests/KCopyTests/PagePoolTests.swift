import FaultKit
import Testing

@testable import KCopy

@Suite("The pages of a client")
struct PagePoolTests {
  /// The pool as one would write it down: a flag per page, looked at one by one.
  struct Model {
    var isFree: [Bool]

    var runs: [PageRun] {
      var runs: [PageRun] = []
      for page in isFree.indices where isFree[page] {
        if let last = runs.last, last.first + last.count == page {
          runs[runs.count - 1].count += 1
        } else {
          runs.append(PageRun(first: page, count: 1))
        }
      }
      return runs
    }

    /// First fit; in place of a run that isn't there the first of the longest, of 16 pages at least.
    func answer(to wanted: Int) -> PageRun? {
      let runs = runs
      if let fit = runs.first(where: { $0.count >= wanted }) { return PageRun(first: fit.first, count: wanted) }
      guard let longest = runs.map(\.count).max(), longest >= 16 else { return nil }
      return runs.first { $0.count == longest }
    }

    mutating func mark(_ run: PageRun, free: Bool) -> Bool {
      let pages = run.first..<run.first + run.count
      defer { for page in pages { isFree[page] = free } }
      return pages.allSatisfy { isFree[$0] != free }
    }
  }

  @Test(
    "By random takings and returns no page has two owners, and every answer is the one of a simple model",
    arguments: [1, 15, 16, 17, 63, 64, 65, 128, 200, 1000], [1, 2, 3] as [UInt64])
  func random(_ pages: Int, _ seed: UInt64) throws {
    var random = SeededGenerator(seed: seed &+ UInt64(pages) << 8)
    var pool = PagePool(pages: pages)
    var model = Model(isFree: Array(repeating: true, count: pages))
    var owned: [PageRun] = []
    for step in 0..<600 {
      // In turns it gets fuller and emptier.
      let takes = Int.random(in: 0..<10, using: &random) < (step / 60 % 2 == 0 ? 7 : 3)
      if takes || owned.isEmpty {
        let wanted = Int.random(in: 1...max(1, min(pages * 5 / 4, [1, 4, 20, 300].randomElement(using: &random)!)), using: &random)
        let run = pool.take(wanted)
        try #require(run == model.answer(to: wanted), "seed \(seed), step \(step): \(wanted) of \(pages) pages")
        guard let run else { continue }
        #expect(run.count == wanted || run.count >= 16 && run.count < wanted)
        let hadNoOwner = model.mark(run, free: false)
        try #require(hadNoOwner, "seed \(seed), step \(step): \(run) has an owner")
        owned.append(run)
      } else {
        let run = owned.remove(at: Int.random(in: owned.indices, using: &random))
        pool.giveBack(run)
        _ = model.mark(run, free: true)
      }
      try #require(pool.free == model.isFree.count { $0 }, "seed \(seed), step \(step)")
    }
    for run in owned { pool.giveBack(run) }
    #expect(pool.free == pages)
    #expect(pool.take(pages) == PageRun(first: 0, count: pages), "all pages are back, in one run")
  }

  @Test("A run is a range of bytes of the client's memory")
  func bytes() {
    let run = PageRun(first: 3, count: 2)
    #expect(run.offset == 12288 && run.bytes == 8192)
  }

  @Test("A page that is given back twice ends the program")
  func givenBackTwice() async {
    await #expect(processExitsWith: .failure) {
      var pool = PagePool(pages: 8)
      guard let run = pool.take(2) else { return }
      pool.giveBack(run)
      pool.giveBack(run)
    }
  }
}
