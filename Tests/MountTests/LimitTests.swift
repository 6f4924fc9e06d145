import FaultKit
import Glibc
import Testing

@Suite("Limits, deadlines and hanging paths")
struct LimitTests {
  /// The last refusal in `errors`, after a submission that must fail.
  private func refused(_ daemon: Daemon, _ record: String, as name: String) throws -> (errno: String, entry: Words?) {
    let errno = try errnoName { _ = try daemon.submit(record, as: name) }
    return (errno, try daemon.refusals.last)
  }

  @Test("One job more than max_jobs is EDQUOT, and a removed job makes room")
  func quota() throws {
    try withDaemon(options: ["max_jobs=1"]) { bench, daemon in
      let (source, destination) = (try bench.file("source", Pattern.bytes(1000, seed: 1)), try bench.file("destination", []))
      let record = "from=\(source) to=\(destination)"
      let first = try daemon.copy(record, as: "first")
      let refusal = try refused(daemon, record, as: "second")
      #expect(refusal.errno == "EDQUOT" && refusal.entry?["error"] == "EDQUOT", "\(refusal)")
      #expect(try daemon.jobNames == ["first"])
      try run("rmdir", first.path).orThrow()
      try daemon.copy(record, as: "second")
    }
  }

  @Test("Jobs that would take the last descriptors are ENOBUFS, and go when others have ended")
  func descriptors() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon(launcher: ["prlimit", "--nofile=80:80"])
      let source = try bench.file("source", Pattern.bytes(1000, seed: 1))
      let destination = try bench.faultDevice()
      let padded = try bench.file("padded", Pattern.bytes(4096, seed: 2))
      try destination.hold(.write)
      var accepted = 0
      var refusal = (errno: "", entry: Words?.none)
      while refusal.errno.isEmpty, accepted < 100 {
        refusal = try refused(daemon, "from=\(padded) to=\(destination.path)@\(accepted * 8)s", as: "held\(accepted)")
        if refusal.errno.isEmpty { accepted += 1 }
      }
      #expect(refusal.errno == "ENOBUFS" && refusal.entry?["error"] == "ENOBUFS", "\(refusal)")
      #expect(accepted > 2 && accepted < 80 / 4 * 3, "\(accepted)")
      #expect(try daemon.jobNames.count == accepted)
      try destination.open(.write)
      for number in 0..<accepted { #expect(try daemon.job("held\(number)").result() == "ok") }
      try daemon.copy("from=\(source) to=\(bench.disk)/after create=yes", as: "after")
    }
  }

  @Test("A path that does not open in 5 s is ETIMEDOUT; meanwhile others are served, and nothing is left of it")
  func deadline() throws {
    try withDaemon { bench, daemon in
      let hanging = try bench.faultDevice()
      let (source, destination) = (try bench.file("source", Pattern.bytes(1000, seed: 1)), try bench.file("destination", []))
      try eventually("the daemon is at rest") { try Files.names(in: "/proc/\(daemon.process.pid)/fd").count > 0 }
      let before = try Files.names(in: "/proc/\(daemon.process.pid)/fd").count
      hanging.hang()
      let script = """
        import os, sys
        try: os.write(os.open(sys.argv[1] + "/jobs/stuck", os.O_WRONLY | os.O_CREAT), b"from=%s to=%s\\n" % (sys.argv[2].encode(), sys.argv[3].encode()))
        except OSError as e: print(__import__("errno").errorcode[e.errno])
        """
      let writer = try pythonCommand(script, [daemon.mount, hanging.file, destination]).start()
      try eventually("the placeholder is there") { try daemon.jobNames == ["stuck"] }
      try daemon.copy("from=\(source) to=\(bench.disk)/other create=yes", as: "other")
      #expect(writer.running, "the others did not wait for it")
      #expect(try writer.wait(within: .seconds(20)).line == "ETIMEDOUT")
      #expect(try daemon.refusals.last?["error"] == "ETIMEDOUT")
      try daemon.copy("from=\(source) to=\(destination)", as: "again")
      hanging.goOn()
      try eventually("the late open is undone") {
        try Files.names(in: "/proc/\(daemon.process.pid)/fd").count <= before && daemon.jobNames.sorted() == ["again", "other"]
      }
    }
  }

  @Test("A signal ends a writer whose path hangs, and there is no job", arguments: [SIGINT, SIGTERM, SIGKILL])
  func signalled(signal: Int32) throws {
    try withDaemon { bench, daemon in
      let hanging = try bench.faultDevice()
      let destination = try bench.file("destination", [])
      hanging.hang()
      let writer = try shellCommand("echo 'from=\(hanging.file) to=\(destination)' > \(daemon.path("jobs/stuck")); exit 3").start()
      try eventually("the placeholder is there") { try daemon.jobNames == ["stuck"] }
      try writer.awaitWrite(of: daemon.path("jobs/stuck"))
      writer.signal(signal)
      #expect(try writer.wait(within: .seconds(3)).ending == .signal(signal))
      hanging.goOn()
      try daemon.expectNoJobs()
      // The name is free at once, the destination when the open that hung has come back.
      try eventually("the record is accepted") {
        try errnoName { _ = try daemon.submit("from=\(hanging.file)@0+4K to=\(destination)", as: "stuck") }.isEmpty
      }
      #expect(try daemon.job("stuck").result() == "ok")
    }
  }

  @Test("poll, epoll and select see wait and result become readable with the end, and not before")
  func polled() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script = """
        import os, select, sys
        names = ["wait", "result"]
        files = [os.open(sys.argv[1] + "/" + name, os.O_RDONLY | os.O_NONBLOCK) for name in names]
        poll, epoll = select.poll(), select.epoll()
        for file in files: poll.register(file, select.POLLIN); epoll.register(file, select.EPOLLIN | select.EPOLLET)
        print(poll.poll(0), epoll.poll(0), select.select(files, [], [], 0)[0], flush=True)
        print(sorted(f for f, e in poll.poll(20000) if e == select.POLLIN) == files, flush=True)
        seen = set()
        while seen != set(files): seen |= {f for f, e in epoll.poll(20)}
        print(select.select(files, [], [], 20)[0] == files, [len(os.read(f, 65536)) > 0 for f in files], flush=True)
        """
      let poller = try pythonCommand(script, [held.job.path]).start()
      try eventually("it has found nothing to read") { poller.text.contains("\n") }
      #expect(poller.text == "[] [] []\n")
      try held.letGo()
      #expect(try poller.wait(within: .seconds(20)).text == "[] [] []\nTrue\nTrue [True, True]\n")
    }
  }
}

