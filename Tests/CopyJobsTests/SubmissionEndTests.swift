import FaultKit
import Glibc
import Testing

@testable import CopyJobs

@Suite("Records that end otherwise than by a newline, and the limits of a service")
struct SubmissionEndTests {
  @Test("fsync completes a record; without one it has nothing to do")
  func synchronize() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission()
      #expect(try submission.synchronize().count() == 0)
      let record = String(counter.record("a").dropLast())
      #expect(try submission.write(record).count() == record.utf8.count)
      #expect(try submission.synchronize().count() == 0)
      #expect(submission.names == "1\n")
      #expect(try submission.write("form=/dev/sda").count() > 0)
      let refusal = try submission.synchronize().refusal()
      #expect(refusal.errno == EINVAL)
    }
  }

  @Test("A close in the middle of a record is EINVAL and noted once; a close after a newline is not")
  func unfinished() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission("mine")
      #expect(submission.closesUnfinished(byThread: getpid()) == nil)
      _ = submission.write("from=\(counter.source)")
      // A child that inherited the descriptor is not told, and nothing is noted for it.
      let child = try Command("sleep", ["60"]).start()
      #expect(submission.closesUnfinished(byThread: child.pid) == nil)
      try child.end()
      #expect(counter.jobs.refusals.entries(for: geteuid()).isEmpty)
      let expected = "the record has no newline at its end, so it may be half of one"
      for _ in 0..<2 { #expect(submission.closesUnfinished(byThread: getpid())?.text == expected) }
      #expect(submission.closesUnfinished(byThread: nil)?.errno == EINVAL)
      let entries = counter.jobs.refusals.entries(for: geteuid())
      #expect(entries.map(\.record) == ["from=\(counter.source)"] && entries.map(\.job) == ["mine"])
      #expect(counter.jobs.count == 0)

      let whole = counter.submission("other")
      #expect(try whole.write(counter.record("a")).count() > 0)
      #expect(whole.closesUnfinished(byThread: getpid()) == nil)
    }
  }

  @Test("A record over 64 KiB is E2BIG as soon as that is known, and its rest is never taken for a record")
  func tooLong() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission()
      let long = "context=" + String(repeating: "x", count: 70_000)
      #expect(try submission.write(long).refusal().errno == E2BIG)
      // The rest of it up to its newline is swallowed.
      let rest = "xxx \(counter.record("a"))"
      #expect(try submission.write(rest).count() == rest.utf8.count)
      #expect(counter.jobs.count == 0)
      #expect(try submission.write(counter.record("a")).count() > 0)
      #expect(counter.jobs.count == 1)
    }
  }

  @Test("At the limit of jobs a record is EDQUOT, until a final job is removed")
  func limit() throws {
    try withCounter(mostJobs: 2) { (counter) throws in
      let submission = counter.submission()
      let good = counter.record("a") + counter.record("b")
      #expect(try submission.write(good + counter.record("c")).count() == good.utf8.count)
      #expect(try submission.write(counter.record("c")).refusal().errno == EDQUOT)
      #expect(!Files.exists(counter.path("c")))
      try counter.jobs.remove(try counter.finished("1"))
      #expect(try submission.write(counter.record("c")).count() > 0)
    }
  }

  @Test("A service that stops takes no more records")
  func stopping() throws {
    try withCounter { (counter) throws in
      #expect(counter.jobs.stop(within: 5) == 0)
      #expect(try counter.submission("mine").write(counter.record("a")).refusal().errno == ESHUTDOWN)
      #expect(!Files.exists(counter.path("a")) && counter.jobs.count == 0)
    }
  }

  @Test("What an unfinished job writes is EBUSY for another record, with its name; once it is final it is free")
  func claims() throws {
    try withCounter { (counter) throws in
      let (first, second) = (counter.submission("early"), counter.submission("late"))
      let answer = Answer(held: true)
      _ = first.write(counter.record("a"), answer)
      try eventually("the record is decided") { answer.isAsked }
      let record = "from=\(counter.source) to=\(counter.path("a"))\n"
      let refusal = try second.write(record).refusal()
      #expect(refusal.errno == EBUSY && refusal.text == "job early writes to this region of \(counter.path("a"))")
      #expect(refusal.column == "from=\(counter.source) to=".utf8.count)
      answer.open()
      #expect(try answer.count() > 0)
      _ = try counter.finished("early")
      // A child that another test is starting may hold a copy of the file's lock until its exec.
      try eventually("the record is accepted") {
        do {
          return try second.write(record).count() > 0
        } catch let refusal as Refusal where refusal.text.contains("another program") {
          return false
        }
      }
      #expect(try counter.finished("late").snapshot.state == .done)
    }
  }
}
