import FaultKit
import Glibc
import Testing

@Suite("after=: what is refused, and ctl while a job waits")
struct AfterControlTests {
  @Test("A name that no job has is ENOENT, its own and one that is named twice EINVAL, in jobs/, submit and check")
  func names() throws {
    try withDaemon { bench, daemon in
      try daemon.copy("op=none", as: "there")
      for place in ["jobs/own", "submit", "check"] {
        let name = place == "jobs/own" ? "" : " name=own"
        for (value, errno, text) in [
          ("nobody", "ENOENT", "there is no job nobody"), ("there,nobody", "ENOENT", "there is no job nobody"),
          ("own", "EINVAL", "can't come after itself"), ("there,there", "EINVAL", "named twice"), (".draft", "ENOENT", "no job .draft"),
        ] {
          let record = "op=none after=\(value)\(name)\n"
          #expect(try errnoName { try Files.write(daemon.path(place), record, flags: O_RDWR | O_CREAT) } == errno, "\(place): \(record)")
          let refusal = try #require(try daemon.refusals.last)
          let column = refusal.number("column")
          #expect(refusal["error"] == errno && refusal["text"].contains(text), "\(refusal)")
          #expect((8..<8 + "after=\(value)".utf8.count).contains(column), "\(refusal)")
        }
      }
      #expect(try daemon.jobNames == ["there"])
    }
  }

  @Test("In a batch a record can name those before it, and none after it; check answers the same")
  func batch() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", [1, 2, 3])
      let records = (0..<4).map { index in
        "from=\(source) to=\(bench.disk)/copy create=yes name=a\(index)\(index == 0 ? "" : " after=a\(index - 1)")\n"
      }
      func write(_ text: String, to place: String) throws -> (errno: String, answers: [String]) {
        let file = try OpenFile(daemon.path(place), O_RDWR)
        defer { try? file.close() }
        let errno = try errnoName { try file.writeAll(Array(text.utf8)) }
        return (errno, try String(decoding: file.readToEnd(), as: UTF8.self).split(separator: "\n").map(String.init))
      }
      let wrong = try write(records[1] + records[0], to: "submit")
      #expect(wrong.errno == "ENOENT" && wrong.answers.isEmpty)
      #expect(!Files.exists(bench.disk + "/copy"))
      #expect(try write("op=none name=a0\n" + records[1], to: "check").answers.count == 2)
      #expect(try write(records[1], to: "check").errno == "ENOENT", "another write")
      let right = try write(records.joined(), to: "submit")
      #expect(right.errno.isEmpty && right.answers == ["a0", "a1", "a2", "a3"], "\(right)")
      for name in right.answers { #expect(try daemon.job(name).result() == "ok") }
      #expect(try Files.read(bench.disk + "/copy") == [1, 2, 3])
    }
  }

  @Test("check looks at a record as one that comes after what it names")
  func checked() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let record = "from=\(held.source.path) to=\(held.destination.path)"
      #expect(try errnoName { try Files.write(daemon.path("check"), record + "\n", flags: O_RDWR) } == "EBUSY")
      #expect(try errnoName { try Files.write(daemon.path("check"), record + " after=held\n", flags: O_RDWR) } == "")
      try held.letGo()
    }
  }

  @Test("After what they may not read nobody comes; a job that they may read can be anybody's")
  func rights() throws {
    try withSharedDaemon { bench, daemon in
      for (name, umask) in [("open", "022"), ("private", "077")] {
        try shell("umask \(umask); echo op=none > \"$J\"", environment: ["J": daemon.path("jobs/" + name)]).orThrow()
      }
      #expect(try User.alice.submit("op=none after=private", to: daemon) == "EACCES")
      #expect(try User.alice.refusal(daemon).contains("job private may not be read"))
      #expect(try User.alice.submit("op=none after=open", to: daemon) == "taken")
      #expect(try User.alice.result(daemon.job("job")) == "ok")
      #expect(try daemon.submit("op=none after=job,private", as: "root").result() == "ok")
    }
  }

  @Test("A draft comes after others too; a name that no job has is EBADMSG at the rename")
  func draft() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      func rename(_ record: String) throws -> String {
        try Files.write(daemon.path("jobs/.draft"), record + "\n")
        return try errnoName { try Files.rename(daemon.path("jobs/.draft"), to: daemon.path("jobs/drafted")) }
      }
      let record = "from=\(held.destination.path) to=\(bench.disk)/copy create=yes"
      #expect(try rename("\(record) after=nobody") == "EBADMSG")
      #expect(try rename("\(record) after=held") == "")
      let job = daemon.job("drafted")
      try eventually("its paths are open") { try job.value("state") == "queued" && job.status()["phase"] == "" }
      let last = try daemon.submit("from=\(bench.disk)/copy to=\(bench.disk)/copy2 create=yes after=drafted", as: "last")
      try held.letGo()
      #expect(try job.result() == "ok" && last.result() == "ok")
      #expect(try Pattern.difference(Files.read(bench.disk + "/copy2"), from: held.source.contents()) == nil)
    }
  }

  @Test("Cancelled while it waits it is cancelled at once, its devices are free, and those after it fail")
  func cancel() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let stick = try bench.loop()
      let job = try daemon.submit("from=\(held.source.path) to=\(stick.path) after=held", as: "second")
      let last = try daemon.submit("from=\(stick.path) to=\(bench.disk)/copy create=yes after=second", as: "last")
      #expect(try job.control("cancel") == "" && job.result() == "ECANCELED")
      let status = try job.status()
      #expect(status["state"] == "cancelled" && status["error"] == "" && status["dest0_state"] == "cancelled", "\(status)")
      #expect(try job.control("cancel") == "EALREADY" && job.control("pause") == "EINVAL")
      #expect(try last.result() == "ECANCELED" && last.value("state") == "failed")
      try stick.awaitFree()
      // It can be tried again, and waits as before.
      #expect(try job.control("retry") == "" && job.value("state") == "queued")
      try held.letGo()
      #expect(try held.job.value("state") == "done" || held.job.result() == "ok")
      #expect(try job.result() == "ok" && last.control("retry") == "" && last.result() == "ok")
    }
  }

  @Test("Paused while it waits it stays so when those before it are done; rate and priority hold when it begins")
  func pause() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let stick = try bench.loop()
      let job = try daemon.submit("from=\(held.source.path) to=\(stick.path) after=held", as: "second")
      for (line, state) in [
        ("pause", "paused"), ("resume", "queued"), ("resume", "queued"), ("rate=1M", "queued"), ("priority=0", "queued"),
        ("pause", "paused"),
      ] {
        #expect(try job.control(line) == "" && job.value("state") == state, "\(line)")
      }
      #expect(try job.control("retry") == "EINVAL")
      #expect(try job.status()["pause_reason"] == "user")
      let mark = try stick.counters.bytesWritten
      try held.letGo()
      #expect(try held.job.result() == "ok")
      // Another one that comes after the same job is done: it would have begun by then.
      try daemon.copy("op=none after=held client=\(daemon.makeClient("other").name)", as: "third")
      #expect(try job.value("state") == "paused" && stick.counters.bytesWritten == mark)
      #expect(try job.control("resume") == "" && job.result() == "ok")
      let status = try job.status()
      #expect(status.time("finished_at") - status.time("started_at") > 2, "4 MiB at 1 MiB a second: \(status)")
      #expect(try Pattern.difference(stick.contents(), from: held.source.contents()) == nil)
    }
  }
}
