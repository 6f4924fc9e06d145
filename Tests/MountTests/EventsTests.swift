import FaultKit
import Glibc
import Testing

@Suite("events")
struct EventsTests {
  @Test("The life of a job, each change of its state a record, with what status says")
  func life() throws {
    try withDaemon { bench, daemon in
      let events = try Events(daemon)
      let held = try HeldJob(bench, daemon, keys: "context=\(quoted(Words.nasty))")
      #expect(try held.job.control("pause") == "")
      try events.await("paused", of: "held")
      #expect(try held.job.control("resume") == "")
      try events.await("running", of: "held", times: 2)
      try held.letGo()
      #expect(try held.job.result() == "ok")
      try events.await("done", of: "held")
      // Resumed, it may have to wait for its turn first.
      let states = events.states(of: "held")
      #expect(
        [["queued", "running", "paused", "running", "done"], ["queued", "running", "paused", "queued", "running", "done"]].contains(states))
      let id = try held.job.status()["id"]
      for record in events.records {
        #expect(record.keys == ["seq", "time", "job", "id", "state", "read_err", "write_err", "context"], "\(record)")
        #expect(record["id"] == id && record["job"] == "held" && record["context"] == Words.nasty, "\(record)")
        #expect(record["read_err"] == "0" && record["write_err"] == "0x0", "\(record)")
      }
      let times = events.records.map { $0.time("time") }
      #expect(times == times.sorted() && times[0] > 1e9, "\(times)")
      #expect(events.numbers.ascendsByOne)
    }
  }

  @Test("A failed job's record has its bits, and other jobs' have theirs")
  func failed() throws {
    try withDaemon { bench, daemon in
      let events = try Events(daemon)
      let (source, good) = (try bench.loop(size: 1 << 20), try bench.loop(size: 1 << 20))
      let bad = try bench.faultDevice(size: 1 << 20)
      try bad.setFaults([.write(0...0), .read(0...0)])
      #expect(try daemon.submit("from=\(source.path) to=\(good.path) to=\(bad.path)", as: "write").result() == "EIO")
      #expect(try daemon.submit("from=\(bad.path) to=\(good.path)", as: "read").result() == "EIO")
      for name in ["write", "read"] { try events.await("failed", of: name) }
      let (write, read) = (events.of("write").last, events.of("read").last)
      #expect(write?["read_err"] == "0" && write?["write_err"] == "0x2" && read?["read_err"] == "1" && read?["write_err"] == "0x0")
      #expect(["write", "read"].allSatisfy { events.states(of: $0) == ["queued", "running", "failed"] }, "\(events.records)")
      #expect(events.numbers.ascendsByOne)
    }
  }

  @Test("Cancelled from queued and from running it is told once, when nothing is in flight; what is refused is not told")
  func cancelled() throws {
    try withDaemon { bench, daemon in
      let events = try Events(daemon)
      let held = try HeldJob(bench, daemon)
      let queued = try daemon.submit("op=none", as: "queued")
      #expect(try queued.control("cancel") == "" && held.job.control("cancel") == "")
      try events.await("cancelled", of: "queued")
      try eventually("the job is being cancelled") { try held.job.status()["phase"] == "cancelling" }
      #expect(try events.take().isEmpty == false && events.states(of: "held") == ["queued", "running"])
      try held.letGo()
      try events.await("cancelled", of: "held")
      #expect(try errnoName { _ = try daemon.submit("op=nothing", as: "refused") } == "EINVAL")
      #expect(try daemon.submit("op=none", as: "last").result() == "ok")
      try events.await("done", of: "last")
      #expect(events.states(of: "held") == ["queued", "running", "cancelled"] && events.states(of: "queued") == ["queued", "cancelled"])
      #expect(Set(events.records.map { $0["job"] }) == ["held", "queued", "last"] && events.numbers.ascendsByOne)
    }
  }

  @Test("Cancelled while it is paused a job is not told to be queued again", arguments: ["op=none", "copy"])
  func cancelledPaused(kind: String) throws {
    try withDaemon { bench, daemon in
      let events = try Events(daemon)
      let held = try HeldJob(bench, daemon)
      let job = try kind == "copy" ? held.job : daemon.submit("op=none", as: "barrier")
      #expect(try job.control("pause") == "" && job.value("state") == "paused" && job.control("cancel") == "")
      try held.letGo()
      #expect(try job.result() == "ECANCELED")
      try events.await("cancelled", of: job.name)
      // While something is in flight it is running, its phase cancelling.
      let states = events.states(of: job.name).drop { $0 != "paused" }
      #expect([["paused", "cancelled"], ["paused", "running", "cancelled"]].contains(Array(states)), "\(states)")
    }
  }

  @Test("A reader begins where it opens the file, has all from there, and takes nothing from another")
  func positions() throws {
    try withDaemon { _, daemon in
      let first = try Events(daemon)
      #expect(try daemon.submit("op=none", as: "a").result() == "ok")
      try first.await("done", of: "a")
      let (second, third) = (try Events(daemon), try Events(daemon))
      #expect(try second.take().isEmpty)
      #expect(try daemon.submit("op=none", as: "b").result() == "ok")
      for reader in [first, second, third] { try reader.await("done", of: "b") }
      #expect(second.numbers == third.numbers && first.numbers.suffix(second.numbers.count) == second.numbers[...])
      #expect(second.states(of: "a").isEmpty && second.states(of: "b") == first.states(of: "b") && first.numbers.ascendsByOne)
    }
  }

  @Test("It is no seekable file, gives EAGAIN or blocks at its end, and may be read by the byte")
  func stream() throws {
    try withDaemon { _, daemon in
      let bytewise = try Events(daemon)
      let file = try OpenFile(daemon.path("events"), O_RDONLY | O_NONBLOCK)
      #expect(try errnoName { try file.rewind() } == "ESPIPE")
      #expect(try errnoName { _ = try file.read() } == "EAGAIN")
      #expect(try daemon.submit("op=none", as: "a").result() == "ok")
      try eventually("the job is done for it") { try bytewise.take(1).contains { $0["state"] == "done" } }
      let text = String(decoding: try file.read(), as: UTF8.self)
      #expect(try text.split(separator: "\n").map { try Words($0)["seq"] } == bytewise.records.map { $0["seq"] } && text.hasSuffix("\n"))
      #expect(try errnoName { _ = try file.read() } == "EAGAIN")
      #expect(try errnoName { _ = try OpenFile(daemon.path("events"), O_RDWR).write([10]) } == "EACCES")
      #expect(try Files.mode(daemon.path("events")) == 0o100444)
      try file.close()
    }
  }

  @Test("poll, epoll and select are woken by a record, and not once it is read")
  func polled() throws {
    try withDaemon { _, daemon in
      let script =
        PythonHelp.begin + """
          mount = sys.argv[1]
          fd = os.open(mount + "/events", os.O_RDONLY | os.O_NONBLOCK)
          poll, epoll, edge = select.poll(), select.epoll(), select.epoll()
          poll.register(fd, select.POLLIN)
          epoll.register(fd, select.EPOLLIN)
          edge.register(fd, select.EPOLLIN | select.EPOLLET)
          def read_to(job):
              text = b""
              while b"job=" + job not in text or not text.endswith(b"\\n") or b"state=done" not in text.splitlines()[-1]:
                  poll.poll()
                  text += os.read(fd, 1 << 16)
          for name, wait in [("a", lambda: poll.poll()), ("b", lambda: epoll.poll()), ("c", lambda: edge.poll()),
                             ("d", lambda: [(fd, 1) for fd in select.select([fd], [], [])[0]])]:
              while edge.poll(0): pass
              if poll.poll(0) or epoll.poll(0) or select.select([fd], [], [], 0)[0]: print("ready before", name)
              when_blocked(put, mount + "/jobs/" + name, "op=none")
              print(wait() == [(fd, select.POLLIN)])
              read_to(name.encode())
          """
      let outcome = try pythonCommand(script, [daemon.mount]).start().wait(within: .seconds(20))
      #expect(outcome.text == "True\nTrue\nTrue\nTrue\n", "\(outcome)")
    }
  }

  @Test("A signal ends a blocked reader at once", arguments: [SIGINT, SIGTERM, SIGKILL])
  func signalled(signal: Int32) throws {
    try withDaemon { _, daemon in
      let reader = try Command("cat", [daemon.path("events")]).start()
      try reader.awaitRead(of: daemon.path("events"))
      reader.signal(signal)
      #expect(try reader.wait(within: .seconds(2)).ending == .signal(signal))
    }
  }

  @Test("When the daemon stops, a blocked reader gets ESHUTDOWN")
  func stopped() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon()
      let reader = try Command("cat", [daemon.path("events")]).start()
      try reader.awaitRead(of: daemon.path("events"))
      daemon.process.signal(SIGTERM)
      let outcome = try reader.wait(within: .seconds(5))
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains("after transport endpoint shutdown"), "\(outcome)")
      #expect(try daemon.expectEnd().succeeded)
    }
  }
}
