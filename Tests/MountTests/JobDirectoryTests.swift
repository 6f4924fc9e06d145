import FaultKit
import Glibc
import Testing

@Suite("The job's directory")
struct JobDirectoryTests {
  /// A job that copied 100,000 bytes from a file to two.
  private func withDoneJob(context: String = "", _ body: (Workbench, Daemon, Job) throws -> Void) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100_000, seed: 1))
      let first = try bench.file("first", [])
      let second = try bench.file("second", [])
      let job = try daemon.copy("from=\(source) to=\(first) to=\(second)@1K" + context)
      try body(bench, daemon, job)
    }
  }

  @Test("It has exactly the contract's files with their modes, and belongs to the submitter")
  func files() throws {
    try withDoneJob { _, _, job in
      let modes: [String: UInt32] = [
        "spec": 0o444, "status": 0o444, "status.json": 0o444, "state": 0o444, "progress": 0o444, "read_err": 0o444, "write_err": 0o444,
        "wait": 0o444, "result": 0o444, "ctl": 0o200,
      ]
      #expect(try Files.names(in: job.path) == (Array(modes.keys) + ["dest"]).sorted())
      for (name, mode) in modes {
        let facts = try Files.facts(job.path + "/" + name)
        #expect(facts.mode == UInt32(S_IFREG) | mode, "\(name)")
        #expect(facts.uid == 0)
      }
      #expect(try Files.facts(job.path).permissions == 0o755)
      #expect(try Files.facts(job.path + "/dest").isDirectory)
      #expect(try Files.names(in: job.path + "/dest") == ["0", "1"])
      for index in 0...1 {
        let names = try Files.names(in: job.path + "/dest/\(index)")
        #expect(names.contains("status") && Set(names).isSubset(of: ["status", "map"]), "\(names)")
        #expect(try Files.facts(job.path + "/dest/\(index)/status").mode == UInt32(S_IFREG) | 0o444)
      }
    }
  }

  @Test("The one-value files, progress, wait and result say what status says")
  func views() throws {
    try withDoneJob { _, _, job in
      #expect(try job.text("state") == "done\n")
      #expect(try job.text("progress") == "100000 100000\n")
      #expect(try job.text("read_err") == "0\n")
      #expect(try job.text("write_err") == "0x0\n")
      #expect(try job.text("result") == "ok\n")
      let status = try job.text("status")
      #expect(try job.text("wait") == status)
    }
  }

  @Test("dest/I/status tells of one destination")
  func destinationStatus() throws {
    try withDoneJob { bench, _, job in
      for (index, name) in ["first", "second"].enumerated() {
        let status = try Words(job.text("dest/\(index)/status"))
        #expect(
          status.keys == [
            "dest_path", "dest_state", "bytes_done", "bytes_durable", "bytes_failed", "error", "error_at", "error_length",
          ])
        #expect(status["dest_path"].hasPrefix(bench.disk + "/" + name))
        #expect(status["dest_state"] == "done")
        #expect(status["bytes_done"] == "100000")
        #expect(status["bytes_durable"] == "100000")
        #expect(status["bytes_failed"] == "0")
        #expect(status["error"] == "")
      }
    }
  }

  @Test("Its mode follows the submitter's umask, search bits as read bits", arguments: ["022", "077", "027"])
  func umask(mask: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10, seed: 1))
      let destination = try bench.file("destination", [])
      let record = "from=\(source) to=\(destination)"
      try shell("umask \(mask); echo \"$R\" > \"$J\"", environment: ["R": record, "J": daemon.path("jobs/a")]).orThrow()
      let bits = try #require(UInt32(mask, radix: 8))
      #expect(try Files.facts(daemon.job("a").path).permissions == 0o755 & ~bits)
      #expect(try daemon.job("a").result() == "ok")
    }
  }

  @Test("ls, find, stat and du walk the mount without an error")
  func walkers() throws {
    try withDoneJob { _, daemon, job in
      for script in ["ls -laR .", "find . -ls", "stat -c %n jobs/*/* README", "du -a .", "ls -l jobs", "find jobs -type f -name status"] {
        let outcome = try shell("cd \"$M\" && \(script)", environment: ["M": daemon.mount])
        #expect(outcome.succeeded && outcome.errorText.isEmpty && outcome.text.contains("job"), "\(outcome)")
      }
      #expect(try Files.names(in: daemon.path("jobs")) == [job.name])
    }
  }

  @Test("stat tells a fresh time")
  func time() throws {
    try withDoneJob { _, _, job in
      let age = Glibc.time(nil) - (try Files.facts(job.path).modified)
      #expect((-2...60).contains(age))
    }
  }

  @Test("rmdir removes a final job, and its name is free again", arguments: ["rmdir", "rm -r", "rm -rf"])
  func removal(tool: String) throws {
    try withDoneJob { _, daemon, job in
      let first = try job.status()
      let spec = String(try job.text("spec").dropLast())
      try shell("\(tool) \"$J\"", environment: ["J": job.path]).orThrow()
      #expect(!Files.exists(job.path))
      #expect(try daemon.jobNames.isEmpty)
      #expect(try Files.text(daemon.path("list")).isEmpty)
      let second = try daemon.copy(spec)
      #expect(try second.status()["id"] != first["id"])
    }
  }

  @Test("A running job can't be removed: EBUSY, and nothing of it is hidden")
  func busy() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let before = try Files.names(in: held.job.path)
      #expect(try errnoName { try Files.removeDirectory(held.job.path) } == "EBUSY")
      #expect(try errnoName { try Files.unlink(held.job.path + "/status") } == "EBUSY")
      #expect(try !shell("rm -rf \"$J\"", environment: ["J": held.job.path]).succeeded)
      #expect(try Files.names(in: held.job.path) == before)
      try held.letGo()
      #expect(try held.job.result() == "ok")
      try Files.removeDirectory(held.job.path)
    }
  }

  @Test("rm -rf jobs/* removes all that is final")
  func removeAll() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10, seed: 1))
      let records = try (0..<20).map { "from=\(source) to=\(try bench.file("d\($0)", []))\n" }
      try Files.write(daemon.path("submit"), records.joined())
      let names = try daemon.jobNames
      #expect(names.count == 20)
      var ids: Set<String> = []
      for name in names {
        #expect(try daemon.job(name).result() == "ok")
        ids.insert(try daemon.job(name).status()["id"])
      }
      #expect(ids.count == 20)
      try shell("rm -rf \"$M\"/jobs/*", environment: ["M": daemon.mount]).orThrow()
      #expect(try daemon.jobNames.isEmpty)
    }
  }

  @Test("What the tree does not offer is EPERM: rename, link, symlink and node")
  func refusedOperations() throws {
    try withDoneJob { _, daemon, job throws in
      for (tool, arguments) in [("rename", "sys.argv[1], sys.argv[2]"), ("symlink", "'x', sys.argv[2]"), ("mkfifo", "sys.argv[2]")] {
        let script = "import os,sys,errno\ntry: os.\(tool)(\(arguments)); print('ok')\nexcept OSError as e: print(errno.errorcode[e.errno])"
        #expect(try python(script, job.path, daemon.path("jobs/other")).line == "EPERM", "\(tool)")
      }
      #expect(try errnoName { try Files.link(job.path + "/status", as: daemon.path("jobs/other")) } == "EPERM")
      #expect(try daemon.jobNames == [job.name])
    }
  }

  @Test("Whoever may write to the directory of another's job removes nothing of it all the same")
  func writable() throws {
    try withDaemon(options: ["allow_other"]) { bench, daemon in
      let job = try daemon.copy("op=none")
      try run("chmod", "0777", job.path).orThrow()
      let before = try Files.names(in: job.path)
      let outcome = try User.bob.shell("rm \"$1/state\"; rmdir \"$1/dest\" \"$1\"; rm -rf \"$1\"", job.path)
      #expect(!outcome.succeeded && outcome.errorText.contains("Operation not permitted"), "\(outcome)")
      #expect(try Files.names(in: job.path) == before)
      try run("rm", "-r", job.path).orThrow()
      try daemon.expectNoJobs()
    }
  }
}
