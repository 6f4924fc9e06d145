import FaultKit
import Glibc
import Testing

@Suite("Waiting for a job")
struct WaitTests {
  @Test("A blocked reader of wait or result ends when the job does, and not before", arguments: ["wait", "result"])
  func blocked(file: String) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let reader = try Command("cat", [held.job.path + "/" + file]).start()
      try reader.awaitRead(of: held.job.path + "/" + file)
      try held.letGo()
      let outcome = try reader.wait(within: .seconds(20))
      #expect(outcome.succeeded, "\(outcome)")
      if file == "result" { #expect(outcome.text == "ok\n") } else { #expect(try Words(outcome.text)["state"] == "done") }
    }
  }

  @Test("A signal ends a blocked reader at once", arguments: [SIGINT, SIGTERM, SIGKILL, SIGHUP, SIGQUIT], ["wait", "result"])
  func signalled(signal: Int32, file: String) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      // SIGQUIT would leave a core.
      let reader = try Command("prlimit", ["--core=0", "cat", held.job.path + "/" + file]).start()
      try reader.awaitRead(of: held.job.path + "/" + file)
      reader.signal(signal)
      #expect(try reader.wait(within: .seconds(2)).ending == .signal(signal))
      #expect(try held.job.value("state") == "running")
      try held.letGo()
      #expect(try held.job.result() == "ok")
    }
  }

  @Test("A stopped and continued reader, and one whose handler returns, wait on")
  func stopped() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script = """
        import signal, sys
        signal.signal(signal.SIGUSR1, lambda *a: print("handled"))
        print("ready")
        print(open(sys.argv[1]).read().strip())
        """
      let reader = try pythonCommand(script, [held.job.path + "/result"]).start()
      try eventually("the reader is ready") { reader.text.contains("ready") }
      try reader.awaitRead(of: held.job.path + "/result")
      reader.signal(SIGUSR1)
      try eventually("the handler has run") { reader.text.contains("handled") }
      reader.signal(SIGSTOP)
      pause(.milliseconds(50))
      reader.signal(SIGCONT)
      pause(.milliseconds(100))
      #expect(reader.running)
      try held.letGo()
      #expect(try reader.wait(within: .seconds(20)).text == "ready\nhandled\nok\n")
    }
  }

  @Test("With O_NONBLOCK a read is EAGAIN until the job is final, then gives the text, then the end", arguments: ["wait", "result"])
  func nonblocking(file: String) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let open = try OpenFile(held.job.path + "/" + file, O_RDONLY | O_NONBLOCK)
      #expect(try errnoName { _ = try open.read() } == "EAGAIN")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      #expect(try !open.read().isEmpty)
      #expect(try open.read().isEmpty)
      try open.close()
    }
  }

  @Test("wait and result are no seekable files, and can be read in single bytes")
  func stream() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      let job = try daemon.copy("from=\(source) to=\(destination)")
      for name in ["wait", "result"] {
        let file = try OpenFile(job.path + "/" + name, O_RDONLY)
        #expect(try errnoName { try file.rewind() } == "ESPIPE", "\(name)")
        var text: [UInt8] = []
        while case let byte = try file.read(1), !byte.isEmpty { text += byte }
        #expect(try String(decoding: text, as: UTF8.self) == (name == "result" ? "ok\n" : job.text("status")), "\(name)")
        try file.close()
      }
    }
  }

  @Test("Two hundred readers wait for one job")
  func manyReaders() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script = "for i in $(seq 200); do cat \"$F\" & done; echo started; wait"
      let readers = try shellCommand(script, environment: ["F": held.job.path + "/result"]).start()
      try eventually("all readers are started") { readers.text.contains("started") }
      pause(.milliseconds(200))
      #expect(readers.text == "started\n")
      // Nobody waits for the waiters.
      #expect(try held.job.value("state") == "running")
      try held.letGo()
      let lines = try readers.wait(within: .seconds(30)).text.split(separator: "\n")
      #expect(lines.filter { $0 == "ok" }.count == 200)
    }
  }

  @Test("After the job's removal an open wait and result are ENODEV")
  func removed() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      let job = try daemon.copy("from=\(source) to=\(destination)")
      let files = try ["wait", "result"].map { try OpenFile(job.path + "/" + $0, O_RDONLY) }
      try Files.removeDirectory(job.path)
      for file in files {
        #expect(try errnoName { _ = try file.read() } == "ENODEV", "\(file.path)")
        try file.close()
      }
    }
  }

  @Test("The states go from queued through running to done, with their times")
  func states() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let running = try held.job.status()
      #expect(running["state"] == "running" && running["dest0_state"] == "running", "\(running)")
      #expect(running["read_err"] == "0" && running["write_err"] == "0x0" && running["error"] == "", "\(running)")
      #expect(running.time("queued_at") > 0 && running.time("started_at") >= running.time("queued_at"), "\(running)")
      #expect(running["finished_at"] == "" && running["bytes_durable"] == "0" && running["bytes_total"] == "\(4 << 20)", "\(running)")
      #expect(try held.job.value("progress") == "\(running["bytes_done"]) \(4 << 20)")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      let done = try held.job.status()
      #expect(done["state"] == "done" && done["dest0_state"] == "done" && done["phase"] == "", "\(done)")
      #expect(done.time("finished_at") >= running.time("started_at"), "\(done)")
      #expect(done["queued_at"] == running["queued_at"] && done["started_at"] == running["started_at"] && done["id"] == running["id"])
    }
  }

  @Test("Other files and other jobs don't wait for a job that is held")
  func independence() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let reader = try Command("cat", [held.job.path + "/wait"]).start()
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      for index in 0..<20 { try daemon.copy("from=\(source) to=\(destination)", as: "quick\(index)") }
      #expect(try held.job.value("state") == "running")
      #expect(reader.running)
      try held.letGo()
      #expect(try reader.wait(within: .seconds(20)).succeeded)
    }
  }
}
