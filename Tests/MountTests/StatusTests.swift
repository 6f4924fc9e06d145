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

  static let nasty = "it's \"so\" $HOME `id` \\ ; * é ü 日本 = end"

  @Test("A shell can eval it, whatever stands in a path or in context", arguments: ["bash", "dash", "busybox"], ["eval", "."])
  func evaluated(by name: String, way: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("a b'c \"d\" $e é", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("to' $(id) `x`\\ ü", [])
      let job = try daemon.copy("from=\(quoted(source)) to=\(quoted(destination)) context=\(quoted(StatusTests.nasty))")
      let load = way == "eval" ? "s=$(cat \"$F\") && eval \"$s\"" : ". \"$F\""
      let script = "\(load) && printf '%s\\n' \"$context\" \"$dest0_path\" \"$state\" \"$error\""
      let outcome = try shell(script, with: name, environment: ["F": job.path + "/status"])
      let lines = outcome.text.split(separator: "\n", omittingEmptySubsequences: false)
      #expect(lines.count == 5 && lines[0] == StatusTests.nasty && lines[1].hasPrefix(destination), "\(outcome)")
      #expect(lines.count == 5 && lines[2] == "done" && lines[3] == "", "\(outcome)")
      #expect(try Files.read(destination) == Files.read(source))
    }
  }

  /// Prints what differs between status and status.json; counters must be numbers in JSON.
  static let comparison = #"""
    import json, shlex, sys
    flat = dict(w.split("=", 1) for w in shlex.split(open(sys.argv[1] + "/status", encoding="utf-8").read()))
    tree = json.load(open(sys.argv[1] + "/status.json", encoding="utf-8"))
    dests = tree["dests"]
    def same(text, value):
        if value is None: return text == ""
        if isinstance(value, bool): return False
        if isinstance(value, int): return text != "" and int(text.rstrip("B"), 0) == value
        if isinstance(value, float): return text != "" and abs(float(text) - value) < 2e-6
        return text == value
    for key, text in flat.items():
        if key == "dests":
            if int(text) != len(dests): print("dests", text, len(dests))
        elif key.startswith("dest"):
            index, name = key[4:].split("_", 1)
            if not same(text, dests[int(index)].get(name, "absent")): print(key, repr(text), dests[int(index)])
        elif not same(text, tree.get(key, "absent")): print(key, repr(text), repr(tree.get(key, "absent")))
    for key in ["id", "attempt", "read_err", "bytes_total", "bytes_done", "bytes_durable", "uid"]:
        if not isinstance(tree[key], int): print(key, "is no number:", repr(tree[key]))
    for key in tree:
        if key not in flat: print(key, "is only in JSON")
    """#

  @Test("status.json is the same snapshot as one JSON object")
  func json() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("to' \"ü\\", [])
      let job = try daemon.copy("from=\(source) to=\(quoted(destination)) context=\(quoted(StatusTests.nasty))")
      let outcome = try python(StatusTests.comparison, job.path)
      #expect(outcome.succeeded && outcome.text.isEmpty, "\(outcome)")
      #expect(try job.text("status.json").hasSuffix("}\n"))
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
