import FaultKit
import Glibc
import Testing

@Suite("Jobs of a client, and waiting for all of them")
struct ClientWaitTests {
  /// A small job that ends at once.
  private func quick(_ bench: Workbench, _ daemon: Daemon, _ name: String, client: String = "a") throws -> Job {
    let source = bench.disk + "/quick"
    if !Files.exists(source) { try Files.write(source, Pattern.bytes(4096, seed: 3)) }
    return try daemon.submit("from=\(source) to=\(bench.disk)/\(name) create=yes client=\(client)", as: name)
  }

  @Test("A job through client= counts there and nowhere else, uses its pages, and is shown with its name")
  func counted() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let held = try HeldJob(bench, daemon, keys: "client=a")
      #expect(try held.job.status()["client"] == "a" && held.job.text("spec").contains("client=a"))
      #expect(try client.value("jobs") == "1" && daemon.client("default").value("jobs") == "0")
      let free = try (client.value("pages_free"), daemon.client("default").value("pages_free"))
      #expect((Int(free.0) ?? 4096) < 4096 && free.1 == "4096", "\(free)")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      #expect(try client.value("jobs") == "0" && Pattern.difference(held.destination.loop.contents(), from: held.source.contents()) == nil)
      try eventually("the pages are free") { try client.value("pages_free") == "4096" }
    }
  }

  @Test("A client that isn't there is ENOENT, in the column of its word; another's is EACCES")
  func unknown() throws {
    try withDaemon { bench, daemon in
      #expect(try errnoName { _ = try quick(bench, daemon, "x", client: "nobody") } == "ENOENT")
      let refusal = try #require(try daemon.refusals.last)
      #expect(refusal["error"] == "ENOENT" && refusal["text"].contains("nobody") && refusal.number("column") > 0, "\(refusal)")
      try daemon.expectNoJobs()
    }
  }

  @Test("rmdir of a client is EBUSY while a job of it runs, and done when the job is final, removed or not")
  func busy() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let held = try HeldJob(bench, daemon, keys: "client=a")
      #expect(try errnoName { try Files.removeDirectory(client.path) } == "EBUSY")
      let outcome = try run("rmdir", client.path)
      #expect(!outcome.succeeded && outcome.errorText.contains("busy"), "\(outcome)")
      #expect(try daemon.refusals.last?["text"].contains("1 unfinished") == true)
      try held.letGo()
      #expect(try held.job.result() == "ok")
      try Files.removeDirectory(client.path)
      #expect(try held.job.status()["client"] == "a")
      #expect(try errnoName { _ = try quick(bench, daemon, "x") } == "ENOENT")
    }
  }

  @Test("One unfinished job more than max_jobs is ENOBUFS, and nothing is left of it; final ones don't count")
  func limit() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      #expect(try client.set("max_jobs", "1") == "")
      let held = try HeldJob(bench, daemon, keys: "client=a")
      #expect(try errnoName { _ = try quick(bench, daemon, "x") } == "ENOBUFS")
      #expect(try daemon.refusals.last?["error"] == "ENOBUFS" && !Files.exists(bench.disk + "/x"))
      try eventually("nothing of it is in jobs/") { try daemon.jobNames == ["held"] }
      #expect(try quick(bench, daemon, "y", client: "default").result() == "ok")
      #expect(try client.set("max_jobs", "2") == "")
      #expect(try quick(bench, daemon, "z").result() == "ok")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      #expect(try client.set("max_jobs", "1") == "" && quick(bench, daemon, "x").result() == "ok")
      #expect(try client.set("max_jobs", "0") == "" && errnoName { _ = try quick(bench, daemon, "w") } == "ENOBUFS")
    }
  }

  @Test("wait blocks until the jobs are final that were there at its first read, and says what is unfinished then")
  func blocked() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let first = try HeldJob(bench, daemon, as: "first", keys: "client=a")
      let reader = try Command("cat", [client.path + "/wait"]).start()
      try reader.awaitRead(of: client.path + "/wait")
      // One that comes later, and one of another client, are not waited for.
      let second = try HeldJob(bench, daemon, as: "second", keys: "client=a")
      let other = try HeldJob(bench, daemon, as: "other")
      #expect(reader.running)
      #expect(try quick(bench, daemon, "done").result() == "ok")
      #expect(reader.running)
      try first.letGo()
      #expect(try reader.wait(within: .seconds(20)).text == "client=a jobs=1\n")
      let again = try Command("cat", [client.path + "/wait"]).start()
      try again.awaitRead(of: client.path + "/wait")
      try second.letGo()
      #expect(try again.wait(within: .seconds(20)).text == "client=a jobs=0\n")
      #expect(try Files.text(client.path + "/wait") == "client=a jobs=0\n" && other.job.value("state") == "running")
      try other.letGo()
      #expect(try Files.text(daemon.client("default").path + "/wait") == "client=default jobs=0\n")
      for job in [first, second, other] { #expect(try job.job.result() == "ok") }
    }
  }

  @Test("A shell gives ten jobs and waits for them with one cat")
  func shellWait() throws {
    try withDaemon { bench, daemon in
      _ = try daemon.makeClient("a")
      let source = try bench.file("source", Pattern.bytes(1 << 20, seed: 5))
      let script = """
        for i in $(seq 10); do echo "from=$S to=$T/copy$i create=yes client=a" > "$M/jobs/j$i"; done
        cat "$M/clients/a/wait"
        cat "$M"/jobs/j*/state | sort | uniq -c
        """
      let outcome = try shell(script, environment: ["S": source, "T": bench.disk, "M": daemon.mount])
      #expect(outcome.text.split { $0 == " " || $0 == "\n" } == ["client=a", "jobs=0", "10", "done"], "\(outcome)")
    }
  }

  @Test("Cancelled and failed jobs are final as well, and who waits is told")
  func ended() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let held = try HeldJob(bench, daemon, keys: "client=a")
      let reader = try Command("cat", [client.path + "/wait"]).start()
      try reader.awaitRead(of: client.path + "/wait")
      #expect(try held.job.control("cancel") == "")
      try eventually("the cancel is taken") { try held.job.status()["phase"] == "cancelling" }
      #expect(reader.running)
      try held.letGo()
      #expect(try reader.wait(within: .seconds(20)).text == "client=a jobs=0\n")
      #expect(try held.job.value("state") == "cancelled")
    }
  }

  @Test("A signal ends a blocked reader at once", arguments: [SIGINT, SIGTERM, SIGKILL])
  func signalled(signal: Int32) throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let held = try HeldJob(bench, daemon, keys: "client=a")
      let reader = try Command("cat", [client.path + "/wait"]).start()
      try reader.awaitRead(of: client.path + "/wait")
      reader.signal(signal)
      #expect(try reader.wait(within: .seconds(2)).ending == .signal(signal))
      try held.letGo()
      #expect(try held.job.result() == "ok")
    }
  }

  @Test("wait is no seekable file; O_NONBLOCK is EAGAIN until the end; then the text, byte by byte if need be, and the end")
  func stream() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let held = try HeldJob(bench, daemon, keys: "client=a")
      let file = try OpenFile(client.path + "/wait", O_RDONLY | O_NONBLOCK)
      #expect(try errnoName { try file.rewind() } == "ESPIPE")
      #expect(try errnoName { _ = try file.read() } == "EAGAIN")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      var text: [UInt8] = []
      while case let byte = try file.read(1), !byte.isEmpty { text += byte }
      #expect(String(decoding: text, as: UTF8.self) == "client=a jobs=0\n")
      try file.close()
    }
  }

  @Test("poll, epoll and select see wait become readable with the end, and not before")
  func polled() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let held = try HeldJob(bench, daemon, keys: "client=a")
      let script = """
        import os, select, sys
        files = [os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK) for _ in range(2)]
        poll, epoll = select.poll(), select.epoll()
        for file in files: poll.register(file, select.POLLIN); epoll.register(file, select.EPOLLIN | select.EPOLLET)
        print(poll.poll(0), epoll.poll(0), select.select(files, [], [], 0)[0], flush=True)
        print(sorted(f for f, e in poll.poll(20000) if e == select.POLLIN) == files, flush=True)
        seen = set()
        while seen != set(files): seen |= {f for f, e in epoll.poll(20)}
        print(select.select(files, [], [], 20)[0] == files, [os.read(f, 65536) for f in files], flush=True)
        """
      let poller = try pythonCommand(script, [client.path + "/wait"]).start()
      try eventually("it has found nothing to read") { poller.text.contains("\n") }
      #expect(poller.text == "[] [] []\n")
      // Given after the poll: not waited for.
      let later = try HeldJob(bench, daemon, as: "later", keys: "client=a")
      try held.letGo()
      let text = "b'client=a jobs=1\\n'"
      #expect(try poller.wait(within: .seconds(20)).text == "[] [] []\nTrue\nTrue [\(text), \(text)]\n")
      try later.letGo()
      #expect(try later.job.result() == "ok")
    }
  }

  @Test("Clients that had jobs and were removed leave no descriptor and no thread behind")
  func nothingLeft() throws {
    try withDaemon { bench, daemon in
      func held() throws -> [Int] {
        try ["fd", "task"].map { try Files.names(in: "/proc/\(daemon.process.pid)/\($0)").count }
      }
      func round(_ number: Int) throws {
        let client = try daemon.makeClient("a")
        let job = try quick(bench, daemon, "job\(number)")
        #expect(try job.result() == "ok" && client.set("pages", "512") == "" && Files.text(client.path + "/wait") == "client=a jobs=0\n")
        // The job may outlive its client.
        for path in number % 2 == 0 ? [client.path, job.path] : [job.path, client.path] { try Files.removeDirectory(path) }
      }
      try round(0)
      // What stays: main, two that serve, one for the mount itself, one for its table, one that renders, one for turns, the
      // client's, four for opens and their watch, two of the runtime's, and four that devices had, for the next ones.
      try eventually("the first round's threads are gone") { try held()[1] <= 19 }
      let before = try held()
      for number in 1...20 { try round(number) }
      // A few more threads can be at work, each with a descriptor.
      try eventually("all is as before") { try zip(held(), before).allSatisfy { $0 <= $1 + 2 } }
    }
  }

  @Test("After the client's removal poll says so")
  func removed() throws {
    try withDaemon { _, daemon in
      let client = try daemon.makeClient("a")
      let script = """
        import os, select, sys
        file = os.open(sys.argv[1] + "/wait", os.O_RDONLY)
        os.rmdir(sys.argv[1])
        poll = select.poll()
        poll.register(file, select.POLLIN)
        print(poll.poll(1000)[0][1] == select.POLLERR | select.POLLHUP)
        """
      #expect(try python(script, client.path).text == "True\n")
    }
  }

  @Test("When the daemon stops, who waits gets ESHUTDOWN")
  func stopped() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let held = try HeldJob(bench, daemon, keys: "client=a")
      let script = """
        import errno, os, sys
        print("ready", flush=True)
        try: print(open(sys.argv[1]).read())
        except OSError as e: print(errno.errorcode[e.errno])
        """
      let reader = try pythonCommand(script, [client.path + "/wait"]).start()
      try eventually("it is ready") { reader.text.contains("ready") }
      try reader.awaitRead(of: client.path + "/wait")
      daemon.process.signal(SIGTERM)
      #expect(try reader.wait(within: .seconds(5)).text == "ready\nESHUTDOWN\n")
      try held.letGo()
      #expect(try daemon.expectEnd().succeeded)
    }
  }

  @Test("Pages, sub-job, slots, throttle and rate that change while copies run leave the data right")
  func live() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let source = try bench.loop(size: 96 << 20)
      let bytes = try source.fill(seed: 21)
      let destinations = try (0..<2).map { _ in try bench.loop(size: 96 << 20) }
      let changes = [
        ("pages", "256"), ("subjob", "64K"), ("slots", "1"), ("pages", "16"), ("slots", "64"), ("throttle", "50"), ("pages", "8192"),
        ("subjob", "4M"), ("throttle", "100"), ("rate", "200M"), ("subjob", "512K"), ("pages", "128"), ("rate", "max"), ("slots", "8"),
        ("subjob", "4K"), ("pages", "4096"), ("subjob", "1M"),
      ]
      var changed = 0
      for round in 0..<6 {
        let job = try daemon.submit(
          "from=\(source.path) to=\(destinations[0].path) to=\(destinations[1].path) client=a", as: "round\(round)")
        while try job.value("state") == "running" || job.value("state") == "queued", changed < 600 {
          let (file, value) = changes[changed % changes.count]
          #expect(try client.set(file, value) == "", "\(file) \(value)")
          changed += 1
        }
        #expect(try job.result() == "ok")
        for destination in destinations {
          #expect(Pattern.difference(try destination.contents(), from: bytes) == nil)
          try destination.fill([UInt8](repeating: 0, count: 1 << 20), at: round << 20)
        }
      }
      #expect(changed > changes.count)
      try eventually("all pages are free") { try client.value("pages_free") == client.value("pages") && client.value("jobs") == "0" }
      try Files.removeDirectory(client.path)
    }
  }
}
