import FaultKit
import Glibc
import Testing

@Suite("status in shells and as JSON")
struct StatusTextTests {
  /// Names of files, of one path component, and contexts.
  static let texts = [
    "plain", "a b  c", "it's", "'", "''", "say \"so\"", "$HOME ${HOME} $(id) $((1+1))", "`id`", "back\\slash \\n \\", "a;b&c|d<e>f",
    "* ? [a-z] {a,b} ~",
    "#not a comment", "!history !!", "é ü 日本 😀", "a=b state=done", "-n", "end'\\''quote", "\u{a0}x\u{2028}y", "%s %d\\t", "'$(exit 3)'",
  ]

  /// Prints each variable of the job's status in brackets.
  private static let report = "printf '[%s]\\n' \"$state\" \"$name\" \"$context\" \"$dest0_path\" \"$dest1_path\" \"$error\" \"$write_err\""

  static let ways = [
    "s=$(cat \"$J/status\") && eval \"$s\"", "eval \"$(cat \"$J/status\")\"", "cd \"$J\" && . ./status", ". \"$J/status\"",
    "while IFS= read -r line; do eval \"$line\"; done < \"$J/status\"",
  ]

  @Test("In every shell the variables are the texts", arguments: SubmitClient.shells + ["sh"])
  func evaluated(shellName: String) throws {
    try withDaemon { bench, daemon in
      let folder = try bench.memory
      var expected = ""
      for (index, text) in Self.texts.enumerated() {
        let source = try bench.file("from \(text)", [1, 2, UInt8(index)], inMemory: true)
        let destinations = try ["0", "1"].map { try bench.file("\(text) to \($0)", [], inMemory: true) }
        try daemon.copy(
          "from=\(quoted(source)) to=\(quoted(destinations[0])) to=\(quoted(destinations[1])) context=\(quoted(text))", as: "n\(index)")
        for path in destinations { #expect(try Files.read(path) == [1, 2, UInt8(index)], "\(path)") }
        expected += ["done", "n\(index)", text, "\(folder)/\(text) to 0", "\(folder)/\(text) to 1", "", "0x0"].map { "[\($0)]\n" }.joined()
      }
      // One process for all, each job in a subshell of its own.
      for way in Self.ways {
        let script = "i=0; while [ $i -lt \(Self.texts.count) ]; do J=$M/jobs/n$i; (\(way) && \(Self.report)); i=$((i + 1)); done"
        let outcome = try shell(script, with: shellName, environment: ["M": daemon.mount])
        #expect(outcome.succeeded && outcome.errorText.isEmpty && outcome.text == expected, "\(outcome)")
      }
    }
  }

  @Test("spec, list and errors quote in the same way", arguments: SubmitClient.shells)
  func others(shellName: String) throws {
    try withDaemon { bench, daemon in
      for (index, text) in Self.texts.enumerated() {
        let source = try bench.file("from \(text)", [1], inMemory: true)
        let destination = try bench.file("\(text) to", [], inMemory: true)
        let job = try daemon.copy("from=\(quoted(source)) to=\(quoted(destination)) context=\(quoted(text))", as: "n\(index)")
        let bad = "rubbish \(text)."
        #expect(try errnoName { _ = try daemon.submit(bad, as: "bad") } == "EINVAL")
        let script = """
          eval "$(cat "$J/spec")"; printf '[%s]\\n' "${from%@*}" "${to%@*}" "$context"
          eval "$(tail -n 1 "$M/errors")"; printf '[%s]\\n' "$record" "$job"
          eval "$(tail -n 1 "$M/list")"; printf '[%s]\\n' "$job" "$bytes_total"
          . "$J/dest/0/status"; printf '[%s]\\n' "$dest_path" "$dest_state"
          """
        let outcome = try shell(script, with: shellName, environment: ["M": daemon.mount, "J": job.path])
        let expected = [source, destination, text, bad, "bad", "n\(index)", "1", destination, "done"].map { "[\($0)]\n" }.joined()
        #expect(outcome.succeeded && outcome.text == expected && outcome.errorText.isEmpty, "\(outcome)")
      }
    }
  }

  /// Prints what differs between status and status.json; counters must be numbers in JSON.
  private static let comparison = #"""
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

  @Test("status.json says the same in every state", arguments: PauseTests.table.map(\.state))
  func json(state: String) throws {
    try withDaemon(options: ["pages=256"]) { bench, daemon in
      let staged = try PauseTests.Staged(state, lasts: true, bench, daemon)
      // A rate and an estimate may change between the two.
      try eventually("both are of one moment") { try python(Self.comparison, staged.job.path).orThrow().text.isEmpty }
      #expect(try staged.job.text("status.json").hasSuffix("}\n"))
      #expect(try staged.job.value("state") == state)
      if state == "paused" { #expect(try staged.job.control("resume") == "") }
      try staged.letGo()
      _ = try staged.job.result()
    }
  }
}