@Suite("The daemon in the background and its state directory", .serialized)
struct BackgroundTests {
  @Test("Without -f the command returns when the mount answers; umount ends it; numbers go on where they were")
  func background() throws {
    try withWorkbench { bench in
      let mount = bench.disk + "/mnt"
      let state = bench.disk + "/state"
      try Files.makeDirectory(mount)
      bench.atEnd { _ = try run("umount", "-l", mount) }
      let source = try bench.file("source", Pattern.bytes(1000, seed: 1))
      let destination = try bench.file("destination", [])
      var last = 0
      for _ in 0..<3 {
        try Daemon.command([mount, "-o", "state=\(state)"]).run().orThrow()
        let script = "{ echo \"$R\" >&3 && read -r id <&3; } 3<>\"$M/submit\" && cat \"$M/jobs/$id/result\" && echo \"$id\""
        let outcome = try shell(script, environment: ["R": "from=\(source) to=\(destination)", "M": mount]).orThrow()
        let lines = outcome.text.split(separator: "\n")
        #expect(lines.first == "ok")
        let number = try #require(lines.last.flatMap { Int($0) })
        #expect(number > last)
        last = number
        try run("umount", mount).orThrow()
        try eventually("the state is free") { try run("flock", "-n", state + "/lock", "true").succeeded }
      }
      #expect(try Files.facts(state).permissions == 0o700)
      #expect(try Files.mode(state + "/journal.sqlite") == 0o100600)
    }
  }

  @Test("A second daemon on one state directory is refused by name, and the first goes on")
  func twoOnOne() throws {
    try withWorkbench { bench in
      let state = bench.disk + "/state"
      let first = try bench.daemon(options: ["state=\(state)"])
      let other = bench.disk + "/other"
      try Files.makeDirectory(other)
      let second = try Daemon.command([other, "-o", "state=\(state)"]).run()
      #expect(!second.succeeded && second.errorText.contains(state), "\(second)")
      #expect(try Files.text(first.path("version")).hasPrefix("version="))
      let third = try Daemon.command([first.mount, "-f", "-o", "state=none"]).run()
      #expect(!third.succeeded && third.errorText.contains("already"), "\(third)")
    }
  }

  @Test(
    "A wrong option is refused in words",
    arguments: ["stat=none", "pages=12", "pages=many", "state=relative", "max_jobs=0", "keep=", "max_jobs_per_uid=0"])
  func options(option: String) throws {
    try withWorkbench { bench in
      let outcome = try Daemon.command([bench.disk, "-f", "-o", option]).run()
      #expect(!outcome.succeeded && outcome.errorText.contains(option.split(separator: "=")[0]), "\(outcome)")
    }
  }
}
