import FaultKit
import Glibc
import Testing

@Suite("What a reader sees of others")
struct VisibilityTests {
  /// A program as another uid than root.
  private func other(_ uid: Int, _ program: String, _ arguments: String..., group: Int? = nil) -> Command {
    Command("setpriv", ["--reuid=\(uid)", "--regid=\(group ?? uid)", "--clear-groups", program] + arguments)
  }

  /// Makes a job as root with an umask.
  private func job(_ daemon: Daemon, _ name: String, umask: String) throws -> Job {
    try shell("umask \(umask); echo op=none > \"$J\"", environment: ["J": daemon.path("jobs/" + name)]).orThrow()
    #expect(try daemon.job(name).result() == "ok")
    return daemon.job(name)
  }

  @Test("list names to others only what they may read, and to root all; a chmod changes it")
  func list() throws {
    try withDaemon(options: ["allow_other"]) { bench, daemon in
      for (name, umask) in [("open", "022"), ("group", "027"), ("private", "077")] { _ = try job(daemon, name, umask: umask) }
      func names(_ command: Command) throws -> [String] {
        try command.run().orThrow().text.split(separator: "\n").map { try Words($0)["job"] }
      }
      let list = daemon.path("list")
      #expect(try names(Command("cat", [list])) == ["open", "group", "private"])
      #expect(try names(other(1234, "cat", list)) == ["open"])
      #expect(try names(other(1234, "cat", list, group: 0)) == ["open", "group"])
      try run("chmod", "0744", daemon.job("private").path).orThrow()
      try run("chmod", "0700", daemon.job("open").path).orThrow()
      #expect(try names(other(1234, "cat", list)) == ["private"])
      #expect(try other(1234, "cat", daemon.job("open").path + "/status").run().errorText.contains("Permission denied"))
    }
  }

  @Test("events tell others only of what they may read, and root of all", .timeLimit(.minutes(1)))
  func events() throws {
    try withDaemon(options: ["allow_other"]) { bench, daemon in
      let all = try Events(daemon)
      let path = daemon.path("events")
      let (stranger, member) = (try other(1234, "cat", path).start(), try other(1234, "cat", path, group: 0).start())
      for reader in [stranger, member] { try reader.awaitRead(of: path) }
      for (name, umask) in [("private", "077"), ("group", "027"), ("open", "022")] { _ = try job(daemon, name, umask: umask) }
      func told(_ reader: ChildProcess) throws -> [Words] { try reader.text.split(separator: "\n").map { try Words($0) } }
      try all.await("done", of: "open")
      for (reader, jobs) in [(stranger, ["open"]), (member, ["group", "open"])] {
        try eventually("it is told of the last: \(reader.text)") {
          try reader.text.hasSuffix("\n") && told(reader).contains { $0["job"] == "open" && $0["state"] == "done" }
        }
        #expect(try Set(told(reader).map { $0["job"] }) == Set(jobs))
      }
      #expect(Set(all.records.map { $0["job"] }) == ["open", "group", "private"] && all.numbers.ascendsByOne)
      for reader in [stranger, member] { try reader.end() }
    }
  }

  /// Writes a bad record as another uid.
  private func refused(_ daemon: Daemon, as uid: Int, _ context: String) throws {
    let outcome = try other(uid, "sh", "-c", "echo \"nonsense=\(context)\" > \"$0\"", daemon.path("submit")).run()
    #expect(!outcome.succeeded, "\(outcome)")
  }

  @Test("errors shows each uid its own, root all, and a write clears the writer's own alone")
  func errors() throws {
    try withDaemon(options: ["allow_other"]) { _, daemon in
      try refused(daemon, as: 1234, "first")
      try refused(daemon, as: 1235, "second")
      _ = try errnoName { _ = try daemon.submit("nonsense=third", as: "x") }
      let path = daemon.path("errors")
      func uids(_ uid: Int) throws -> [String] {
        try other(uid, "cat", path).run().orThrow().text.split(separator: "\n").map { try Words($0)["uid"] }
      }
      #expect(try uids(1234) == ["1234"] && uids(1235) == ["1235"] && uids(1236).isEmpty)
      #expect(try daemon.refusals.map { $0["uid"] } == ["1234", "1235", "0"])
      #expect(try daemon.refusals.map { $0["record"] } == ["first", "second", "third"].map { "nonsense=" + $0 })
      try other(1234, "sh", "-c", "echo > \"$0\"", path).run().orThrow()
      #expect(try uids(1234).isEmpty && daemon.refusals.map { $0["uid"] } == ["1235", "0"])
      try Files.write(path, "\n", flags: O_WRONLY)
      #expect(try daemon.refusals.map { $0["uid"] } == ["1235"] && uids(1235) == ["1235"])
    }
  }

  @Test("Each uid has 32 of its own, whatever others write, and root sees the last 32 of all")
  func many() throws {
    try withDaemon(options: ["allow_other"]) { _, daemon in
      try refused(daemon, as: 1234, "mine")
      let script = "i=0; while [ $i -lt 40 ]; do echo \"nonsense=$i\" > \"$0\"; i=$((i + 1)); done 2> /dev/null; true"
      try other(1235, "bash", "-c", script, daemon.path("submit")).run().orThrow()
      func records(_ uid: Int) throws -> [String] {
        try other(uid, "cat", daemon.path("errors")).run().orThrow().text.split(separator: "\n").map { try Words($0)["record"] }
      }
      #expect(try records(1234) == ["nonsense=mine"] && records(1235) == (8..<40).map { "nonsense=\($0)" })
      #expect(try daemon.refusals.map { $0["record"] } == (8..<40).map { "nonsense=\($0)" })
    }
  }

  @Test("README, version, stats and metrics are for everybody, and say what they say to root")
  func everybody() throws {
    try withDaemon(options: ["allow_other"]) { _, daemon in
      for file in ["README", "version", "stats", "metrics"] {
        #expect(try other(1234, "cat", daemon.path(file)).run().orThrow().text == Files.text(daemon.path(file)), "\(file)")
      }
      let readme = try Files.text(daemon.path("README"))
      for file in ["submit", "check", "events", "errors", "list", "stats", "ctl", "retry", "wait"] {
        #expect(readme.contains(file), "\(file)")
      }
    }
  }
}
