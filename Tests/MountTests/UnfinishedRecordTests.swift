import FaultKit
import Glibc
import Testing

@Suite("Records without their end")
struct UnfinishedRecordTests {
  /// Ways to write the record `$R`, or the file `$T/record`, without a newline, to `$J`.
  static let clients =
    ["bash", "dash", "busybox", "zsh"].flatMap { shell in
      ["printf %s \"$R\" > \"$J\"", "exec 4> \"$J\"; printf %s \"$R\" >&4; exec 4>&-"].map {
        SubmitClient(program: shell, script: $0, report: .nothing)
      }
    }
    + [
      "/usr/bin/printf %s \"$R\" > \"$J\"", "cat \"$T/record\" > \"$J\"", "cp \"$T/record\" \"$J\"", "cp -a \"$T/record\" \"$J\"",
      "mv \"$T/record\" \"$J\"", "install \"$T/record\" \"$J\"", "tee \"$J\" < \"$T/record\" > /dev/null",
      "dd if=\"$T/record\" of=\"$J\" status=none", "sponge \"$J\" < \"$T/record\"", "jq -n -j env.R > \"$J\"",
      "mawk -v f=\"$J\" 'BEGIN { printf \"%s\", ENVIRON[\"R\"] > f }'",
      "perl -e 'open(F, \">\", $ENV{J}) or die; print F $ENV{R}; close(F) or die \"$!\\n\"'",
      "ruby -e 'File.write(ENV[\"J\"], ENV[\"R\"])'",
      "node -e 'require(\"fs\").writeFileSync(process.env.J, process.env.R)'", "rsync --inplace \"$T/record\" \"$J\"",
    ].map { SubmitClient(program: "bash", script: $0) }
    + [
      SubmitClient(program: "bash", script: "gawk -v f=\"$J\" 'BEGIN { printf \"%s\", ENVIRON[\"R\"] > f }'", report: .nothing)
    ]
    + ["with open(j, 'w') as f: f.write(r)", "pathlib.Path(j).write_text(r)", "shutil.copyfile(t, j)"].map {
      SubmitClient(program: "python3", script: $0)
    }

  @Test("Whoever looks at close(2) is told, errors says it to all, and nothing is left", arguments: clients)
  func unterminated(client: SubmitClient) throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.file("source", [1, 2, 3]), try bench.file("destination", []))
      let record = "from=\(source) to=\(destination)"
      let outcome = try client.run(bench, daemon, record: record, end: "")
      switch client.report {
      case .nothing: #expect(outcome.succeeded && outcome.text.isEmpty, "\(outcome)")
      case .message, .status: #expect(!outcome.succeeded && !outcome.errorText.isEmpty, "\(outcome)")
      }
      try daemon.expectNoJobs()
      try eventually("errors has it") { try !daemon.refusals.isEmpty }
      let refusals = try daemon.refusals
      #expect(refusals.count == 1 && refusals[0]["error"] == "EINVAL" && refusals[0]["job"] == "a", "\(refusals)")
      #expect(refusals[0]["record"] == record && refusals[0]["text"].contains("newline"), "\(refusals)")
      #expect(try Files.read(destination).isEmpty)
      try daemon.copy(record, as: "a")
    }
  }

  /// Clients whose fsync(2) completes the record.
  static let synchronising = [
    "dd if=\"$T/record\" of=\"$J\" conv=fsync status=none", "dd if=\"$T/record\" of=\"$J\" bs=7 conv=fdatasync status=none",
    "vim -es -N -u NONE -i NONE --cmd 'set directory=/tmp' -c 'set noeol nofixeol fsync' -c 'call setline(1, $R)' -c wq \"$J\" < /dev/null",
  ].map { SubmitClient(program: "bash", script: $0) }

  @Test("Who calls fsync completes the record", arguments: synchronising)
  func synchronised(client: SubmitClient) throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.file("source", [1, 2, 3]), try bench.file("destination", []))
      let outcome = try client.run(bench, daemon, record: "from=\(source) to=\(destination)", end: "")
      #expect(outcome.succeeded && outcome.errorText.isEmpty, "\(outcome)")
      #expect(try daemon.jobNames == ["a"] && daemon.job("a").result() == "ok" && daemon.refusals.isEmpty)
      #expect(try Files.read(destination) == [1, 2, 3])
    }
  }

  static let halves = ["op=none context=half", "{\"op\": \"none\"", "op=none \\\n", "op=none context='a\\\n"]

  @Test("A writer killed halfway leaves what was complete, and no job and no name of the rest", arguments: halves, ["submit", "jobs/x"])
  func killed(half: String, place: String) throws {
    try withDaemon { _, daemon in
      let script = """
        import os, signal, sys
        fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        for piece in sys.argv[2:]: os.write(fd, piece.encode())
        os.kill(os.getpid(), signal.SIGKILL)
        """
      let complete = place == "submit" ? ["op=none name=first\n", "op=none name=second\n"] : ["# a comment\n"]
      let outcome = try pythonCommand(script, [daemon.path(place)] + complete + [half]).run()
      #expect(outcome.ending == .signal(SIGKILL), "\(outcome)")
      try eventually("what was complete is there alone") { try daemon.jobNames == (place == "submit" ? ["first", "second"] : []) }
      try eventually("errors has it") { try !daemon.refusals.isEmpty }
      let refusal = try #require(try daemon.refusals.first)
      #expect(try refusal["error"] == "EINVAL" && daemon.refusals.count == 1, "\(refusal)")
      #expect(refusal["job"] == (place == "submit" ? "" : "x"), "\(refusal)")
      #expect(try daemon.submit("op=none", as: "x").result() == "ok")
    }
  }
}
