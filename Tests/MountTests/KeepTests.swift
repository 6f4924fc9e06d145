import FaultKit
import Glibc
import Testing

@Suite("keep=: final jobs go by themselves")
struct KeepTests {
  @Test("Done, failed and cancelled they go with their directories, their names are free, and who holds a file is told")
  func final() throws {
    try withDaemon(options: ["keep=2"]) { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      try device.setFaults([.write(0...0)])
      let done = try daemon.copy("from=\(source.path) to=\(bench.disk)/copy create=yes", as: "done")
      // It's there to be read, and gone later.
      #expect(try done.value("state") == "done" && done.status()["bytes_done"] == "\(4 << 20)")
      let files = try ["wait", "result"].map { try OpenFile(done.path + "/" + $0, O_RDONLY) }
      #expect(try daemon.submit("from=\(source.path) to=\(device.path)", as: "failed").result() == "EIO")
      let held = try HeldJob(bench, daemon)
      let cancelled = try daemon.submit("op=none", as: "cancelled")
      #expect(try cancelled.control("cancel") == "" && cancelled.result() == "ECANCELED")
      try eventually("what is final is gone") { try daemon.jobNames == ["held"] }
      #expect(try Files.text(daemon.path("list")).split(separator: "\n").count == 1 && !Files.exists(done.path))
      for file in files {
        #expect(try errnoName { _ = try file.read() } == "ENODEV")
        try file.close()
      }
      #expect(try held.job.value("state") == "running" && daemon.submit("op=none", as: "done").value("state") == "queued")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      try daemon.expectNoJobs()
    }
  }

  @Test("Nothing goes that is queued, running or paused, nor what is tried again, however old its last end is")
  func unfinished() throws {
    try withDaemon(options: ["keep=2"]) { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      try source.fill(seed: 1)
      try device.setFaults([.write(0...0)])
      let retried = try daemon.submit("from=\(source.path) to=\(device.path)", as: "retried")
      #expect(try retried.result() == "EIO")
      try device.setFaults([])
      try device.hold(.write)
      #expect(try retried.control("retry") == "")
      let paused = try daemon.submit("op=none", as: "paused")
      #expect(try paused.control("pause") == "")
      _ = try daemon.submit("op=none", as: "queued")
      // One after the other: when the last is gone the first end is twice as long ago as any job is kept.
      for name in ["first", "second"] {
        let job = try daemon.submit("op=none", as: name)
        #expect(try job.control("cancel") == "")
        try eventually("\(name) is gone") { !Files.exists(job.path) }
      }
      #expect(try daemon.jobNames == ["paused", "queued", "retried"] && paused.value("state") == "paused")
      #expect(try paused.control("resume") == "")
      try device.open(.write)
      #expect(try retried.result() == "ok")
      try daemon.expectNoJobs()
    }
  }

  @Test("A wrong number of seconds is refused in words", arguments: ["keep=", "keep=-1", "keep=soon", "keep=1.5"])
  func refused(option: String) throws {
    try withWorkbench { bench in
      let outcome = try Daemon.command([bench.disk, "-f", "-o", "state=none,\(option)"]).run()
      #expect(!outcome.succeeded && outcome.errorText.contains("keep"), "\(outcome)")
    }
  }
}
