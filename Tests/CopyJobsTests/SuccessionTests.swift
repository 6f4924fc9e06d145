import FaultKit
import Glibc
import Journal
import Testing

@testable import CopyJobs

@Suite("Jobs that others come after, and that are gone")
struct SuccessionTests {
  @Test("How one ended that was removed is known for as long as a job is there that comes after it")
  func held() throws {
    let succession = Succession(try Journal(directory: nil))
    var (first, second): (Predecessors?, Predecessors?) = (succession.hold([3, 4]), succession.hold([4]))
    #expect(first?.ids == [3, 4] && first?.kept == "3,4" && second?.kept == "4")
    for (id, end) in [(2, .done), (3, .done), (4, .failed)] as [(UInt64, JobState)] { succession.removed(id, end) }
    #expect(succession.end(of: 2) == nil, "nobody comes after it")
    #expect(succession.end(of: 3) == .done && succession.end(of: 4) == .failed)
    first = nil
    #expect(succession.end(of: 3) == nil && succession.end(of: 4) == .failed)
    #expect(succession.rows == [EndRow(id: 4, state: "failed")])
    second = nil
    #expect(succession.rows.isEmpty)
  }

  @Test("What an earlier daemon has kept is taken over where somebody asks, and what no daemon writes is refused")
  func restored() throws {
    let succession = Succession(try Journal(directory: nil))
    let predecessors = succession.hold([3])
    try succession.restore([EndRow(id: 3, state: "cancelled"), EndRow(id: 5, state: "done")])
    #expect(succession.rows == [EndRow(id: 3, state: "cancelled")] && predecessors.ids == [3])
    for state in ["queued", "", "gone"] {
      #expect(throws: Refusal.self) { try succession.restore([EndRow(id: 3, state: state)]) }
    }
  }

  @Test("The numbers of a row are lower than its own")
  func numbers() throws {
    #expect(try Predecessors.ids(kept: "", of: 7).isEmpty)
    #expect(try Predecessors.ids(kept: "5,6", of: 7) == [5, 6])
    for text in ["7", "x", "5,,6", ",", "-1", "5 6", "99999999999999999999"] {
      #expect(throws: Refusal(errno: EINVAL, column: 0, text: "it comes after the jobs \"\(text)\"")) {
        try Predecessors.ids(kept: text, of: 7)
      }
    }
  }

  @Test("A service that stops cancels those that wait, each once")
  func stopped() throws {
    try withCounter { (counter) throws in
      let ticket = try #require(counter.jobs.clients["default"]).enter(for: 0)
      #expect(ticket == 1)
      let batch = "op=none name=a\nop=none name=b after=a\n" + counter.record("copy", " name=c after=b")
      _ = try counter.submission().write(batch).count()
      #expect(counter.jobs.stop(within: 5) == 0)
      #expect(counter.jobs.jobs.count == 3 && counter.jobs.jobs.allSatisfy { $0.snapshot.state.isFinal })
      #expect(counter.jobs.job(named: "a")?.snapshot.state == .cancelled)
    }
  }
}
