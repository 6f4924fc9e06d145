import FaultKit
import Glibc
import Testing

@Suite("ctl in each state")
struct PauseTests {
  /// A job in a state, and how it goes on from there.
  struct Staged {
    let job: Job
    let letGo: () throws -> Void

    /// - Parameters:
    ///   - state: of the contract's table.
    ///   - lasts: whether it stays until `letGo`. A copy that waits for pages gets some after a second; a barrier gets none.
    init(_ state: String, lasts: Bool = false, _ bench: Workbench, _ daemon: Daemon) throws {
      switch state {
      case "queued" where lasts:
        let held = try HeldJob(bench, daemon)
        job = try daemon.submit("op=none context='a b'", as: "queued")
        letGo = { try held.letGo() }
      case "queued":
        // A copy that waits for pages gets some of the reserve when it has waited for long.
        let held = try HeldJob(bench, daemon)
        job = try daemon.submit("op=none", as: "queued")
        letGo = { try held.letGo() }
      case "running", "paused":
        let held = try HeldJob(bench, daemon)
        job = held.job
        if state == "paused" { #expect(try job.control("pause") == "") }
        letGo = { try held.letGo() }
      default:
        let source = try bench.loop()
        let device = try bench.faultDevice()
        if state == "failed" { try device.setFaults([.write(0...0)]) }
        if state == "cancelled" { try device.hold(.write) }
        job = try daemon.submit("from=\(source.path) to=\(device.path)")
        if state == "cancelled" {
          #expect(try job.control("cancel") == "")
          try device.open(.write)
        }
        _ = try job.result()
        letGo = {}
      }
      #expect(try job.value("state") == state)
    }
  }

  /// A command, its errno, and the states that the job may be in afterwards.
  struct Step {
    let command: String
    let errno: String
    let states: [String]

    init(_ command: String, _ errno: String = "", _ states: String...) {
      self.command = command
      self.errno = errno
      self.states = states
    }
  }

  struct Row: CustomTestStringConvertible {
    let state: String
    let steps: [Step]
    var testDescription: String { state }

    /// Settings, which change no state.
    static let settings = ["rate=1M", "rate=max", "priority=0", "priority=9"]

    static func unfinished(_ state: String) -> Row {
      let going = ["queued", "running"]
      let steps =
        (settings + [state == "paused" ? "pause" : "resume"]).map { Step($0, "", state) } + [
          Step("retry", "EINVAL", state), Step("pause", "", "paused"), Step("pause", "", "paused"), Step("priority=5", "", "paused"),
          Step("retry", "EINVAL", "paused"), Step("resume", "", going[0], going[1]), Step("resume", "", going[0], going[1]),
          Step("retry", "EINVAL", going[0], going[1]),
        ]
      return Row(state: state, steps: steps)
    }

    static func final(_ state: String) -> Row {
      let refused = settings + ["pause", "resume"] + (state == "done" ? ["retry"] : [])
      return Row(state: state, steps: refused.map { Step($0, "EINVAL", state) } + [Step("cancel", "EALREADY", state)])
    }
  }

  /// The contract's table; retry from failed and cancelled is RetryTests' subject, and cancel the next test's.
  static let table = ["queued", "running", "paused"].map(Row.unfinished) + ["done", "failed", "cancelled"].map(Row.final)

