import FaultKit
import Glibc
import Testing

@Suite("after=: over a restart")
struct AfterRestartTests {
  @Test("Those that wait wait again for the same jobs, and are done in their order", arguments: Departure.allCases)
  func waiting(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      // So slow that it is not done when its writes are let go.
      let held = try HeldJob(bench, mount.daemon, keys: "rate=1M")
      let (image, back) = (try bench.loop(), try bench.loop())
      let bytes = try image.fill(seed: 4)
      _ = try mount.daemon.submit("from=\(image.path) to=\(held.destination.path) after=held", as: "image")
      _ = try mount.daemon.submit("from=\(held.destination.path) to=\(back.path) after=image", as: "back")
      _ = try mount.daemon.submit("op=none after=back", as: "last")
      try mount.stop(departure) { try held.letGo() }
      try held.destination.loop.awaitFree()
      try held.destination.hold(.write)
      try mount.start()
      for name in ["image", "back", "last"] {
        try? eventually("\(name) waits") { try mount.job(name).status()["phase"] == "" }
        let status = try mount.job(name).status()
        #expect(status["state"] == "queued" && status["phase"] == "", "\(status)")
      }
      try held.letGo()
      let names = ["held", "image", "back", "last"]
      for name in names { #expect(try mount.job(name).result() == "ok") }
      let ends = try names.map { try mount.job($0).status().time("finished_at") }
      #expect(ends == ends.sorted())
      #expect(try Pattern.difference(back.contents(), from: bytes) == nil)
    }
  }

  @Test("What was removed since counts as what it ended as, although another has its name", arguments: Departure.allCases)
  func removed(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let held = try HeldJob(bench, mount.daemon)
      let quick = try mount.daemon.quick(bench, as: "quick")
      let bad = try mount.daemon.submit("op=none", as: "bad")
      let next = try mount.daemon.submit("op=none after=quick,held", as: "next")
      #expect(try bad.control("cancel") == "" && bad.result() == "ECANCELED")
      #expect(try mount.daemon.submit("op=none after=bad", as: "hopeless").result() == "ECANCELED")
      for job in [quick, bad] { try Files.removeDirectory(job.path) }
      // Whoever waited for the one that has the name now would wait for ever, or fail.
      #expect(try mount.daemon.submit("op=none", as: "quick").control("cancel") == "")
      try mount.daemon.quick(bench, as: "bad")
      #expect(try next.value("state") == "queued")
      let ends = "SELECT group_concat(state) FROM (SELECT state FROM ends ORDER BY job)"
      try eventually("the journal has their ends") { try sql(ends, on: mount.journal) == "done,cancelled" }
      try mount.stop(departure) { try held.letGo() }
      try mount.start()
      for name in ["held", "next"] { #expect(try mount.job(name).result() == "ok") }
      #expect(try mount.job("hopeless").control("retry") == "" && mount.job("hopeless").result() == "ECANCELED")
      // Nobody asks for them any more.
      try Files.removeDirectory(mount.job("hopeless").path)
      try eventually("nothing is left of them") { try sql("SELECT count(*) FROM ends", on: mount.journal) == "0" }
    }
  }

  @Test("A kill between the end of one and what it means for the next: that one begins, or fails", arguments: ["done", "failed"])
  func between(state: String) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, stick) = (try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      if state == "failed" { try stick.setFaults([.write(0...0)]) }
      let first = try mount.daemon.submit("from=\(source.path) to=\(stick.path)", as: "first")
      let next = try mount.daemon.submit("from=\(stick.path) to=\(bench.disk)/copy create=yes after=first", as: "next")
      #expect(try first.result() == (state == "done" ? "ok" : "EIO") && next.result() == (state == "done" ? "ok" : "ECANCELED"))
      try mount.stop(.killed)
      // As it was before the second end was written down.
      let forget = "started_at = 0, finished_at = 0, progress = ''"
      try sql("UPDATE jobs SET state = 'unfinished', \(forget) WHERE name = 'next'", on: mount.journal)
      try sql("UPDATE destinations SET progress = 'state=queued' WHERE job = (SELECT id FROM jobs WHERE name = 'next')", on: mount.journal)
      try mount.start()
      #expect(try mount.job("next").result() == (state == "done" ? "ok" : "ECANCELED"))
      #expect(try mount.job("next").value("write_err") == "0x0")
      if state == "done" { #expect(try Pattern.difference(Files.read(bench.disk + "/copy"), from: bytes) == nil) }
    }
  }

  @Test("A line of jobs on one place is done in its order, however often the daemon is killed")
  func line() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let stick = try bench.loop(size: 1 << 20)
      let sources = try (0..<12).map { try bench.file("source\($0)", Pattern.bytes(1 << 20, seed: UInt64($0)), inMemory: true) }
      for (index, source) in sources.enumerated() {
        let after = index == 0 ? "" : " after=l\(index - 1)"
        _ = try mount.daemon.submit("from=\(source) to=\(stick.path) rate=4M\(after)", as: "l\(index)")
      }
      for index in [1, 4, 8] {
        try eventually("l\(index) is done") { try mount.job("l\(index)").value("state") == "done" }
        try mount.restart(.killed)
      }
      var ends: [Double] = []
      for index in sources.indices {
        #expect(try mount.job("l\(index)").result() == "ok", "l\(index)")
        ends.append(try mount.job("l\(index)").status().time("finished_at"))
      }
      #expect(ends == ends.sorted())
      #expect(try Pattern.difference(stick.contents(), from: Pattern.bytes(1 << 20, seed: 11)) == nil)
    }
  }
}
