import FaultKit
import Glibc
import Testing

@Suite("after=: ten thousand in a line")
struct AfterLineTests {
  private static let count = 10_000

  /// Each comes after the one before it, and writes to the same place.
  private func submit(to daemon: Daemon, _ stick: LoopDevice) throws {
    let script = """
      import os, sys
      file, count = os.open(sys.argv[1], os.O_RDWR), int(sys.argv[3])
      batch = "".join(
          f"op=zero to={sys.argv[2]}@0+4K sync=none name=l{i} after={'held' if i == 0 else 'l' + str(i - 1)}\\n" for i in range(count)).encode()
      names = b""
      while batch:
          batch = batch[os.write(file, batch[:1 << 20]):]
          while part := os.read(file, 65536): names += part
      assert names.split() == [b"l%d" % i for i in range(count)], len(names.split())
      """
    try python(script, daemon.path("submit"), stick.path, "\(Self.count)").orThrow()
  }

  private func states(_ daemon: Daemon) throws -> [String: Int] {
    let lines = try Files.text(daemon.path("list")).split(separator: "\n").dropFirst()
    return Dictionary(grouping: try lines.map { try Words($0)["state"] }) { $0 }.mapValues(\.count)
  }

  @Test("All are done, in their order", .timeLimit(.minutes(3)))
  func done() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let stick = try bench.loop()
      try submit(to: daemon, stick)
      #expect(try states(daemon) == ["queued": Self.count])
      try held.letGo()
      #expect(try daemon.job("l\(Self.count - 1)").result() == "ok")
      #expect(try states(daemon) == ["done": Self.count])
      var last = 0.0
      for index in 0..<Self.count {
        let status = try daemon.job("l\(index)").status()
        let began = status.time("started_at")
        if began < last { Issue.record("l\(index) began before the end of the one before it: \(status)") }
        last = status.time("finished_at")
      }
      try stick.awaitFree()
    }
  }

  @Test("When the first is cancelled all fail", .timeLimit(.minutes(3)))
  func hopeless() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let stick = try bench.loop()
      let mark = try stick.counters.bytesWritten
      try submit(to: daemon, stick)
      #expect(try daemon.job("l0").control("cancel") == "")
      #expect(try daemon.job("l\(Self.count - 1)").result() == "ECANCELED")
      #expect(try states(daemon) == ["cancelled": 1, "failed": Self.count - 1])
      #expect(try stick.counters.bytesWritten == mark)
      #expect(try held.job.value("state") == "running")
      try held.letGo()
      // All go again, last one first, and nothing that comes after them is missed.
      try python(
        "import os, sys\nfor i in reversed(range(int(sys.argv[2]))): os.rmdir(f'{sys.argv[1]}/l{i}')", daemon.path("jobs"), "\(Self.count)"
      )
      .orThrow()
      #expect(try daemon.jobNames == ["held"])
    }
  }
}