  @Test("Each command gives what the contract's table says, and a refused one changes nothing", arguments: table)
  func commands(row: Row) throws {
    // Pages for one sub-job.
    try withDaemon(options: ["pages=256"]) { bench, daemon in
      let staged = try Staged(row.state, bench, daemon)
      let isFinal = ["done", "failed", "cancelled"].contains(row.state)
      let before = try staged.job.text("status")
      for step in row.steps {
        #expect(try staged.job.control(step.command) == step.errno, "\(step)")
        #expect(try step.states.contains(staged.job.value("state")), "\(step)")
        if isFinal { #expect(try staged.job.text("status") == before, "\(step)") }
      }
      if isFinal { return }
      #expect(try staged.job.control("pause") == "")
      let status = try staged.job.status()
      #expect(status["state"] == "paused" && status["pause_reason"] == "user" && status["error"] == "", "\(status)")
      try staged.letGo()
      FaultKit.pause(.milliseconds(200))
      #expect(try staged.job.value("state") == "paused")
      #expect(try staged.job.control("resume") == "")
      #expect(try staged.job.result() == "ok")
    }
  }

  @Test("cancel ends a job that is queued, running or paused", arguments: ["queued", "running", "paused"])
  func cancel(state: String) throws {
    try withDaemon(options: ["pages=256"]) { bench, daemon in
      let staged = try Staged(state, bench, daemon)
      #expect(try staged.job.control("cancel") == "")
      try staged.letGo()
      #expect(try staged.job.result() == "ECANCELED")
      #expect(try staged.job.status()["pause_reason"] == "")
    }
  }

  @Test("A paused job starts nothing, whoever waits for it waits on, and resumed it ends well")
  func paused() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: 16 << 20)
      let bytes = try source.fill(seed: 1)
      let destination = try bench.loop(size: 16 << 20)
      let job = try daemon.submit("from=\(source.path) to=\(destination.path) rate=2M")
      try eventually("some of it is copied") { try job.status().number("bytes_done") > 0 }
      #expect(try job.control("pause") == "")
      #expect(try job.value("state") == "paused")
      let waiter = try Command("cat", [job.path + "/result"]).start()
      // What was in flight ends.
      FaultKit.pause(.milliseconds(300))
      let (before, read) = (try job.value("progress"), try source.counters.bytesRead)
      #expect(try job.control("rate=max") == "")
      FaultKit.pause(.milliseconds(500))
      #expect(try job.value("progress") == before && source.counters.bytesRead == read && waiter.running)
      #expect(try job.value("state") == "paused" && job.status()["eta"] == "")
      #expect(try errnoName { try Files.removeDirectory(job.path) } == "EBUSY")
      #expect(try job.control("resume") == "")
      #expect(try waiter.wait(within: .seconds(20)).text == "ok\n")
      #expect(Pattern.difference(try destination.contents(), from: bytes) == nil)
    }
  }

  @Test("A job that would take hours ends at once when its rate is lifted")
  func rate() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let destination = try bench.loop()
      let job = try daemon.submit("from=\(source.path) to=\(destination.path) rate=1K")
      FaultKit.pause(.milliseconds(300))
      #expect(try job.value("state") != "done")
      #expect(try job.control("rate=max") == "")
      #expect(try job.result() == "ok")
      #expect(Pattern.difference(try destination.contents(), from: bytes) == nil)
    }
  }

  @Test("priority: of those that wait for the client the one with the lower number is first")
  func priority() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let client = daemon.client("default")
      // A sector takes all that the client may move in the next eight minutes.
      #expect(try client.set("rate", "1") == "")
      try daemon.copy("from=\(source.path)@0+1s to=\(bench.disk)/first create=yes", as: "first")
      let jobs = try (0..<4).map { index in
        try daemon.submit("from=\(source.path)@0+1s to=\(bench.disk)/copy\(index) create=yes", as: "job\(index)")
      }
      for job in jobs { #expect(try job.value("state") == "queued") }
      #expect(try jobs[3].control("priority=0") == "")
      #expect(try jobs[0].control("priority=9") == "")
      #expect(try client.set("rate", "max") == "")
      for job in jobs { #expect(try job.result() == "ok") }
      let starts = try jobs.map { try $0.status().time("started_at") }
      #expect(starts[3] <= starts[1] && starts[1] <= starts[2] && starts[2] <= starts[0], "\(starts)")
    }
  }

  @Test("Several commands in one write are done in their order, one a line, up to the first that is refused")
  func lines() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      #expect(try held.job.control("pause\nrate=1M\n\npriority=3") == "")
      #expect(try held.job.value("state") == "paused")
      #expect(try held.job.control("resume\nnonsense\npause") == "EINVAL")
      #expect(try held.job.value("state") == "running")
      try held.letGo()
      #expect(try held.job.control("rate=max") == "")
      #expect(try held.job.result() == "ok")
    }
  }

  @Test("The daemon stops with a paused job as with another")
  func stopped() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon()
      let held = try HeldJob(bench, daemon)
      #expect(try held.job.control("pause") == "")
      try held.letGo()
      daemon.process.signal(SIGTERM)
      #expect(try daemon.expectEnd().succeeded)
      try OpenFile(held.destination.path, O_RDWR | O_EXCL).close()
    }
  }
}
