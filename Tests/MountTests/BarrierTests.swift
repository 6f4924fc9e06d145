import FaultKit
import Glibc
import Testing

@Suite("op=none: a barrier")
struct BarrierTests {
  @Test("It is done when every job before it is final, and waits for none that came after it")
  func order() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let file = try bench.file("file", [1, 2, 3])
      let before = try daemon.submit("from=\(file) to=\(bench.disk)/before create=yes", as: "before")
      let barrier = try daemon.submit("op=none context=here", as: "barrier")
      let waiter = try Command("cat", [barrier.path + "/wait"]).start()
      try daemon.copy("from=\(file) to=\(bench.disk)/after create=yes", as: "after")
      #expect(try before.result() == "ok")
      pause(.milliseconds(100))
      let status = try barrier.status()
      #expect(status["state"] == "queued" && status["op"] == "none" && status["phase"] == "" && status["started_at"] == "", "\(status)")
      #expect(status["bytes_total"] == "0" && status["dests"] == "0" && status["context"] == "here", "\(status)")
      #expect(waiter.running)
      try held.letGo()
      let end = try Words(waiter.wait(within: .seconds(20)).text)
      #expect(end["state"] == "done" && end["read_err"] == "0" && end["write_err"] == "0x0" && end["error"] == "", "\(end)")
      // Whoever sees it done sees all of them final.
      #expect(try held.job.value("state") == "done")
      #expect(try end.time("started_at") >= held.job.status().time("finished_at") && end.time("finished_at") >= end.time("started_at"))
      #expect(try barrier.result() == "ok")
      #expect(try barrier.text("spec") == "op=none context=here\n")
      #expect(try Files.names(in: barrier.path + "/dest").isEmpty)
      #expect(try barrier.value("progress") == "0 0")
      try Files.removeDirectory(barrier.path)
    }
  }

  @Test("A job that failed or was cancelled is final too; with none before it it is done at once")
  func ends() throws {
    try withDaemon { bench, daemon in
      #expect(try daemon.submit("op=none", as: "first").result() == "ok")
      let held = try HeldJob(bench, daemon)
      let barrier = try daemon.submit("op=none", as: "second")
      #expect(try held.job.control("cancel") == "")
      pause(.milliseconds(50))
      #expect(try barrier.value("state") == "queued")
      try held.letGo()
      #expect(try barrier.result() == "ok")
      #expect(try held.job.value("state") == "cancelled")
    }
  }

  @Test("Through submit it has a number, and a batch is in order: read the barrier's result, and all before it are final")
  func batch() throws {
    try withDaemon { bench, daemon in
      let file = try bench.file("file", Pattern.bytes(1 << 20, seed: 1))
      let script = """
        for i in 0 1 2 3 4; do echo "from=$F to=$D/copy$i create=yes name=copy$i"; done > "$D/batch"
        echo op=none >> "$D/batch"
        { cat "$D/batch" >&3; while read -r id; do last=$id; done <&3; } 3<>"$M/submit"
        cat "$M/jobs/$last/result" "$M"/jobs/copy?/state
        """
      let outcome = try shell(script, environment: ["F": file, "D": bench.disk, "M": daemon.mount])
      #expect(outcome.text == "ok\n" + String(repeating: "done\n", count: 5), "\(outcome)")
    }
  }

  @Test("Cancelled while it waits it is cancelled at once, and the next one doesn't miss it")
  func cancelled() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let (first, second) = (try daemon.submit("op=none", as: "first"), try daemon.submit("op=none", as: "second"))
      #expect(try errnoName { try Files.removeDirectory(first.path) } == "EBUSY")
      #expect(try first.control("cancel") == "")
      #expect(try first.result() == "ECANCELED")
      #expect(try first.control("cancel") == "EALREADY")
      #expect(try second.value("state") == "queued")
      try held.letGo()
      #expect(try second.result() == "ok")
      try Files.removeDirectory(first.path)
    }
  }

  @Test("Each client has an order of its own")
  func clients() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      try Files.makeDirectory(daemon.path("clients/other"))
      let other = try daemon.submit("op=none client=other", as: "other")
      #expect(try other.result() == "ok")
      #expect(try other.status()["client"] == "other" && other.text("spec") == "op=none client=other\n")
      #expect(try held.job.value("state") == "running")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      try Files.removeDirectory(daemon.path("clients/other"))
    }
  }

  @Test("When the daemon stops, who waits for it is told")
  func stopped() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon()
      let held = try HeldJob(bench, daemon)
      let barrier = try daemon.submit("op=none", as: "barrier")
      let waiter = try Command("cat", [barrier.path + "/result"]).start()
      pause(.milliseconds(100))
      daemon.process.signal(SIGTERM)
      let outcome = try waiter.wait(within: .seconds(10))
      #expect(outcome.errorText.contains("shutdown"), "\(outcome)")
      try held.letGo()
      #expect(try daemon.expectEnd(within: .seconds(15)).succeeded)
    }
  }
}
