import FaultKit
import Glibc
import Testing

@Suite("ctl")
struct ControlTests {
  @Test("cancel shows phase=cancelling until nothing is in flight; once cancelled is seen the device is free")
  func cancelled() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let waiter = try Command("cat", [held.job.path + "/wait"]).start()
      let outcome = try shell("echo cancel > \"$J/ctl\"", environment: ["J": held.job.path])
      #expect(outcome.succeeded, "\(outcome)")
      try eventually("the job is being cancelled") { try held.job.status()["phase"] == "cancelling" }
      pause(.milliseconds(100))
      #expect(try held.job.value("state") == "running")
      #expect(waiter.running)
      let written = try held.destination.requests.filter { $0.kind == .write }.count
      try held.letGo()

      let text = try waiter.wait(within: .seconds(20)).text
      let free = try OpenFile(held.destination.path, O_RDWR | O_EXCL)
      try free.close()
      #expect(try Words(text)["state"] == "cancelled", "\(text)")
      #expect(try Words(text)["write_err"] == "0x0" && Words(text)["read_err"] == "0", "\(text)")
      // What was in flight may have been several requests to the server; what started later would be the rest of the device.
      #expect(try held.destination.requests.filter { $0.kind == .write }.count <= written + 8)
      #expect(try held.job.result() == "ECANCELED")
      #expect(try held.job.control("cancel") == "EALREADY")
    }
  }

  @Test("cat of a cancelled job's result prints the errno and fails")
  func printed() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let reader = try Command("cat", [held.job.path + "/result"]).start()
      #expect(try held.job.control("cancel") == "")
      try held.letGo()
      let outcome = try reader.wait(within: .seconds(20))
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains("Operation canceled") && outcome.text.isEmpty, "\(outcome)")
      #expect(try held.job.value("state") == "cancelled")
      try Files.removeDirectory(held.job.path)
      #expect(try daemon.jobNames.isEmpty)
    }
  }

  @Test("cancel of a job that is done is EALREADY and changes nothing")
  func done() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      let job = try daemon.copy("from=\(source) to=\(destination)")
      let before = try job.text("status")
      #expect(try job.control("cancel") == "EALREADY")
      #expect(try job.text("status") == before)
    }
  }

  static let unknownWords = ["stop", "Cancel", "cancel now", "\u{7}", "rate=", "priority=99"]

  @Test("A word that ctl does not know is EINVAL and changes nothing", arguments: unknownWords)
  func unknown(word: String) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      #expect(try held.job.control(word) == "EINVAL")
      let outcome = try shell("echo \"$W\" > \"$J/ctl\"", environment: ["J": held.job.path, "W": word])
      #expect(!outcome.succeeded, "\(outcome)")
      #expect(try held.job.status()["phase"] != "cancelling")
      try held.letGo()
      #expect(try held.job.result() == "ok")
    }
  }

  @Test("ctl can't be read, and a job's other files can't be written")
  func directions() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      let job = try daemon.copy("from=\(source) to=\(destination)")
      let script = """
        import errno, os, sys
        for name in os.listdir(sys.argv[1]):
            if name in ("ctl", "dest"): continue
            try:
                os.write(os.open(sys.argv[1] + "/" + name, os.O_WRONLY), b"x\\n")
                print(name, "was written")
            except OSError as e: pass
        try:
            if os.read(os.open(sys.argv[1] + "/ctl", os.O_RDONLY), 10): print("ctl was read")
        except OSError as e: pass
        """
      let before = try job.text("status")
      let outcome = try python(script, job.path)
      #expect(outcome.succeeded && outcome.text.isEmpty, "\(outcome)")
      #expect(try job.text("status") == before)
    }
  }
}
