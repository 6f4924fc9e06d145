import FaultKit
import Glibc
import Testing

@Suite("Records, however they arrive")
struct RecordTests {
  /// A file to copy from, a name for each copy, and the record that makes it.
  private func withSource(_ body: (Workbench, Daemon, _ record: (String) throws -> String) throws -> Void) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(1000, seed: 1), inMemory: true)
      try body(bench, daemon) { name in "from=\(source) to=\(try bench.file(name, [], inMemory: true))" }
    }
  }

  /// What a job's copy must have come to.
  private func expectCopied(_ bench: Workbench, _ daemon: Daemon, job: String, to name: String) throws {
    #expect(try daemon.job(job).result() == "ok")
    #expect(try Pattern.difference(Files.read(bench.memory + "/" + name), from: Pattern.bytes(1000, seed: 1)) == nil)
  }

  // A partial record is only safe from another test's start of a child (which closes a copy of the descriptor) in a process of its own.

  @Test("A record may come byte by byte; only its newline makes the job")
  func byteByByte() throws {
    try withSource { bench, daemon, record in
      let script = """
        import os, sys
        record, mount = sys.argv[1].encode(), sys.argv[2]
        fd = os.open(mount + "/jobs/slow", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        for index in range(len(record)): os.write(fd, record[index:index + 1])
        print(os.path.isdir(mount + "/jobs/slow"))
        os.write(fd, b"\\n")
        print(os.path.isdir(mount + "/jobs/slow"))
        os.close(fd)
        """
      let outcome = try python(script, record("copy"), daemon.mount)
      #expect(outcome.line == "False\nTrue", "\(outcome)")
      try expectCopied(bench, daemon, job: "slow", to: "copy")
    }
  }

  @Test("One write to submit makes many jobs, and their names are read on the same descriptor in order")
  func manyInOneWrite() throws {
    try withSource { bench, daemon, record in
      let text = try (0..<10).map { try record("c\($0)") + " context=\($0)\n" }.joined()
      let file = try OpenFile(daemon.path("submit"), O_RDWR)
      #expect(try file.write(Array(text.utf8)) == text.utf8.count)
      let names = String(decoding: try file.read(), as: UTF8.self).split(separator: "\n").map(String.init)
      #expect(names.count == 10 && Set(names).count == 10)
      #expect(names.allSatisfy { Int($0) != nil }, "\(names)")
      for (index, name) in names.enumerated() {
        #expect(try daemon.job(name).status()["context"] == "\(index)")
        try expectCopied(bench, daemon, job: name, to: "c\(index)")
      }
      #expect(try file.read().isEmpty)
      try file.close()
    }
  }

  @Test("A descriptor without an accepted record reads the end of submit, and another's names don't show")
  func ownNames() throws {
    try withSource { _, daemon, record in
      let idle = try OpenFile(daemon.path("submit"), O_RDWR)
      let busy = try OpenFile(daemon.path("submit"), O_RDWR)
      try busy.writeAll(Array((try record("copy") + "\n").utf8))
      #expect(try idle.read().isEmpty)
      let name = try busy.read(1) + busy.readToEnd()
      try idle.close()
      try busy.close()
      #expect(try daemon.job(String(decoding: name.dropLast(), as: UTF8.self)).result() == "ok")
    }
  }

  @Test("A number is never given twice, not even when its job is gone")
  func numbers() throws {
    try withSource { _, daemon, record in
      let line = try record("copy") + "\n"
      var names: [Int] = []
      for _ in 0..<5 {
        let file = try OpenFile(daemon.path("submit"), O_RDWR)
        try file.writeAll(Array(line.utf8))
        let name = String(decoding: try file.read(), as: UTF8.self).dropLast()
        try file.close()
        #expect(try daemon.job(String(name)).result() == "ok")
        try Files.removeDirectory(daemon.job(String(name)).path)
        names.append(try #require(Int(name)))
      }
      #expect(Set(names).count == 5 && names == names.sorted(), "\(names)")
    }
  }

  @Test("name= in submit names the job and is what is read back")
  func named() throws {
    try withSource { bench, daemon, record in
      let file = try OpenFile(daemon.path("submit"), O_RDWR)
      try file.writeAll(Array((try record("copy") + " name=my-job_1.x\n").utf8))
      #expect(String(decoding: try file.read(), as: UTF8.self) == "my-job_1.x\n")
      try file.close()
      try expectCopied(bench, daemon, job: "my-job_1.x", to: "copy")
      #expect(try Words(daemon.job("my-job_1.x").text("spec"))["name"] == "absent")
    }
  }

  @Test("JSON says the same as a line, with regions as text or as objects in bytes; its brace completes it", arguments: [false, true])
  func json(objects: Bool) throws {
    try withSource { bench, daemon, record in
      _ = try (record("a"), record("b"))
      let path = try bench.memory
      let text =
        objects
        ? #"{"from": {"path": "\#(path)/source", "start": 100, "count": 600}, "to": [{"path": "\#(path)/a", "start": 3}, "\#(path)/b"]}"#
        : #"{"to": ["\#(path)/a@3B", "\#(path)/b"], "context": "ü \"x\" \u00e9", "from": "\#(path)/source@100B+600B"}"#
      let file = try OpenFile(daemon.path("submit"), O_RDWR)
      try file.writeAll(Array(text.utf8))
      let name = String(decoding: try file.read(), as: UTF8.self).dropLast()
      try file.close()
      let job = daemon.job(String(name))
      #expect(try job.result() == "ok")
      if !objects { #expect(try job.status()["context"] == "ü \"x\" é") }
      let region = Array(Pattern.bytes(1000, seed: 1)[100..<700])
      #expect(try Files.read(path + "/a") == [0, 0, 0] + region)
      #expect(try Files.read(path + "/b") == region)
    }
  }

  /// `%1` and `%2` stand for two records.
  static let layouts = [
    "# a comment\n\n%1\n", "%1\r\n", "\n\n   \n%1\n# end\n", "%1 \\\n context=x\n", "#%1\n%2\n", "%1\n\n#\n%2\n",
    "%1\\\n context=x\r\n%2\r\n",
  ]

  @Test("Comments, blank lines, continuations and carriage returns are no part of a record", arguments: layouts)
  func lines(text: String) throws {
    try withSource { bench, daemon, record in
      var text = text
      var expected: [String] = []
      for number in ["1", "2"] where text.contains("%" + number) {
        let commented = text.contains("#%" + number)
        let line = try record("c" + number) + " name=j\(number)"
        text = text.split(separator: "%" + number, omittingEmptySubsequences: false).joined(separator: line)
        if !commented { expected.append("j" + number) }
      }
      try Files.write(daemon.path("submit"), text)
      #expect(try daemon.jobNames == expected)
      for name in expected { #expect(try daemon.job(name).result() == "ok", "\(name)") }
      if text.contains("context=x") { #expect(try daemon.job("j1").status()["context"] == "x") }
    }
  }

  @Test("A record without its newline is refused when its file is closed: EINVAL, and nothing is left", arguments: ["jobs/x", "submit"])
  func unterminated(place: String) throws {
    try withSource { _, daemon, record in
      let script = """
        import errno, os, sys
        fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
        print(os.write(fd, sys.argv[2].encode()) == len(sys.argv[2]))
        try: os.close(fd); print("closed")
        except OSError as e: print(errno.errorcode[e.errno])
        """
      let line = try record("copy")
      #expect(try python(script, daemon.path(place), line).line == "True\nEINVAL")
      try daemon.expectNoJobs()
      let refusal = try #require(try daemon.refusals.last)
      #expect(refusal["error"] == "EINVAL" && refusal["text"].contains("newline"), "\(refusal)")
      #expect(line.hasPrefix(refusal["record"].prefix(20)), "\(refusal)")
    }
  }

  @Test("A writer killed in the middle of a record leaves no job")
  func killedWriter() throws {
    try withSource { bench, daemon, record in
      let script = """
        import os, sys, time
        fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
        os.write(fd, sys.argv[2].encode())
        print("written")
        time.sleep(60)
        """
      // Cut in a number: what is there would be a record, with a start that nobody meant.
      let writer = try pythonCommand(script, [daemon.path("jobs/x"), record("copy") + "@4096"]).start()
      try eventually("the writer has written") { writer.text.contains("written") }
      writer.signal(SIGKILL)
      #expect(try writer.wait().ending == .signal(SIGKILL))
      try daemon.expectNoJobs()
      #expect(try Files.read(bench.memory + "/copy").isEmpty)
    }
  }

  @Test("touch and an empty write leave nothing", arguments: ["touch \"$J\"", ": > \"$J\"", "printf '\\n# only this\\n' > \"$J\""])
  func empty(script: String) throws {
    try withDaemon { _, daemon in
      #expect(try shell(script, environment: ["J": daemon.path("jobs/x")]).succeeded)
      try daemon.expectNoJobs()
      #expect(try daemon.refusals.isEmpty)
    }
  }

  @Test("A name that is taken is EISDIR or EEXIST, and the job there is unharmed")
  func taken() throws {
    try withSource { bench, daemon, record in
      let first = try daemon.copy(record("a"))
      let status = try first.text("status")
      let line = try record("b") + "\n"
      #expect(try errnoName { try Files.write(first.path, line) } == "EISDIR")
      #expect(try errnoName { try Files.write(first.path, line, flags: O_WRONLY | O_CREAT | O_EXCL) } == "EEXIST")
      let outcome = try shell("echo \"$R\" > \"$J\"", environment: ["R": line, "J": first.path])
      #expect(!outcome.succeeded && outcome.errorText.contains("Is a directory"), "\(outcome)")
      let named = try errnoName { try Files.write(daemon.path("submit"), String(line.dropLast()) + " name=job\n") }
      #expect(["EISDIR", "EEXIST"].contains(named), "\(named)")
      #expect(try first.text("status") == status)
      #expect(try daemon.jobNames == ["job"])
      #expect(try Files.read(bench.memory + "/b").isEmpty)
    }
  }

  @Test("The name of a refused record is free as soon as its file is closed", arguments: ["O_TRUNC", "O_EXCL"])
  func freeAtOnce(flag: String) throws {
    try withDaemon { _, daemon in
      // The kernel tells of the last close only after close(2) has returned.
      let script = """
        import collections, errno, os, sys
        seen = collections.Counter()
        for turn in range(4000):
            try:
                fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | getattr(os, sys.argv[2]))
            except OSError as e:
                seen["open " + errno.errorcode[e.errno]] += 1
                continue
            try: os.write(fd, b"rubbish\\n")
            except OSError as e: seen["write " + errno.errorcode[e.errno]] += 1
            os.close(fd)
        print(*seen.items())
        """
      let outcome = try python(script, daemon.path("jobs/x"), flag)
      #expect(outcome.line == "('write EINVAL', 4000)", "\(outcome)")
    }
  }

  @Test("A second record into one name is EBUSY, and the first stands")
  func twoRecords() throws {
    try withSource { bench, daemon, record in
      let file = try OpenFile(daemon.path("jobs/x"), O_WRONLY | O_CREAT)
      try file.writeAll(Array((try record("a") + "\n").utf8))
      let second = Array((try record("b") + "\n").utf8)
      #expect(try errnoName { _ = try file.write(second) } == "EBUSY")
      try file.close()
      try expectCopied(bench, daemon, job: "x", to: "a")
      #expect(try Files.read(bench.memory + "/b").isEmpty)
    }
  }

  @Test("fsync completes a record that has no newline, and tells of a bad one")
  func synchronised() throws {
    try withSource { bench, daemon, record in
      let script = """
        import errno, os, sys
        fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
        os.write(fd, sys.argv[2].encode())
        try: os.fsync(fd); print("accepted")
        except OSError as e: print(errno.errorcode[e.errno])
        print(os.path.isdir(sys.argv[1]))
        try: os.close(fd)
        except OSError as e: print("close", errno.errorcode[e.errno])
        """
      #expect(try python(script, daemon.path("jobs/x"), record("copy")).line == "accepted\nTrue")
      try expectCopied(bench, daemon, job: "x", to: "copy")
      #expect(try python(script, daemon.path("jobs/y"), "form=/x").line == "EINVAL\nFalse")
      try eventually("only x is left") { try daemon.jobNames == ["x"] }
    }
  }
}
