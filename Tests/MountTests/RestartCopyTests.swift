import FaultKit
import Glibc
import Testing

@Suite("A restart in the middle of a copy")
struct RestartCopyTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let departure: Departure
    let destinations: Int
    var testDescription: String { "\(departure), \(destinations)" }
  }

  static let cases = Departure.allCases.flatMap { way in [1, 3].map { Case(departure: way, destinations: $0) } }

  @Test("It goes on where it was: nothing that was durable is written again, and nothing read that no destination lacks", arguments: cases)
  func goesOn(at moment: Case) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let half = try Half(bench, destinations: moment.destinations)
      let untouched = try half.written
      let job = try mount.daemon.submit(half.record)
      let lasting = try Lasting(job)
      try mount.awaitCheckpoint()
      try mount.stop(moment.departure)
      try half.settle()
      let (marks, read) = (try half.written, try half.source.requests.count)

      // What the next daemon found is looked at before it copies more.
      try half.source.hold(.read)
      try mount.start()
      #expect(try Lasting(mount.job()) == lasting)
      let lacking = try half.destinations.indices.map { try mount.job().lacking($0) }
      for (index, lacking) in lacking.enumerated() {
        let durable = Half.count - lacking.count * 512
        #expect(durable > 0 && durable < Half.count)
        if moment.departure == .terminated { #expect(durable == marks[index] - untouched[index], "what was written is durable") }
      }
      try half.source.open(.read)
      #expect(try mount.job().control("rate=max") == "" && mount.job().result() == "ok")
      let status = try mount.job().status()
      #expect(status["attempt"] == "1" && status.number("bytes_durable") == Half.count && status["write_err"] == "0x0", "\(status)")
      for index in half.destinations.indices { #expect(try half.written[index] - marks[index] == lacking[index].count * 512) }
      let again = try half.source.sectors(.read, since: read)
      try half.check()
      let needed = Set(lacking.joined())
      #expect(Set(again).isSuperset(of: needed) && Set(again).isSubset(of: blocks(needed)) && Set(again).count == again.count)
    }
  }

  @Test("It is taken away three times and ends whole, and what ends in peace writes every byte once", arguments: Departure.allCases)
  func again(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let half = try Half(bench)
      let untouched = try half.written[0]
      let lasting = try Lasting(try mount.daemon.submit(half.record))
      var written = 0
      for _ in 0..<3 {
        try mount.awaitCheckpoint()
        try mount.restart(departure)
        let durable = try mount.job().status().number("bytes_durable")
        #expect(durable >= written, "what was durable stays so")
        written = durable
      }
      #expect(try mount.job().control("rate=max") == "" && mount.job().result() == "ok" && Lasting(mount.job()) == lasting)
      try half.check()
      let count = try half.written[0] - untouched
      #expect(departure == .killed ? count >= Half.count : count == Half.count, "\(count)")
    }
  }
}
