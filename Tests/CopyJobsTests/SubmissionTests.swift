import FaultKit
import Glibc
import Testing

@testable import CopyJobs

@Suite("Records on their way from a write to a job")
struct SubmissionTests {
  @Test("A record becomes a job with the write that completes it, however many writes it came in")
  func partial() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission("nightly")
      let record = counter.record("copy")
      for byte in record.dropLast() { #expect(try submission.write(String(byte)).count() == 1) }
      #expect(counter.jobs.count == 0 && !submission.hasJob)
      #expect(try submission.write("\n").count() == 1)
      #expect(submission.hasJob && submission.names.isEmpty)
      #expect(try counter.finished("nightly").snapshot.state == .done)
      #expect(try Files.read(counter.path("copy")) == Files.read(counter.source))
    }
  }

  @Test("Of many records in one write each becomes a job, and each gets a name to read back, in single bytes too")
  func batch() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission()
      let text = counter.record("a") + counter.record("b", " name=mine") + "# no record\n" + counter.record("c") + "from="
      #expect(try submission.write(text).count() == text.utf8.count)
      var names: [UInt8] = []
      while true {
        let byte = submission.takeAnswers(1)
        if byte.isEmpty { break }
        #expect(byte.count == 1)
        names += byte
      }
      #expect(String(decoding: names, as: UTF8.self) == "1\nmine\n3\n")
      for name in ["1", "mine", "3"] { #expect(try counter.finished(name).snapshot.state == .done) }
      // The beginning of the next record is still there.
      #expect(try submission.write("\(counter.source) to=\(counter.path("d")) create=yes\n").count() > 0)
      #expect(submission.names == "4\n")
    }
  }

  @Test("The good records before a bad one stand and are counted; the rest, written again, gets the errno")
  func goodBeforeBad() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission()
      let good = counter.record("a") + "\n# comment\n" + counter.record("b")
      let rest = "form=/dev/sda\n" + counter.record("c")
      #expect(try submission.write(good + rest).count() == good.utf8.count)
      #expect(counter.jobs.count == 2 && submission.names == "1\n2\n")
      #expect(counter.jobs.refusals.entries(for: geteuid()).isEmpty)

      let refusal = try submission.write(rest).refusal()
      #expect(refusal == Refusal(errno: EINVAL, column: 0, text: "unknown key \"form\", did you mean \"from\"?"))
      let entries = counter.jobs.refusals.entries(for: geteuid())
      #expect(entries.map(\.record) == ["form=/dev/sda"] && entries.map(\.refusal) == [refusal] && entries.map(\.pid) == [getpid()])
      // What stood behind the bad one was in the write that failed.
      #expect(counter.jobs.count == 2 && submission.names.isEmpty && !Files.exists(counter.path("c")))
      #expect(try submission.write(counter.record("c")).count() > 0)
      #expect(counter.jobs.count == 3)
    }
  }

  @Test("A refused record leaves nothing: no job, no file, no claim, no descriptor, and its name is free")
  func refused() throws {
    try withCounter { (counter) throws in
      let (first, second) = (counter.path("first"), counter.path("second"))
      let record = "from=\(counter.source) to=\(first) to=\(second) to=/dev/null create=yes\n"
      let refusal = try counter.submission("mine").write(record).refusal()
      #expect(refusal.errno == EINVAL && refusal.column == record.utf8.count - "/dev/null create=yes\n".utf8.count)
      try checkNothingLeft(counter, of: "mine", [first, second])
      let entry = try #require(counter.jobs.refusals.entries(for: geteuid()).last)
      #expect(entry.job == "mine" && entry.record == String(record.dropLast()))
    }
  }

  @Test("A file that is there keeps its length and its bytes when nobody waits for the record any more")
  func kept() throws {
    try withCounter { (counter) throws in
      let kept = try counter.bench.file("kept", [1, 2, 3])
      let record = "from=\(counter.source) to=\(kept)\n"
      let gone = Answer(gone: true)
      _ = counter.submission("mine").write(record, gone)
      try eventually("the record is undone") { gone.isAsked }
      try checkNothingLeft(counter, of: "mine", [])
      #expect(try Files.read(kept) == [1, 2, 3])
    }
  }

  @Test("When the writer goes away before the answer, all of its batch is undone")
  func abandoned() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission()
      let answer = Answer(held: true)
      _ = submission.write(counter.record("a", " name=mine") + counter.record("b") + "from=", answer)
      try eventually("the record is decided") { answer.isAsked }
      #expect(Files.exists(counter.path("a")) && Files.exists(counter.path("b")))
      submission.abandon(answer.write)
      answer.leave()
      answer.open()
      try checkNothingLeft(counter, of: "mine", [counter.path("a"), counter.path("b")])
      #expect(answer.result == nil && submission.names.isEmpty && counter.jobs.refusals.entries(for: geteuid()).isEmpty)
      // The same descriptor can be used again, and the beginning of a record that came with the batch is gone.
      #expect(try submission.write(counter.record("a")).count() > 0)
    }
  }

  /// Records of a write that copy one page each, from one file to another.
  private func pages(_ counter: Counter, to target: String, _ range: Range<Int>) -> String {
    range.map { "from=\(counter.source)@\(4096 * ($0 % 2))B+4K to=\(target)@\(4096 * $0)B\n" }.joined()
  }

  @Test("Records of one write that name the same paths have them open once between them, and nothing is open after the last")
  func sharedOpens() throws {
    try withCounter { (counter) throws in
      let target = try counter.bench.file("target", [UInt8](repeating: 0, count: 8 * 4096))
      func openWhileDecided(_ records: String) throws -> Int {
        let answer = Answer(held: true)
        _ = counter.submission().write(records, answer)
        try eventually("the records are decided") { answer.isAsked }
        let count = try openFiles(below: counter.bench.disk).count
        answer.open()
        #expect(try answer.count() == records.utf8.count)
        for job in counter.jobs.table.all { #expect(try counter.finished(job.facts.name).snapshot.state == .done) }
        try eventually("nothing is open any more") { try openFiles(below: counter.bench.disk).isEmpty }
        return count
      }
      let single = try openWhileDecided(pages(counter, to: target, 0..<1))
      #expect(try single > 1 && openWhileDecided(pages(counter, to: target, 1..<8)) == single)
      let source = try Files.read(counter.source)
      #expect(try Files.read(target) == (0..<4).flatMap { _ in source[..<8192] })
    }
  }

  @Test("What records of one write share is closed too when a later one of them is refused, or nobody waits for any")
  func sharedUndone() throws {
    try withCounter { (counter) throws in
      let target = try counter.bench.file("target", [UInt8](repeating: 0, count: 8 * 4096))
      let good = pages(counter, to: target, 0..<3)
      #expect(try counter.submission().write(good + pages(counter, to: target, 2..<4)).count() == good.utf8.count)
      for name in ["1", "2", "3"] { #expect(try counter.finished(name).snapshot.state == .done) }
      try eventually("nothing is open any more") { try openFiles(below: counter.bench.disk).isEmpty }
      let gone = Answer(gone: true)
      _ = counter.submission().write(good, gone)
      try eventually("the records are undone") { try gone.isAsked && openFiles(below: counter.bench.disk).isEmpty }
      // Their claims are free.
      #expect(try counter.submission().write(good).count() == good.utf8.count)
    }
  }

  @Test("While one write is being decided another to the same open file is EBUSY, and to another is not")
  func busy() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission()
      let answer = Answer(held: true)
      _ = submission.write(counter.record("a"), answer)
      try eventually("the record is decided") { answer.isAsked }
      let refusal = try submission.write(counter.record("b")).refusal()
      #expect(refusal == Refusal(errno: EBUSY, column: 0, text: "another write to the same open file is being decided"))
      #expect(try submission.synchronize().refusal().errno == EBUSY)
      #expect(try counter.submission().write(counter.record("c")).count() > 0)
      answer.open()
      #expect(try answer.count() == counter.record("a").utf8.count)
      #expect(try submission.write(counter.record("b")).count() > 0)
      #expect(counter.jobs.count == 3)
    }
  }

  @Test("One file in jobs/ is one job: a second record is EBUSY, in the same write as in a later one")
  func second() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission("mine")
      #expect(try submission.write(counter.record("a") + counter.record("b")).count() == counter.record("a").utf8.count)
      #expect(try submission.write(counter.record("b")).refusal().errno == EBUSY)
      #expect(counter.jobs.count == 1 && !Files.exists(counter.path("b")))
      // The name is taken for other open files as well.
      #expect(try counter.submission("mine").write(counter.record("b")).refusal().errno == EBUSY)
      let named = counter.record("b", " name=mine")
      #expect(
        try counter.submission().write(named).refusal()
          == Refusal(errno: EEXIST, column: named.utf8.count - 10, text: "there is a job mine already"))
    }
  }

  @Test("Of two records in one write that want one name the first has it, and nothing is left of the second")
  func twins() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission()
      let (first, second) = (counter.record("a", " name=mine"), counter.record("b", " name=mine"))
      #expect(try submission.write(first + second).count() == first.utf8.count)
      #expect(submission.names == "mine\n" && counter.jobs.count == 1 && !Files.exists(counter.path("b")))
      #expect(try submission.write(second).refusal().errno == EEXIST)
    }
  }

  @Test("Of two open files for one name the first record that is decided has it, and nothing is left of the other")
  func race() throws {
    try withCounter { (counter) throws in
      let (first, second) = (counter.submission("mine"), counter.submission("mine"))
      let answer = Answer(held: true)
      _ = first.write(counter.record("a"), answer)
      try eventually("the record is decided") { answer.isAsked }
      #expect(try second.write(counter.record("b")).refusal().errno == EBUSY)
      #expect(!Files.exists(counter.path("b")) && counter.jobs.job(named: "mine") == nil)
      answer.open()
      #expect(try answer.count() > 0)
      #expect(try counter.finished("mine").plan.destinations.map(\.path) == [counter.path("a")])

      // Who goes away gives the name back.
      let (third, gone) = (counter.submission("other"), Answer(held: true))
      _ = third.write(counter.record("c"), gone)
      try eventually("the record is decided") { gone.isAsked }
      gone.leave()
      gone.open()
      try eventually("the name is free") { try counter.submission("other").write(counter.record("d")).isTaken() }
      #expect(try counter.finished("other").plan.destinations.map(\.path) == [counter.path("d")])
    }
  }

  @Test("A write under other credentials than the opener's is EPERM and adds nothing")
  func credentials() throws {
    try withCounter { (counter) throws in
      let submission = counter.submission("mine")
      let record = counter.record("a")
      #expect(try submission.write(String(record.dropLast(10))).count() == record.utf8.count - 10)
      for (uid, gid) in [(geteuid() + 1, getegid()), (geteuid(), getegid() + 1)] {
        let answer = Answer()
        submission.write(Array("garbage\n".utf8), uid: uid, gid: gid, answer)
        #expect(try answer.refusal().errno == EPERM)
      }
      #expect(try submission.write(String(record.suffix(10))).count() == 10)
      #expect(try counter.finished("mine").snapshot.state == .done)
    }
  }

  @Test("Who opened as another uid than the daemon's, or can't be seen, is refused")
  func caller() throws {
    try withCounter { (counter) throws in
      for (uid, pid) in [(UInt32(1), getpid()), (geteuid(), 0)] {
        let submission = counter.jobs.submission(.jobs, uid: uid, gid: getegid(), pid: pid)
        let answer = Answer()
        submission.write(Array(counter.record("a").utf8), uid: uid, gid: getegid(), answer)
        #expect(try answer.refusal().errno == EPERM)
        #expect(!Files.exists(counter.path("a")) && counter.jobs.refusals.entries(for: uid).last?.uid == uid)
      }
    }
  }

  private func checkNothingLeft(_ counter: Counter, of name: String, _ created: [String]) throws {
    try eventually("what create made is gone") { created.allSatisfy { !Files.exists($0) } }
    try eventually("no descriptor is left") { try openFiles(below: counter.bench.disk).isEmpty }
    #expect(counter.jobs.count == 0 && counter.jobs.job(named: name) == nil)
    // The name and the claims are free: the same record with the same name is accepted.
    let record = "from=\(counter.source) \(created.map { "to=\($0)" }.joined(separator: " ")) create=yes\n"
    guard !created.isEmpty else { return }
    #expect(try counter.submission(name).write(record).count() == record.utf8.count)
    try counter.jobs.remove(try counter.finished(name))
    for path in created { try Files.unlink(path) }
  }
}

/// What this process has open below a directory.
func openFiles(below path: String) throws -> [String] {
  try run("find", "/proc/\(getpid())/fd", "-lname", path + "/*").text.split(separator: "\n").map(String.init)
}
