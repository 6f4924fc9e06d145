import FaultKit
import Glibc
import KCopy
import Testing

@testable import CopyJobs

@Suite("Records without a source, of clients, and with the engine's options")
struct ZeroTests {
  @Test("op=zero fills each destination's region, and nothing beside it; its spec makes the same job again")
  func zero() throws {
    try withCounter { (counter) throws in
      let before = Pattern.bytes(10_000, seed: 2)
      let (first, second) = (try counter.bench.file("first", before), try counter.bench.file("second", before))
      let record = "op=zero to=\(first)@1K+2000B to=\(second)@0+2000B errors=stop order=sequential retries=3 rate=1G priority=2"
      _ = try counter.submission("a").write(record + "\n").count()
      let job = try counter.finished("a")
      #expect(job.snapshot.state == .done && job.facts.operation == "zero" && job.plan.bytesTotal == 2000)
      #expect(job.plan.destinations.map(\.mapStart) == [1024, 0])
      let zeroes = [UInt8](repeating: 0, count: 2000)
      #expect(try Pattern.difference(Files.read(first), from: Pattern.patched(before, at: 1024, with: zeroes)) == nil)
      #expect(try Pattern.difference(Files.read(second), from: Pattern.patched(before, at: 0, with: zeroes)) == nil)
      #expect(
        job.plan.spec == "to=\(first)@1024B+2000B to=\(second)@0+2000B op=zero errors=stop order=sequential retries=3 "
          + "rate=1073741824B priority=2")
      _ = try counter.submission("b").write(job.plan.spec + "\n").count()
      #expect(try counter.finished("b").plan.spec == job.plan.spec)
    }
  }

  @Test("op=zero makes a file where create=yes says so, as long as its region's end")
  func created() throws {
    try withCounter { (counter) throws in
      _ = try counter.submission("a").write("op=zero to=\(counter.path("new"))@100B+50B create=yes\n").count()
      #expect(try counter.finished("a").snapshot.state == .done)
      #expect(try Files.read(counter.path("new")) == [UInt8](repeating: 0, count: 150))
    }
  }

  @Test("Regions that are not all as long, or overlap, are EINVAL where they stand, and nothing is left")
  func refused() throws {
    try withCounter { (counter) throws in
      let file = try counter.bench.file("file", [1, 2, 3])
      let fresh = counter.path("fresh")
      let records = [
        "op=zero create=yes to=\(fresh)@0+10B to=\(file)@0+20B", "op=zero create=yes to=\(fresh)@0+10B to=\(fresh)@5B+10B",
      ]
      for record in records {
        let refusal = try counter.submission("a").write(record + "\n").refusal()
        #expect(refusal.errno == EINVAL && refusal.column > record.utf8.count - fresh.utf8.count - 15, "\(refusal)")
        #expect(!Files.exists(fresh) && counter.jobs.count == 0)
        #expect(try Files.read(file) == [1, 2, 3])
      }
    }
  }

  @Test("The map of a copy begins where its source's region does")
  func mapStart() throws {
    try withCounter { (counter) throws in
      _ = try counter.submission("a").write("from=\(counter.source)@1K+2K to=\(counter.path("b"))@3K create=yes\n").count()
      let job = try counter.finished("a")
      #expect(job.plan.destinations.map(\.mapStart) == [1024])
    }
  }

  @Test("A record's keys become the engine's options")
  func options() throws {
    func options(_ keys: String) throws -> String {
      let record = try JobRecord.parse(Array("from=/a to=/b \(keys)".utf8), allowingName: false)
      let options = record.options
      return "\(options.errors) \(options.order) \(options.retries) \(options.rate ?? 0) \(options.priority) \(options.flushes) "
        + "\(options.fillsTailWithZeroes)"
    }
    #expect(try options("") == "drop any 0 0 5 true false")
    #expect(try options("errors=stop order=sequential retries=7 rate=2K priority=0 tail=zero") == "stop sequential 7 2048 0 true true")
    #expect(try options("errors=ignore sync=none priority=9 rate=max") == "ignore any 0 0 9 false false")
    #expect(try options("errors=pause") == "pause any 0 0 5 true false")
  }

  @Test("clone=auto is accepted")
  func clone() throws {
    try withCounter { (counter) throws in
      _ = try counter.submission("a").write(String(counter.record("a").dropLast()) + " clone=auto\n").count()
      #expect(try counter.finished("a").snapshot.state == .done)
    }
  }

  @Test("A client that isn't there is ENOENT, a full one ENOBUFS: each at its key, and nothing is left")
  func client() throws {
    try withCounter { (counter) throws in
      let other = try counter.jobs.clients.make("other", uid: geteuid(), gid: getegid())
      try other.change(.mostJobs(1))
      func refusal(_ client: String) throws -> Refusal {
        let record = String(counter.record("a").dropLast()) + " client=\(client)\n"
        let refusal = try counter.submission("a").write(record).refusal()
        #expect(refusal.column == record.utf8.count - "client=\(client)\n".utf8.count)
        #expect(!Files.exists(counter.path("a")) && counter.jobs.count == 0)
        return refusal
      }
      #expect(try refusal("nobody").errno == ENOENT)
      let ticket = try other.enter(for: 0)
      #expect(try refusal("other").errno == ENOBUFS)
      other.leave(ticket)
      _ = try counter.submission("a").write(String(counter.record("a").dropLast()) + " client=other\n").count()
      let job = try counter.finished("a")
      #expect(job.snapshot.state == .done && job.facts.client == "other" && job.plan.spec.contains(" client=other"))
      #expect(other.jobs == 0)
      try counter.jobs.clients.remove("other")
    }
  }
  @Test("What the engine refuses after all never was a job", arguments: ["from=SOURCE to=NEW", "op=zero to=NEW@0+1K"])
  func engine(record: String) throws {
    try withCounter { (counter) throws in
      let other = try counter.jobs.clients.make("other", uid: geteuid(), gid: getegid())
      other.engine.destroy()
      let text = record.replacing("SOURCE", with: counter.source).replacing("NEW", with: counter.path("new"))
      let refusal = try counter.submission("a").write("\(text) create=yes client=other\n").refusal()
      #expect(refusal.errno == ESHUTDOWN && refusal.text.hasPrefix("the engine refuses it: "), "\(refusal)")
      #expect(!Files.exists(counter.path("new")) && counter.jobs.count == 0 && other.jobs == 0)
      #expect(counter.jobs.stop(within: 5) == 0)
    }
  }
}
