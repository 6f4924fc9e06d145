import FaultKit
import Glibc
import Testing

@Suite("A restart finds finished jobs as they ended")
struct RestartFinishedTests {
  /// All that can be read of a job.
  private func texts(_ job: Job) throws -> [String: String] {
    var texts: [String: String] = ["mode": "\(try Files.facts(job.path).permissions)"]
    var files = ["spec", "status", "status.json", "state", "progress", "read_err", "write_err", "wait"]
    for index in try Files.names(in: job.path + "/dest") { files += ["dest/\(index)/status", "dest/\(index)/map"] }
    for file in files { texts[file] = try job.text(file) }
    texts["result"] = try job.result()
    return texts
  }

  /// Jobs of every end there is; each is final.
  private func stage(_ bench: Workbench, _ daemon: Daemon) throws -> (names: [String], bad: FaultDevice, bytes: [UInt8]) {
    let source = try bench.loop()
    let bytes = try source.fill(seed: 1)
    let (unreadable, bad) = (try bench.faultDevice(), try bench.faultDevice())
    try unreadable.setFaults([.read(5000...5000)])
    try bad.setFaults([.write(6000...6000)])
    let disk = bench.disk
    let records = [
      ("done", "from=\(source.path) to=\(disk)/done0 to=\(disk)/done1 create=yes context='it is done'", "ok"),
      ("zeroed", "op=zero to=\(try bench.loop().path)@1M+1M", "ok"), ("barrier", "op=none", "ok"),
      ("unflushed", "from=\(source.path) to=\(disk)/unflushed create=yes sync=none", "ok"),
      ("unreadable", "from=\(unreadable.path) to=\(disk)/unreadable create=yes", "EIO"),
      ("ignored", "from=\(source.path)@1M+3M to=\(disk)/ignored to=\(bad.path)@1M create=yes errors=ignore", "EIO"),
      ("stopped", "from=\(unreadable.path) to=\(disk)/stopped create=yes errors=stop", "EIO"),
    ]
    for (name, record, result) in records { #expect(try daemon.submit(record, as: name).result() == result) }
    let cancelled = try daemon.submit("from=\(source.path) to=\(disk)/cancelled create=yes rate=1M", as: "cancelled")
    try eventually("some of it is copied") { try cancelled.status().number("bytes_done") > 0 }
    #expect(try cancelled.control("cancel") == "" && cancelled.result() == "ECANCELED")
    try Files.write(daemon.path("jobs/.draft"), "from=\(disk)/nothing to=\(disk)/drafted create=yes")
    try Files.rename(daemon.path("jobs/.draft"), to: daemon.path("jobs/drafted"))
    #expect(try daemon.job("drafted").result() == "ENOENT")
    #expect(try cancelled.control("retry\ncancel") == "" && cancelled.result() == "ECANCELED")
    try run("chmod", "750", cancelled.path).orThrow()
    return (records.map(\.0) + ["cancelled", "drafted"], bad, bytes)
  }

  @Test("Every file of every one says what it said, to the byte, and list too; what was removed stays so", arguments: Departure.allCases)
  func same(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (names, bad, bytes) = try stage(bench, mount.daemon)
      try mount.daemon.copy("op=none", as: "removed")
      try Files.removeDirectory(mount.job("removed").path)
      let (before, list) = (try names.map { try texts(mount.job($0)) }, try Files.text(mount.daemon.path("list")))
      try eventually("the journal has all of it") {
        try sql("SELECT count(*), (SELECT mode FROM jobs WHERE name = 'cancelled') FROM jobs", on: mount.journal) == "\(names.count) 488"
      }
      try mount.restart(departure)
      for (name, before) in zip(names, before) {
        let after = try texts(mount.job(name))
        for (file, text) in before where after[file] != text { Issue.record("\(name)/\(file): \(text) became \(after[file] ?? "nothing")") }
        #expect(after.count == before.count)
      }
      #expect(try Files.text(mount.daemon.path("list")) == list && mount.daemon.jobNames == names.sorted())

      // What an attempt before the restart has left lacks no more than it lacked.
      try bad.setFaults([])
      let mark = try bad.requests.count
      let retried = mount.job("ignored")
      #expect(try retried.lacking(1) == [6000] && retried.control("retry") == "" && retried.result() == "ok")
      #expect(try bad.sectors(.write, since: mark) == [6000] && retried.status()["attempt"] == "2")
      #expect(try Pattern.difference(bad.loop.contents(1 << 20..<4 << 20), from: Array(bytes[1 << 20..<4 << 20])) == nil)
      // Numbers go on.
      let ids = try names.map { try mount.job($0).status().number("id") }
      #expect(try mount.daemon.copy("op=none", as: "next").status().number("id") > ids.max() ?? 0)
    }
  }

  @Test("keep= counts from their end, whichever daemon saw it")
  func keep() throws {
    try withWorkbench { bench in
      let state = try bench.memory + "/state"
      let first = try KeptMount(bench, state: state)
      try first.daemon.copy("op=none", as: "old")
      let end = try first.job("old").status().time("finished_at")
      try first.stop(.killed)
      let second = try KeptMount(bench, options: ["keep=2"], state: state, on: first.daemon.mount)
      try second.daemon.expectNoJobs()
      var now = timespec()
      clock_gettime(CLOCK_REALTIME, &now)
      #expect(Double(now.tv_sec) + Double(now.tv_nsec) / 1e9 >= end + 2)
      // A removal is on the disk a moment after it was seen.
      try eventually("the journal has it") { try sql("SELECT count(*) FROM jobs", on: state + "/journal.sqlite") == "0" }
      try second.stop(.killed)
      let third = try KeptMount(bench, state: state, on: first.daemon.mount)
      #expect(try third.daemon.jobNames.isEmpty)
    }
  }

  @Test("With state=none nothing comes back, and SIGTERM cancels")
  func nothingKept() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon()
      let source = try bench.loop()
      let job = try daemon.submit("from=\(source.path) to=\(bench.disk)/copy create=yes rate=64K")
      let follower = try Command("cat", [daemon.path("events")]).start()
      try follower.awaitRead(of: daemon.path("events"))
      try job.reach("running")
      daemon.process.signal(SIGTERM)
      #expect(try daemon.expectEnd().ending == .exit(0))
      _ = try follower.wait(within: .seconds(5))
      let next = try bench.daemon(on: daemon.mount)
      #expect(try next.jobNames.isEmpty)
    }
  }
}
