import FaultKit
import Glibc
import Testing

/// What an attack on the file interface broke, each once.
@Suite("What was broken since: retry, drafts and streams")
struct BrokenSinceTests {
  @Test("A retry whose destinations are all gone ends as failed, with their bits", arguments: ["copy", "zero"])
  func allGone(kind: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(8 << 20, seed: 1))
      let destination = bench.disk + "/destination"
      let record = kind == "zero" ? "op=zero to=\(destination)@0+8M" : "from=\(source) to=\(destination)"
      let job = try daemon.submit(record + " create=yes rate=1M")
      #expect(try job.control("cancel") == "" && job.result() == "ECANCELED")
      try Files.unlink(destination)
      #expect(try job.control("retry") == "")
      #expect(try job.result() == "ENOENT")
      let status = try job.status()
      #expect(status["state"] == "failed" && status["write_err"] == "0x1" && status["attempt"] == "2", "\(status)")
      #expect(status.time("started_at") > 0 && status.time("finished_at") >= status.time("started_at"), "\(status)")
      try Files.removeDirectory(job.path)
    }
  }

  @Test("Drafts that were submitted are none of those that a user may have")
  func manyDrafts() throws {
    try withDaemon { _, daemon in
      let script = "cd \"$J\" && for i in $(seq 150); do echo op=none > .d$i && mv .d$i d$i || exit 1; done"
      try shell(script, environment: ["J": daemon.path("jobs")]).orThrow()
      #expect(try daemon.jobNames.count == 150)
    }
  }

  @Test("A text of wait that was begun is read to its end, although the job is tried again")
  func waitToItsEnd() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(8 << 20, seed: 1))
      let job = try daemon.submit("from=\(source) to=\(bench.disk)/destination create=yes rate=1M")
      #expect(try job.control("cancel") == "" && job.result() == "ECANCELED")
      let text = try job.text("status")
      let file = try OpenFile(job.path + "/wait", O_RDONLY)
      var read = try file.read(100)
      #expect(try job.control("retry") == "")
      while case let more = try file.read(100), !more.isEmpty { read += more }
      #expect(String(decoding: read, as: UTF8.self) == text)
      try file.close()
      #expect(try job.control("cancel") == "" && job.result() == "ECANCELED")
    }
  }

  @Test("A refusal by a device frees the name at once, whatever its errno", arguments: ["EBUSY", "EPERM"])
  func nameIsFree(errno: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(4096, seed: 1))
      let held = try HeldJob(bench, daemon)
      let record = errno == "EBUSY" ? "from=\(source) to=\(held.destination.path)" : "from=/proc/version to=\(source)"
      let file = try OpenFile(daemon.path("jobs/a"), O_WRONLY | O_CREAT | O_EXCL)
      #expect(try errnoName { try file.writeAll(Array((record + "\n").utf8)) } == errno)
      #expect(try daemon.jobNames == ["held"])
      try daemon.copy("from=\(source) to=\(bench.disk)/other create=yes", as: "a")
      try file.close()
      try held.letGo()
      #expect(try held.job.result() == "ok")
    }
  }

  @Test("Cancelled while its paths are being opened a job is cancelled when they are closed again, and not before")
  func cancelledAtAdmission() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(4 << 20, seed: 1))
      let destination = try bench.loop()
      let job = try daemon.submit("from=\(source) to=\(destination.path) rate=1M")
      #expect(try job.control("cancel") == "" && job.result() == "ECANCELED")
      for _ in 0..<50 {
        #expect(try job.control("retry") == "" && job.control("cancel") == "")
        #expect(try job.result() == "ECANCELED")
        let device = try OpenFile(destination.path, O_WRONLY | O_EXCL)
        try device.close()
      }
    }
  }
}
