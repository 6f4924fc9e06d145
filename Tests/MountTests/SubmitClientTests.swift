import FaultKit
import Testing

/// A way to write the record `$R` (a line, also in the file `$T/record`) to the name `$J`.
struct SubmitClient: Sendable, CustomTestStringConvertible {
  let shell: String
  let script: String
  var testDescription: String { "\(shell): \(script)" }

  static let builtin = [
    "echo \"$R\" > \"$J\"", "echo \"$R\" >> \"$J\"", "printf '%s\\n' \"$R\" > \"$J\"", "set -C; echo \"$R\" > \"$J\"",
    "cat > \"$J\" <<EOF\n$R\nEOF", "{ echo \"# made by hand\"; echo \"$R\"; } > \"$J\"", "(echo \"$R\") > \"$J\"",
    "exec 4> \"$J\"; echo \"$R\" >&4",
  ]

  static let tools = [
    "/bin/echo \"$R\" > \"$J\"", "echo \"$R\" | cat > \"$J\"", "echo \"$R\" | tee \"$J\" > /dev/null", "cp \"$T/record\" \"$J\"",
    "cat \"$T/record\" > \"$J\"", "dd if=\"$T/record\" of=\"$J\" status=none", "dd if=\"$T/record\" of=\"$J\" bs=1 status=none",
    "echo \"$R\" | dd of=\"$J\" conv=fsync status=none", "echo \"$R\" | sed \"w $J\" > /dev/null", "busybox cp \"$T/record\" \"$J\"",
  ]

  static let python = [
    "with open(j, 'w') as f: print(r, file=f)", "with open(j, 'x') as f: f.write(r + '\\n')", "pathlib.Path(j).write_text(r + '\\n')",
    "f = os.open(j, os.O_WRONLY | os.O_CREAT); os.write(f, r.encode() + b'\\n'); os.close(f)", "shutil.copyfile(t, j)",
    "subprocess.run(['echo', r], stdout=open(j, 'w'), check=True)", "with open(j, 'wb', buffering=0) as f: f.write(r.encode() + b'\\n')",
  ]

  static var all: [SubmitClient] {
    let shells = ["bash", "dash", "busybox", "zsh"].filter(Command.isInstalled)
    return shells.flatMap { name in builtin.map { SubmitClient(shell: name, script: $0) } }
      + tools.map { SubmitClient(shell: "bash", script: $0) } + python.map { SubmitClient(shell: "python3", script: $0) }
  }

  /// Runs it with a record for the job `name`.
  func run(_ bench: Workbench, _ daemon: Daemon, record: String, name: String = "a") throws -> Outcome {
    let file = try bench.file("record", Array((record + "\n").utf8))
    let job = daemon.path("jobs/" + name)
    if shell == "python3" {
      let begin = "import os, pathlib, shutil, subprocess, sys\nr, j, t = sys.argv[1:]\n"
      return try FaultKit.python(begin + script, record, job, file)
    }
    return try FaultKit.shell(script, with: shell, environment: ["R": record, "J": job, "T": bench.disk])
  }
}

@Suite("Clients that submit")
struct SubmitClientTests {
  @Test("Each makes exactly one job, a directory by the time that it ends", arguments: SubmitClient.all)
  func accepted(client: SubmitClient) throws {
    try withDaemon { bench, daemon in
      let bytes = Pattern.bytes(4096, seed: 1)
      let source = try bench.file("source", bytes)
      let destination = try bench.file("destination", [])
      let outcome = try client.run(bench, daemon, record: "from=\(source) to=\(destination) context='a b'")
      #expect(outcome.succeeded && outcome.errorText.isEmpty, "\(outcome)")
      #expect(try daemon.job("a").isDirectory())
      #expect(try daemon.jobNames == ["a"])
      #expect(try daemon.job("a").result() == "ok")
      #expect(try daemon.job("a").status()["context"] == "a b")
      #expect(Pattern.difference(try Files.read(destination), from: bytes) == nil)
      #expect(try daemon.refusals.isEmpty)
    }
  }

  @Test("Each fails when its record is refused, nothing is left, and the name can be used again", arguments: SubmitClient.all)
  func refused(client: SubmitClient) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(4096, seed: 1))
      let destination = try bench.file("destination", [])
      let outcome = try client.run(bench, daemon, record: "form=\(source) to=\(destination)")
      // busybox's printf fails without a word.
      #expect(!outcome.succeeded && (!outcome.errorText.isEmpty || client.shell == "busybox"), "\(outcome)")
      try daemon.expectNoJobs()
      let refusal = try #require(try daemon.refusals.first)
      #expect(refusal["error"] == "EINVAL" && refusal["job"] == "a" && refusal["text"].contains("from"), "\(refusal)")
      #expect(try client.run(bench, daemon, record: "from=\(source) to=\(destination)").succeeded)
      #expect(try daemon.job("a").result() == "ok")
    }
  }

  @Test("A shell reads the name of its job back from submit", arguments: ["bash", "dash", "busybox", "zsh"].filter(Command.isInstalled))
  func nameBack(from name: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10, seed: 1))
      let destination = try bench.file("destination", [])
      let script = """
        { echo "$R" >&3 && read -r id <&3; } 3<>"$M/submit" && cat "$M/jobs/$id/result" && echo "$id"
        """
      let outcome = try shell(script, with: name, environment: ["R": "from=\(source) to=\(destination)", "M": daemon.mount])
      let lines = outcome.text.split(separator: "\n")
      #expect(lines.count == 2 && lines[0] == "ok" && lines[1].allSatisfy { "0123456789".contains($0) }, "\(outcome)")
      #expect(try daemon.jobNames == lines.last.map { [String($0)] })
    }
  }

  @Test("Several processes that write to one open file make one record")
  func severalProcesses() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10, seed: 1))
      let destination = try bench.file("destination", [])
      // The first program's exit closes its copy of the descriptor in the middle of the record.
      let script = "{ /bin/echo -n \"$A\"; /bin/echo \"$B\"; } > \"$J\""
      let outcome = try shell(
        script, environment: ["A": "from=\(source) to=", "B": destination, "J": daemon.path("jobs/a")])
      #expect(outcome.ending == .exit(0), "\(outcome)")
      #expect(try daemon.jobNames == ["a"])
      #expect(try daemon.job("a").result() == "ok")
    }
  }
}
