import FaultKit
import Glibc
import Testing

@Suite("retry")
struct RetryTests {
  @Test("Only what the map lacks is read and written again, and then the destination is whole", arguments: ["drop", "ignore", "stop"])
  func lacking(mode: String) throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.faultDevice(), try bench.faultDevice())
      let bytes = try source.loop.fill(seed: 1)
      try device.setFaults([.write(6000...6000)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) errors=\(mode)")
      #expect(try job.result() == "EIO")
      let rest = try job.lacking()
      // Of what was written no more than what was flushed is known to be on the disk.
      #expect(mode == "ignore" ? rest == [6000] : rest.contains(6000))
      try device.setFaults([])
      let (read, written) = (try source.requests.count, try device.requests.count)
      #expect(try job.control("retry") == "" && job.result() == "ok")
      #expect(try device.sectors(.write, since: written).sorted() == rest)
      let again = try source.sectors(.read, since: read)
      #expect(Set(again).isSuperset(of: rest) && Set(again).isSubset(of: blocks(rest)) && Set(again).count == again.count)
      let status = try job.status()
      #expect(status["attempt"] == "2" && status["write_err"] == "0x0" && status["error"] == "" && status["error_at"] == "", "\(status)")
      #expect(status["name"] == "job" && status["dest0_state"] == "done" && status.number("bytes_done") == 4 << 20, "\(status)")
      #expect(try job.map().isDone && Pattern.difference(device.loop.contents(), from: bytes) == nil)
      #expect(try job.control("retry") == "EINVAL")
    }
  }

  @Test("Of two destinations only the one that failed is written again", arguments: [0, 1])
  func onlyFailed(failing: Int) throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let devices = try (0..<2).map { _ in try bench.faultDevice() }
      try devices[failing].setFaults([.write(4000...4007)])
      let job = try daemon.submit("from=\(source.path) to=\(devices[0].path) to=\(devices[1].path)")
      #expect(try job.result() == "EIO" && job.value("write_err") == "0x\(1 << failing)")
      let rest = try job.lacking(failing)
      try devices[failing].setFaults([])
      let marks = try devices.map { try $0.requests.count }
      #expect(try job.control("retry") == "" && job.result() == "ok")
      #expect(try devices[1 - failing].sectors(.write, since: marks[1 - failing]).isEmpty)
      #expect(try devices[failing].sectors(.write, since: marks[failing]).sorted() == rest)
      let status = try job.status()
      #expect(status["write_err"] == "0x0" && status["dest0_state"] == "done" && status["dest1_state"] == "done", "\(status)")
      #expect(status["dest0_error"] == "" && status["dest1_error"] == "" && status["bytes_durable"] == "\(4 << 20)", "\(status)")
      for device in devices { #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil) }
    }
  }

  @Test("A job that was cancelled halfway copies the rest alone")
  func cancelled() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.faultDevice(size: 16 << 20), try bench.faultDevice(size: 16 << 20))
      let bytes = try source.loop.fill(seed: 1)
      let job = try daemon.submit("from=\(source.path) to=\(device.path) rate=4M")
      try eventually("some of it is copied") { try job.status().number("bytes_done") > 0 }
      #expect(try job.control("cancel") == "" && job.result() == "ECANCELED")
      let rest = try job.lacking()
      #expect(!rest.isEmpty)
      let (read, written) = (try source.requests.count, try device.requests.count)
      #expect(try job.control("retry\nrate=max") == "" && job.result() == "ok")
      #expect(try device.sectors(.write, since: written).sorted() == rest && source.sectors(.read, since: read).sorted() == rest)
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
      let status = try job.status()
      #expect(status["state"] == "done" && status["attempt"] == "2" && status["bytes_durable"] == "\(16 << 20)", "\(status)")
    }
  }

  @Test("What an attempt had on the disk stays there when the next is cancelled: the third copies what lacks")
  func cancelledAgain() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      try device.setFaults([.write(7000...7031)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) errors=ignore")
      #expect(try job.result() == "EIO" && job.lacking() == Array(7000...7031))
      try device.setFaults([])
      try device.hold(.write)
      #expect(try job.control("retry") == "")
      try eventually("the second attempt writes") { try job.status().number("attempt") == 2 && job.value("state") == "running" }
      #expect(try job.control("cancel") == "")
      try device.open(.write)
      #expect(try job.result() == "ECANCELED")
      let rest = try job.lacking()
      #expect(!rest.isEmpty && Set(rest).isSubset(of: 7000...7031))
      let mark = try device.requests.count
      #expect(try job.control("retry") == "" && job.result() == "ok" && job.status()["attempt"] == "3")
      #expect(try device.sectors(.write, since: mark).sorted() == rest && Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("With sync=none nothing is known to be on the disk, and all is copied anew")
  func unflushed() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      try device.setFaults([.write(6000...6000)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) sync=none errors=ignore")
      #expect(try job.result() == "EIO")
      try device.setFaults([])
      let mark = try device.requests.count
      #expect(try job.control("retry") == "" && job.result() == "ok")
      #expect(try device.sectors(.write, since: mark).sorted() == Array(0..<8192))
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil && job.status()["bytes_durable"] == "0")
    }
  }

  @Test(
    "When the write of retry returns the next attempt has begun: status, wait, result, events and rmdir know of it",
    arguments: ["failed", "cancelled"])
  func begun(state: String) throws {
    try withDaemon { bench, daemon in
      let events = try Events(daemon)
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      try source.fill(seed: 1)
      try state == "failed" ? device.setFaults([.write(0...8191)]) : device.hold(.write)
      let job = try daemon.submit("from=\(source.path) to=\(device.path) context=again")
      if state == "cancelled" {
        try job.reach("running")
        #expect(try job.control("cancel") == "")
        try device.open(.write)
      }
      #expect(try job.result() == (state == "failed" ? "EIO" : "ECANCELED") && job.value("state") == state)
      let before = try job.status()
      try device.setFaults([])
      try device.hold(.write)
      #expect(try job.control("retry") == "")
      let status = try job.status()
      #expect(["queued", "running"].contains(status["state"]) && status["attempt"] == "2" && status["id"] == before["id"], "\(status)")
      #expect(status["error"] == "" && status["error_op"] == "" && status["write_err"] == "0x0" && status["read_err"] == "0", "\(status)")
      #expect(status["finished_at"] == "" && status["context"] == "again", "\(status)")
      #expect(try job.text("status").utf8.count == before.description.utf8.count)
      #expect(try job.control("retry") == "EINVAL" && errnoName { try Files.removeDirectory(job.path) } == "EBUSY")
      let readers = try ["wait", "result"].map { name in
        let reader = try Command("cat", [job.path + "/" + name]).start()
        try reader.awaitRead(of: job.path + "/" + name)
        return reader
      }
      try device.open(.write)
      #expect(
        try Words(readers[0].wait(within: .seconds(20)).text)["attempt"] == "2" && readers[1].wait(within: .seconds(20)).text == "ok\n")
      try events.await("done", of: "job")
      let first = state == "failed" ? ["queued", "running", "failed"] : ["queued", "running", "cancelled"]
      #expect(events.states(of: "job") == first + ["queued", "running", "done"] && events.numbers.ascendsByOne, "\(events.records)")
      #expect(Set(events.of("job").map { $0["id"] }) == [status["id"]] && events.of("job").last?["write_err"] == "0x0")
      #expect(try daemon.jobNames == ["job"])
    }
  }

  @Test("A source that could not be read is read where it lacks, and no more, when it can be")
  func source() throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.faultDevice(), try bench.loop())
      let bytes = try source.loop.fill(seed: 1)
      try source.setFaults([.read(5000...5000)])
      let job = try daemon.submit("from=\(source.path) to=\(destination.path) errors=ignore")
      #expect(try job.result() == "EIO" && job.value("read_err") == "1" && job.lacking() == [5000])
      try source.setFaults([])
      let (mark, written) = (try source.requests.count, try destination.counters.bytesWritten)
      #expect(try job.control("retry") == "" && job.result() == "ok" && job.value("read_err") == "0")
      #expect(
        try Set(source.sectors(.read, since: mark)).isSubset(of: blocks([5000])) && destination.counters.bytesWritten - written <= 4096)
      #expect(try Pattern.difference(destination.contents(), from: bytes) == nil)
    }
  }

  @Test("A fault that is still there fails the next attempt with its bit, and the one after that may end well")
  func thrice() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      try device.setFaults([.write(6000...6000)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) errors=ignore")
      for attempt in 1...3 {
        let status = try Words(job.text("wait"))
        #expect(status["state"] == "failed" && status["attempt"] == "\(attempt)" && status["write_err"] == "0x1", "\(status)")
        #expect(try status["error_at"] == "\(6000 * 512)B" && job.lacking() == [6000])
        if attempt == 3 { try device.setFaults([]) }
        #expect(try job.control("retry") == "")
      }
      #expect(try job.result() == "ok" && job.status()["attempt"] == "4" && Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test(
    "A destination that is gone fails the attempt with open's errno and its bit, a source that is gone with no bit; once there it goes on")
  func gone() throws {
    try withDaemon { bench, daemon in
      let bytes = Pattern.bytes(2 << 20, seed: 1)
      let (source, first, second) = (try bench.file("source", bytes), bench.disk + "/first", bench.disk + "/second")
      // Slow enough to be cancelled, and quick enough to be tried again.
      let job = try daemon.submit("from=\(source) to=\(first) to=\(second) create=yes rate=1M")
      #expect(try job.control("cancel") == "" && job.result() == "ECANCELED")

      #expect(rename(second, second + ".away") == 0)
      #expect(try job.control("retry") == "" && job.result() == "ENOENT")
      var status = try job.status()
      #expect(
        status["state"] == "failed" && status["error"] == "ENOENT" && status["error_dest"] == "1" && status["attempt"] == "2", "\(status)")
      #expect(status["write_err"] == "0x2" && status["read_err"] == "0" && status["dest1_state"] == "failed", "\(status)")
      #expect(!Files.exists(second))

      #expect(rename(second + ".away", second) == 0 && rename(source, source + ".away") == 0)
      #expect(try job.control("retry") == "" && job.result() == "ENOENT")
      status = try job.status()
      #expect(
        status["state"] == "failed" && status["error"] == "ENOENT" && status["attempt"] == "3", "\(status)")

      // Nothing was read, and so no read has failed.
      #expect(status["read_err"] == "0" && status["write_err"] == "0x0", "\(status)")

      #expect(rename(source + ".away", source) == 0)
      #expect(try job.control("retry") == "" && job.result() == "ok" && job.status()["attempt"] == "4")
      for path in [first, second] { #expect(try Pattern.difference(Files.read(path), from: bytes) == nil) }
    }
  }

  @Test("A barrier that was cancelled is retried: it waits for what is before it now")
  func barrier() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let barrier = try daemon.submit("op=none", as: "barrier")
      #expect(try barrier.control("cancel") == "" && barrier.result() == "ECANCELED")
      #expect(try barrier.control("retry") == "" && barrier.status()["attempt"] == "2" && barrier.value("state") == "queued")
      try held.letGo()
      #expect(try barrier.result() == "ok")
    }
  }
}
