import FaultKit
import Glibc
import Testing

@Suite("after=: a job comes after others")
struct AfterTests {
  /// A job that can't end before its gate is opened, and a device of its own size that it writes to.
  private func withHeld(options: [String] = [], _ body: (Workbench, Daemon, HeldJob) throws -> Void) throws {
    try withDaemon(options: options) { bench, daemon in try body(bench, daemon, HeldJob(bench, daemon)) }
  }

  @Test("One batch wipes a stick, writes an image to it and copies it back, one after the other")
  func oneBatch() throws {
    try withDaemon { bench, daemon in
      let (image, stick) = (try bench.loop(size: 1 << 20), try bench.loop())
      let bytes = try image.fill(seed: 1)
      try stick.fill(seed: 2)
      let back = bench.disk + "/back"
      let batch = """
        op=zero to=\(stick.path)@0+4M name=wipe
        from=\(image.path) to=\(stick.path)@1M name=image after=wipe
        from=\(stick.path) to=\(back) create=yes name=back after=image

        """
      let names = try submit(batch, to: daemon)
      #expect(names == ["wipe", "image", "back"])
      let jobs = names.map(daemon.job)
      for job in jobs { #expect(try job.result() == "ok") }
      let statuses = try jobs.map { try $0.status() }
      for (before, after) in zip(statuses, statuses.dropFirst()) {
        #expect(after.time("started_at") >= before.time("finished_at"), "\(before)\n\(after)")
      }
      let expected = Pattern.patched([UInt8](repeating: 0, count: 4 << 20), at: 1 << 20, with: bytes)
      #expect(try Pattern.difference(Files.read(back), from: expected) == nil)
      #expect(try Pattern.difference(stick.contents(), from: expected) == nil)
      // It is no part of what the job was.
      #expect(try !jobs.contains { try $0.text("spec").contains("after") })
      try stick.awaitFree()
    }
  }

  /// Writes records to `submit`, and reads their names back.
  private func submit(_ batch: String, to daemon: Daemon) throws -> [String] {
    let file = try OpenFile(daemon.path("submit"), O_RDWR)
    defer { try? file.close() }
    try file.writeAll(Array(batch.utf8))
    return try String(decoding: file.readToEnd(), as: UTF8.self).split(separator: "\n").map(String.init)
  }

  @Test("While it waits it is queued with nothing begun, and keeps everybody from its devices who doesn't come after it")
  func waits() throws {
    try withHeld { bench, daemon, held in
      let stick = held.destination.path
      let image = try bench.loop()
      let bytes = try image.fill(seed: 4)
      let job = try daemon.submit("from=\(image.path) to=\(stick) after=held context=x", as: "second")
      let status = try job.status()
      #expect(status["state"] == "queued" && status["phase"] == "" && status["started_at"] == "" && status["error"] == "", "\(status)")
      #expect(status["bytes_done"] == "0" && status["bytes_total"] == "\(4 << 20)" && status["eta"] == "", "\(status)")
      // Other jobs: what it is to write is as good as written.
      let other = try bench.loop()
      for (record, culprit) in [
        ("from=\(other.path) to=\(stick)", "held"), ("from=\(other.path) to=\(stick) after=held", "second"),
        ("from=\(stick) to=\(other.path) after=held", "second"), ("from=\(other.path) to=\(image.path) after=held", "second"),
      ] {
        #expect(try errnoName { _ = try daemon.submit(record, as: "third") } == "EBUSY", "\(record)")
        #expect(try daemon.refusals.last?["text"].contains("job \(culprit) ") == true, "\(record)")
      }
      let back = try daemon.submit("from=\(stick) to=\(other.path) after=second", as: "back")
      let counts = try Words(Files.text(daemon.path("stats")))
      #expect(counts["jobs_queued"] == "2" && counts["jobs_running"] == "1", "\(counts)")
      #expect(try errnoName { try Files.removeDirectory(job.path) } == "EBUSY")
      try held.letGo()
      for job in [held.job, job, back] { #expect(try job.result() == "ok") }
      #expect(try Pattern.difference(other.contents(), from: bytes) == nil)
      try held.destination.loop.awaitFree()
    }
  }

  @Test("Between the end of one and the start of the next nobody else gets the device")
  func handedOver() throws {
    try withHeld { bench, daemon, held in
      let source = try bench.loop()
      let (stick, gate) = (try bench.loop(), try bench.loop())
      // What it comes after on the stick ends, and it waits on for the other one.
      try daemon.copy("from=\(source.path) to=\(stick.path)", as: "first")
      let paused = try daemon.submit("from=\(source.path) to=\(gate.path) rate=1M", as: "paused")
      let first = try daemon.submit("op=zero to=\(stick.path)@0+4M", as: "wipe")
      let next = try daemon.submit("from=\(source.path) to=\(stick.path) after=wipe,held", as: "next")
      #expect(try first.result() == "ok" && paused.control("cancel") == "")
      #expect(try errnoName { try OpenFile(stick.path, O_RDWR | O_EXCL).close() } == "EBUSY")
      #expect(try errnoName { _ = try daemon.submit("op=zero to=\(stick.path)@0+4M", as: "other") } == "EBUSY")
      #expect(try next.value("state") == "queued")
      try held.letGo()
      #expect(try next.result() == "ok")
      try stick.awaitFree()
    }
  }

  @Test("If one fails or is cancelled, those after it fail with ECANCELED and no bit, however far behind", arguments: ["EIO", "ECANCELED"])
  func hopeless(end: String) throws {
    try withHeld { bench, daemon, held in
      let (source, stick) = (try bench.loop(), held.destination.path)
      try daemon.quick(bench, as: "good")
      _ = try daemon.submit("from=\(source.path) to=\(stick) after=good,held", as: "next")
      _ = try daemon.submit("from=\(stick) to=\(bench.disk)/copy create=yes after=next", as: "last")
      _ = try daemon.submit("op=none after=next", as: "barrier")
      if end == "EIO" { try held.destination.setFaults([.write(0...8191)]) } else { #expect(try held.job.control("cancel") == "") }
      try held.letGo()
      #expect(try held.job.result() == end)
      for name in ["next", "last", "barrier"] {
        #expect(try daemon.job(name).result() == "ECANCELED")
        let status = try daemon.job(name).status()
        #expect(status["state"] == "failed" && status["error"] == "ECANCELED" && status["error_op"] == "", "\(status)")
        #expect(status["read_err"] == "0" && status["write_err"] == "0x0" && status["started_at"] == "", "\(status)")
        if name != "barrier" { #expect(status["dest0_state"] == "failed" && status["dest0_error"] == "", "\(status)") }
      }
      // What was in flight of the first lands, and nothing of another.
      let written = try held.destination.requests.filter { $0.kind == .write }.reduce(0) { $0 + $1.bytes }
      #expect(end == "EIO" || written <= 4 << 20)
      try held.destination.loop.awaitFree()
    }
  }

  @Test("What has ended already counts: done is done, and after a failed or cancelled one there is nothing to wait for")
  func endedAlready() throws {
    try withHeld { bench, daemon, held in
      try held.letGo()
      #expect(try held.job.result() == "ok")
      try daemon.copy("op=none", as: "done")
      try daemon.copy("op=none after=done,held", as: "next")
      let device = try bench.faultDevice()
      try device.setFaults([.write(0...0)])
      #expect(try daemon.submit("from=\(held.source.path) to=\(device.path)", as: "failed").result() == "EIO")
      let late = try daemon.submit("from=\(held.source.path) to=\(bench.disk)/new create=yes after=done,failed", as: "late")
      #expect(try late.result() == "ECANCELED")
      // Tried again it fails again, until the one before it has been tried again with more luck.
      #expect(try late.control("retry") == "" && late.result() == "ECANCELED")
      #expect(try late.status()["attempt"] == "2" && late.value("write_err") == "0x0")
      try device.setFaults([])
      try device.hold(.write)
      #expect(try daemon.job("failed").control("retry") == "")
      #expect(try late.value("state") == "failed")
      #expect(try late.control("retry") == "" && late.value("state") == "queued")
      try device.open(.write)
      #expect(try daemon.job("failed").result() == "ok" && late.result() == "ok")
      #expect(try Pattern.difference(Files.read(bench.disk + "/new"), from: held.source.contents()) == nil)
    }
  }

  @Test("One that was removed counts as what it ended as, whatever job has its name by then")
  func removed() throws {
    try withHeld { bench, daemon, held in
      let bad = try daemon.submit("op=none", as: "bad")
      #expect(try bad.control("cancel") == "" && bad.result() == "ECANCELED")
      let client = try daemon.makeClient("other")
      try daemon.quick(bench, as: "quick")
      let next = try daemon.submit("op=none client=other after=quick,held", as: "next")
      let hopeless = try daemon.submit("op=none client=other after=bad", as: "hopeless")
      #expect(try hopeless.result() == "ECANCELED")
      for name in ["quick", "bad"] {
        try Files.removeDirectory(daemon.job(name).path)
        try daemon.quick(bench, as: name)
      }
      #expect(try hopeless.control("retry") == "" && hopeless.result() == "ECANCELED", "not the one that has the name now")
      #expect(try next.value("state") == "queued")
      try held.letGo()
      #expect(try next.result() == "ok" && client.value("jobs") == "0")
    }
  }

  @Test("keep= removes what others still wait beside, and they don't miss it")
  func kept() throws {
    try withHeld(options: ["keep=1"]) { bench, daemon, held in
      try daemon.quick(bench, as: "quick")
      let next = try daemon.submit("op=none after=quick,held", as: "next")
      let waiter = try Command("cat", [next.path + "/result"]).start()
      try eventually("quick is gone") { try !daemon.jobNames.contains("quick") }
      #expect(try next.value("state") == "queued")
      try held.letGo()
      #expect(try waiter.wait(within: .seconds(30)).text == "ok\n")
    }
  }

  @Test("A barrier comes after those it names and after those before it")
  func barrier() throws {
    try withHeld { bench, daemon, held in
      _ = try daemon.makeClient("other")
      let second = try daemon.submit("op=none client=other", as: "second")
      let barrier = try daemon.submit("op=none client=other after=second,held", as: "barrier")
      #expect(try second.result() == "ok" && barrier.value("state") == "queued")
      try held.letGo()
      #expect(try barrier.result() == "ok")
      #expect(try barrier.status().time("started_at") >= held.job.status().time("finished_at"))
    }
  }

  @Test("A client full of jobs that wait still does those that need not")
  func turns() throws {
    try withHeld { bench, daemon, held in
      let client = try daemon.makeClient("small")
      for (file, value) in [("pages", "256"), ("slots", "1"), ("max_jobs", "41")] { #expect(try client.set(file, value) == "") }
      let source = try bench.loop()
      for index in 0..<40 {
        _ = try daemon.submit(
          "from=\(source.path) to=\(bench.disk)/copy\(index) create=yes client=small priority=0 after=held", as: "w\(index)")
      }
      try daemon.copy("from=\(source.path) to=\(bench.disk)/quick create=yes client=small priority=9", as: "quick")
      #expect(try client.value("jobs") == "40")
      try held.letGo()
      for index in 0..<40 { #expect(try daemon.job("w\(index)").result() == "ok") }
    }
  }
}

extension Daemon {
  /// A job that is done soon, whatever others wait for; a barrier would wait for those.
  @discardableResult func quick(_ bench: Workbench, as name: String) throws -> Job {
    let file = try bench.file("three bytes", [1, 2, 3])
    let copy = bench.disk + "/copy of " + name
    if Files.exists(copy) { try Files.unlink(copy) }
    return try self.copy("from=\(quoted(file)) to=\(quoted(copy)) create=yes", as: name)
  }
}
