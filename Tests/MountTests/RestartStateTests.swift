import FaultKit
import Glibc
import Testing

@Suite("A restart finds jobs in each state")
struct RestartStateTests {
  /// A mount with pages for one sub-job and a job that holds them, whose writes are held.
  private func withHeld(_ body: (Workbench, KeptMount, HeldJob) throws -> Void) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench, options: ["pages=256"])
      try body(bench, mount, HeldJob(bench, mount.daemon))
    }
  }

  private func isCopied(_ held: HeldJob) throws -> Bool {
    try Pattern.difference(held.destination.loop.contents(), from: held.source.contents()) == nil
  }

  @Test("Those that were queued behind another end after it, and a barrier when both have", arguments: Departure.allCases)
  func queued(departure: Departure) throws {
    try withHeld { bench, mount, held in
      let destination = try bench.loop()
      _ = try mount.daemon.submit("from=\(held.source.path) to=\(destination.path) context=second", as: "second")
      _ = try mount.daemon.submit("op=none context=third", as: "third")
      let names = ["held", "second", "third"]
      let lasting = try names.map { try Lasting(mount.job($0)) }
      try mount.stop(departure) { try held.letGo() }
      try held.destination.hold(.write)
      try mount.start()
      #expect(try names.map { try Lasting(mount.job($0)) } == lasting)
      #expect(try mount.job("third").value("state") == "queued", "it comes after those before it, as ever")
      try held.letGo()
      for name in names { #expect(try mount.job(name).result() == "ok") }
      let ends = try names.map { try mount.job($0).status().time("finished_at") }
      #expect(ends[2] >= max(ends[0], ends[1]))
      #expect(try isCopied(held) && Pattern.difference(destination.contents(), from: held.source.contents()) == nil)
    }
  }

  @Test("Those that a user has paused stay so, and write nothing before resume", arguments: Departure.allCases)
  func pausedByUser(departure: Departure) throws {
    try withHeld { bench, mount, held in
      let destination = try bench.loop()
      let queued = try mount.daemon.submit("from=\(held.source.path) to=\(destination.path)", as: "queued")
      let barrier = try mount.daemon.submit("op=none", as: "barrier")
      for job in [held.job, queued, barrier] { #expect(try job.control("pause") == "" && job.value("state") == "paused") }
      let query = "SELECT count(*) FROM jobs WHERE ctl LIKE '%pause=yes%'"
      try eventually("the journal has it") { try sql(query, on: mount.journal) == "3" }
      try mount.stop(departure) { try held.letGo() }
      try held.destination.loop.awaitFree()
      let marks = (try held.destination.sectors(.write).count, try destination.counters.bytesWritten)
      try mount.start()
      let names = ["held", "queued", "barrier"]
      for name in names {
        let status = try mount.job(name).status()
        #expect(status["state"] == "paused" && status["pause_reason"] == "user", "\(status)")
      }
      for path in [held.destination.path, destination.path] { try mount.awaitOpen(path) }
      pause(.milliseconds(200))
      #expect(try held.destination.sectors(.write).count == marks.0 && destination.counters.bytesWritten == marks.1)
      for name in names { #expect(try mount.job(name).control("resume") == "") }
      for name in names { #expect(try mount.job(name).result() == "ok") }
      #expect(try isCopied(held) && Pattern.difference(destination.contents(), from: held.source.contents()) == nil)
    }
  }

  @Test("What an error has paused is tried again, and pauses again as long as the error is there", arguments: Departure.allCases)
  func pausedByError(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      try device.setFaults([.write(5000...5000)])
      let job = try mount.daemon.submit("from=\(source.path) to=\(device.path) errors=pause")
      let isPaused = { (job: Job) in
        try job.reach("paused")
        let status = try job.status()
        #expect(status["pause_reason"] == "EIO" && status["error_op"] == "write" && status["write_err"] == "0x0", "\(status)")
      }
      try isPaused(job)
      try mount.restart(departure)
      try isPaused(mount.job())
      try mount.restart(departure) { try device.setFaults([]) }
      #expect(try mount.job().result() == "ok")
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("One in phase=cancelling is cancelled, and writes nothing more", arguments: Departure.allCases)
  func cancelling(departure: Departure) throws {
    try withHeld { bench, mount, held in
      let barrier = try mount.daemon.submit("op=none", as: "barrier")
      #expect(try held.job.control("cancel") == "" && held.job.status()["phase"] == "cancelling")
      try eventually("the journal has it") { try sql("SELECT ctl FROM jobs WHERE name = 'held'", on: mount.journal).contains("cancel") }
      try mount.stop(departure) { try held.letGo() }
      try held.destination.loop.awaitFree()
      let mark = try held.destination.sectors(.write).count
      try mount.start()
      #expect(try mount.job("held").result() == "ECANCELED" && mount.job(barrier.name).result() == "ok")
      #expect(try held.destination.sectors(.write).count == mark)
      #expect(try mount.job("held").control("retry") == "" && mount.job("held").result() == "ok" && isCopied(held))
    }
  }

  @Test("A draft that was submitted is the job that it was", arguments: Departure.allCases)
  func draft(departure: Departure) throws {
    try withHeld { bench, mount, held in
      let file = bench.disk + "/copy"
      try Files.write(mount.daemon.path("jobs/.draft"), "from=\(held.source.path) to=\(file) create=yes context=drafted\n")
      try Files.rename(mount.daemon.path("jobs/.draft"), to: mount.daemon.path("jobs/drafted"))
      let spec = try mount.job("drafted").text("spec")
      try mount.stop(departure) { try held.letGo() }
      try mount.start()
      let status = try mount.job("drafted").status()
      #expect(status["context"] == "drafted" && status["attempt"] == "1", "\(status)")
      for name in ["held", "drafted"] { #expect(try mount.job(name).result() == "ok") }
      // The sizes are resolved when its devices are.
      #expect(try mount.job("drafted").text("spec").hasPrefix(String(spec.prefix { $0 != "@" && $0 != " " })))
      #expect(try Pattern.difference(Files.read(file), from: held.source.contents()) == nil)
    }
  }

  @Test("What ctl, chmod and rmdir have changed, and the clients, are as they were", arguments: Departure.allCases)
  func settings(departure: Departure) throws {
    try withHeld { bench, mount, held in
      for name in ["night", "gone"] { _ = try mount.daemon.makeClient(name) }
      let night = mount.daemon.client("night")
      for (file, value) in [
        ("pages", "512"), ("throttle", "50"), ("rate", "8388608"), ("subjob", "65536"), ("slots", "3"), ("max_jobs", "7"),
      ] {
        #expect(try night.set(file, value) == "")
      }
      let shapes = (try night.shape(), try mount.daemon.client("default").shape())
      try Files.removeDirectory(mount.daemon.path("clients/gone"))
      let removed = try mount.daemon.copy("from=\(held.source.path) to=\(bench.disk)/copy create=yes client=night", as: "removed")
      try Files.removeDirectory(removed.path)
      let job = try mount.daemon.submit("from=\(held.source.path) to=\(bench.disk)/slow create=yes client=night", as: "slow")
      #expect(try job.control("pause\nrate=1M\npriority=2") == "")
      try run("chmod", "700", job.path).orThrow()
      let query = "SELECT mode || ' ' || ctl, (SELECT count(*) FROM jobs) FROM jobs WHERE name = 'slow'"
      try eventually("the journal has it") { try sql(query, on: mount.journal) == "448 pause=yes rate=1048576 priority=2 2" }
      try mount.stop(departure) { try held.letGo() }
      try mount.start()
      #expect(try mount.daemon.clientNames == ["default", "night"])
      #expect(try mount.daemon.client("night").shape() == shapes.0 && mount.daemon.client("default").shape() == shapes.1)
      #expect(try mount.daemon.client("night").value("jobs") == "1")
      #expect(try errnoName { try Files.removeDirectory(mount.daemon.path("clients/night")) } == "EBUSY")
      #expect(try mount.daemon.jobNames == ["held", "slow"])
      #expect(try Files.facts(mount.job("slow").path).permissions == 0o700)
      // 4 MiB at 1 MiB a second.
      #expect(try mount.job("slow").control("resume") == "" && mount.job("slow").result() == "ok")
      let status = try mount.job("slow").status()
      #expect(status.time("finished_at") - status.time("started_at") > 2, "\(status)")
    }
  }
}
