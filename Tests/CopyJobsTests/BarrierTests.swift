import FaultKit
import Glibc
import KCopy
import Locking
import Testing

@testable import CopyJobs

@Suite("op=none: a barrier")
struct BarrierTests {
  /// Stands for a job that runs until the test lets it end.
  private static func hold(_ counter: Counter) throws -> (client: CopyClient, ticket: UInt64) {
    let client = try #require(counter.jobs.clients["default"])
    return (client, try client.enter(for: 0))
  }

  private static func submit(_ counter: Counter, _ name: String, _ more: String = "") throws -> Job {
    _ = try counter.submission(name).write("op=none\(more)\n").count()
    return try #require(counter.jobs.job(named: name))
  }

  @Test("With no job before it it is done at once, and has copied nothing")
  func alone() throws {
    try withCounter { (counter) throws in
      _ = try Self.submit(counter, "a", " context=x")
      let job = try counter.finished("a")
      let snapshot = job.snapshot
      #expect(snapshot.state == .done && job.resultErrno == 0 && job.facts.operation == "none")
      #expect(job.plan.bytesTotal == 0 && job.plan.destinations.isEmpty && job.plan.spec == "op=none context=x")
      #expect(snapshot.startedAt > 0 && snapshot.startedAt <= snapshot.finishedAt)
      try eventually("its client has no job") { counter.jobs.clients["default"]?.jobs == 0 }
      // Its spec makes it again.
      _ = try counter.submission("b").write(job.plan.spec + "\n").count()
      #expect(try counter.finished("b").plan.spec == job.plan.spec)
    }
  }

  @Test("It is queued until every job before it is final, in whatever order they end; those after it don't hold it up")
  func turn() throws {
    try withCounter { (counter) throws in
      let (client, first) = try Self.hold(counter)
      let second = try client.enter(for: 0)
      let barrier = try Self.submit(counter, "barrier")
      let later = try client.enter(for: 0)
      let next = try Self.submit(counter, "next")
      client.leave(second)
      pause(.milliseconds(50))
      #expect(barrier.snapshot.state == .queued && barrier.snapshot.phase == .none)
      client.leave(first)
      #expect(try counter.finished("barrier").snapshot.state == .done)
      #expect(next.snapshot.state == .queued)
      client.leave(later)
      #expect(try counter.finished("next").snapshot.state == .done)
    }
  }

  @Test("Another client's jobs don't hold it up")
  func clients() throws {
    try withCounter { (counter) throws in
      let (client, ticket) = try Self.hold(counter)
      _ = try counter.jobs.clients.make("other", uid: geteuid(), gid: getegid())
      let job = try Self.submit(counter, "a", " client=other")
      #expect(try counter.finished("a").snapshot.state == .done)
      #expect(job.facts.client == "other" && job.plan.spec == "op=none client=other")
      client.leave(ticket)
    }
  }

  @Test("Cancelled while it waits it is cancelled, and the next has its turn as if it had not been there")
  func cancelled() throws {
    try withCounter { (counter) throws in
      let (client, ticket) = try Self.hold(counter)
      let job = try Self.submit(counter, "a")
      let next = try Self.submit(counter, "b")
      try job.obey(.cancel)
      #expect(try counter.finished("a").resultErrno == ECANCELED)
      #expect(next.snapshot.state == .queued)
      client.leave(ticket)
      #expect(try counter.finished("b").snapshot.state == .done && job.snapshot.state == .cancelled)
    }
  }

  @Test("Paused it lets its turn pass, and holds up the next; resumed it is done")
  func paused() throws {
    try withCounter { (counter) throws in
      let (client, ticket) = try Self.hold(counter)
      let job = try Self.submit(counter, "a")
      let next = try Self.submit(counter, "b")
      for command in [.pause, .resume, .pause, .rate(5), .priority(1)] as [JobCommand] { try job.obey(command) }
      #expect(job.snapshot.state == .paused && job.snapshot.pause == .user)
      client.leave(ticket)
      pause(.milliseconds(50))
      #expect(job.snapshot.state == .paused && next.snapshot.state == .queued)
      try job.obey(.resume)
      #expect(try counter.finished("a").snapshot.state == .done)
      #expect(try counter.finished("b").snapshot.state == .done)
    }
  }

  @Test("A service that stops cancels it")
  func stopped() throws {
    try withCounter { (counter) throws in
      _ = try Self.hold(counter)
      let jobs = try (0..<3).map { try Self.submit(counter, "job\($0)") }
      #expect(counter.jobs.stop(within: 5) == 0)
      #expect(jobs.allSatisfy { $0.snapshot.state == .cancelled })
    }
  }

  @Test("Thousands in a row have their turns one after the other, on no deeper a stack than one")
  func many() throws {
    try withCounter(mostJobs: 5000) { (counter) throws in
      let (client, ticket) = try Self.hold(counter)
      let submission = counter.submission()
      for _ in 0..<30 {
        let records = String(repeating: "op=none\n", count: 100)
        #expect(try submission.write(records).count() == records.utf8.count)
      }
      #expect(client.jobs == 3001)
      client.leave(ticket)
      try eventually(within: .seconds(60), "all are final") { client.jobs == 0 }
      let jobs = counter.jobs.jobs
      #expect(jobs.count == 3000 && jobs.allSatisfy { $0.snapshot.state == .done })
      #expect(jobs.map(\.snapshot.finishedAt) == jobs.map(\.snapshot.finishedAt).sorted())
    }
  }
}
