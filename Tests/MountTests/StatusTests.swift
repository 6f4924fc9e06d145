import FaultKit
import Foundation
import Testing

@Suite("Status, spec and the files at the root")
struct StatusTests {
  static let jobKeys = [
    "state", "name", "id", "attempt", "op", "client", "read_err", "write_err", "error", "error_op", "error_dest", "error_at",
    "error_length",
    "pause_reason", "phase", "bytes_total", "bytes_done", "bytes_durable", "rate", "eta", "warning", "digest", "dests", "uid", "context",
    "queued_at", "started_at", "finished_at",
  ]

  @Test("Its keys stand in the contract's order, each on a line, and its values are sane")
  func keys() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100_000, seed: 1))
      let (first, second) = (try bench.file("first", []), try bench.file("second", []))
      let began = Date().timeIntervalSince1970
      let job = try daemon.copy("from=\(source) to=\(first) to=\(second) context=nightly")
      let text = try job.text("status")
      let status = try Words(text)
      let perDestination = (0...1).flatMap { index in ["path", "id", "state", "bytes_done", "error"].map { "dest\(index)_\($0)" } }
      #expect(status.keys == StatusTests.jobKeys + perDestination)
      #expect(text.split(separator: "\n", omittingEmptySubsequences: false).count == status.keys.count + 1)

      let values = [
        "state": "done", "name": "job", "attempt": "1", "op": "copy", "client": "default", "read_err": "0", "write_err": "0x0", "error": "",
        "error_op": "", "pause_reason": "", "phase": "", "bytes_total": "100000", "bytes_done": "100000", "bytes_durable": "100000",
        "dests": "2", "uid": "0", "context": "nightly", "dest0_state": "done", "dest1_state": "done", "dest0_bytes_done": "100000",
        "dest1_error": "",
      ]
      for (key, value) in values { #expect(status[key] == value, "\(key)") }
      #expect(status["dest0_path"].hasPrefix(first))
      #expect(status["dest1_path"].hasPrefix(second))
      let times = ["queued_at", "started_at", "finished_at"].map(status.time)
      #expect(times == times.sorted(), "\(times)")
      #expect(times[0] >= began - 1 && times[2] <= Date().timeIntervalSince1970 + 1, "\(times)")
    }
  }

  @Test("Its length is constant for the job, from running to done")
  func constantLength() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let running = try held.job.text("status")
      #expect(try Words(running)["state"] == "running")
      #expect(try Words(running)["finished_at"] == "")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      #expect(try held.job.text("status").utf8.count == running.utf8.count)
    }
  }

  @Test("spec written to submit makes the same job again, its sizes resolved", arguments: ["", " tail=zero", " context='it'\\''s é'"])
  func spec(keys: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("so urce", Pattern.bytes(10_000, seed: 1))
      let destination = try bench.file("destination", [])
      let job = try daemon.copy("from=\(quoted(source)) to=\(destination)@1K create=yes\(keys)")
      let spec = try job.text("spec")
      #expect(spec.split(separator: "\n", omittingEmptySubsequences: false).count == 2 && spec.hasSuffix("\n"), "\(spec)")
      #expect(try Words(spec)["from"].contains("+"), "\(spec)")
      #expect(try Words(spec)["name"] == "absent")
      try Files.write(destination, [])
      let script = "{ cat \"$S\" >&3 && read -r id <&3; } 3<>\"$M/submit\" && echo \"$id\""
      let again = try shell(script, environment: ["S": job.path + "/spec", "M": daemon.mount]).orThrow()
      let second = daemon.job(again.line)
      #expect(try second.result() == "ok")
      #expect(try second.text("spec") == spec)
      #expect(Pattern.difference(try Files.read(destination), from: Pattern.patched([], at: 1024, with: try Files.read(source))) == nil)
    }
  }

  @Test("version, README and the root's names and modes are the contract's")
  func root() throws {
    try withDaemon { _, daemon in
      #expect(try Files.text(daemon.path("version")) == "version=0.1.0\ninterface=1\n")
      let readme = try Files.text(daemon.path("README"))
      #expect(readme.contains("from=") && readme.contains("to=") && readme.contains("submit") && readme.contains("cat "), "\(readme)")
      #expect(try Files.facts(daemon.mount).permissions == 0o555)
      let modes: [String: UInt32] = [
        "README": 0o100444, "version": 0o100444, "list": 0o100444, "submit": 0o100666, "errors": 0o100666, "jobs": 0o41777,
      ]
      for (name, mode) in modes { #expect(try Files.mode(daemon.path(name)) == mode, "\(name)") }
      let all = Set(modes.keys).union(["stats", "metrics", "check", "events", "clients"])
      #expect(try Set(Files.names(in: daemon.mount)).isSubset(of: all))
      #expect(try Files.text(daemon.path("list")).isEmpty)
      #expect(try Files.text(daemon.path("errors")).isEmpty)
    }
  }

  @Test("list has a record for each job")
  func list() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      try daemon.copy("from=\(source) to=\(destination)", as: "first")
      let held = try HeldJob(bench, daemon, as: "second")
      let records = try Files.text(daemon.path("list")).split(separator: "\n").map { try Words($0) }
      let byName = Dictionary(uniqueKeysWithValues: records.map { ($0["job"], $0) })
      #expect(Set(byName.keys) == ["first", "second"])
      for record in records {
        #expect(record.keys == ["job", "id", "state", "bytes_done", "bytes_total", "read_err", "write_err", "client", "uid"])
      }
      #expect(byName["first"]?["state"] == "done")
      #expect(byName["first"]?["bytes_done"] == "100")
      #expect(byName["second"]?["state"] == "running")
      #expect(try byName["second"]?["id"] == held.job.status()["id"])
      try held.letGo()
      #expect(try held.job.result() == "ok")
    }
  }
}
