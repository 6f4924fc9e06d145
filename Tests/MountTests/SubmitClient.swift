import FaultKit
import Testing

/// A way to write the record `$R` (a line, also in the file `$T/record`) to the name `$J`.
struct SubmitClient: Sendable, CustomTestStringConvertible {
  /// What a program tells whoever runs it of an errno that it met.
  enum Report {
    /// Exit status and message.
    case message
    /// The exit status alone.
    case status
    /// Nothing: it looks at no close(2).
    case nothing
  }

  let program: String
  let script: String
  var report = Report.message
  var testDescription: String { "\(program): \(script)" }

  static let shells = ["bash", "dash", "busybox", "zsh", "mksh"]

  private static let builtin = [
    "echo \"$R\" > \"$J\"", "echo \"$R\" >> \"$J\"", "printf '%s\\n' \"$R\" > \"$J\"", "set -C; echo \"$R\" > \"$J\"",
    "cat > \"$J\" <<EOF\n$R\nEOF", "{ echo \"# made by hand\"; echo \"$R\"; } > \"$J\"", "(echo \"$R\") > \"$J\"",
    "exec 4> \"$J\"; echo \"$R\" >&4",
  ]

  private static let tools = [
    "/bin/echo \"$R\" > \"$J\"", "/usr/bin/printf '%s\\n' \"$R\" > \"$J\"", "echo \"$R\" | cat > \"$J\"", "cat \"$T/record\" > \"$J\"",
    "echo \"$R\" | tee \"$J\" > /dev/null", "echo \"$R\" | tee -a \"$J\" > /dev/null", "cp \"$T/record\" \"$J\"",
    "cp -p \"$T/record\" \"$J\"", "cp -a \"$T/record\" \"$J\"", "install -m 644 \"$T/record\" \"$J\"", "mv \"$T/record\" \"$J\"",
    "dd if=\"$T/record\" of=\"$J\" status=none", "dd if=\"$T/record\" of=\"$J\" bs=1 status=none",
    "echo \"$R\" | dd of=\"$J\" conv=fsync status=none", "echo \"$R\" | dd of=\"$J\" oflag=append conv=notrunc status=none",
    "rsync --inplace \"$T/record\" \"$J\"", "rsync -a --inplace \"$T/record\" \"$J\"", "echo \"$R\" | sponge \"$J\"",
    "busybox cp \"$T/record\" \"$J\"", "busybox tee \"$J\" < \"$T/record\" > /dev/null",
  ]

  private static let editors = [
    "echo \"$R\" | sed \"w $J\" > /dev/null", "mawk -v f=\"$J\" 'BEGIN { print ENVIRON[\"R\"] > f }'",
    "gawk -v f=\"$J\" 'BEGIN { print ENVIRON[\"R\"] > f }'", "jq -n -r env.R > \"$J\"",
    "printf 'a\\n%s\\n.\\nw %s\\nq\\n' \"$R\" \"$J\" | ed -s",
  ]

  private static let python = [
    "with open(j, 'w') as f: print(r, file=f)", "with open(j, 'x') as f: f.write(r + '\\n')", "with open(j, 'w+') as f: f.write(r + '\\n')",
    "with open(j, 'a') as f: f.write(r + '\\n')", "pathlib.Path(j).write_text(r + '\\n')",
    "with open(j, 'wb', buffering=0) as f: f.write(r.encode() + b'\\n')",
    "f = os.open(j, os.O_WRONLY | os.O_CREAT); os.write(f, r.encode() + b'\\n'); os.close(f)", "shutil.copyfile(t, j)", "shutil.copy(t, j)",
    "shutil.copy2(t, j)", "shutil.move(t, j)", "subprocess.run(['echo', r], stdout=open(j, 'w'), check=True)",
  ]

  private static let languages = [
    "perl -e 'open(F, \">\", $ENV{J}) or die \"$!\\n\"; print F \"$ENV{R}\\n\"; close(F) or die \"$!\\n\"'",
    "perl -e 'use autodie; open(my $f, \">>\", $ENV{J}); $f->autoflush; print $f \"$ENV{R}\\n\" or die \"$!\\n\"'",
    "node -e 'require(\"fs\").writeFileSync(process.env.J, process.env.R + \"\\n\")'",
    "node -e 'require(\"fs/promises\").writeFile(process.env.J, process.env.R + \"\\n\")'",
    "node -e 'require(\"fs\").createWriteStream(process.env.J).end(process.env.R + \"\\n\")'",
    "ruby -e 'File.write(ENV[\"J\"], ENV[\"R\"] + \"\\n\")'", "ruby -e 'File.open(ENV[\"J\"], \"w\") { |f| f.puts ENV[\"R\"] }'",
    "tclsh <(echo 'set f [open $env(J) w]; puts $f $env(R); close $f')",
  ]

  /// In silent mode vim says nothing. The swap file would be a draft, and lies elsewhere here.
  private static let quiet = [
    "vim -es -N -u NONE -i NONE --cmd 'set directory=/tmp' -c 'call setline(1, $R)' -c w -c q! \"$J\" < /dev/null",
    "vim -es -N -u NONE -i NONE --cmd 'set directory=/tmp' -c 'call setline(1, $R)' -c wq \"$J\" < /dev/null",
    "busybox dd if=\"$T/record\" of=\"$J\" 2> /dev/null",
  ]

  private static let deaf = [
    SubmitClient(program: "python3", script: "open(j, 'w').write(r + '\\n')", report: .nothing),
    SubmitClient(
      program: "bash", script: "perl -e 'open(F, \">\", $ENV{J}) or die; print F \"$ENV{R}\\n\"'", report: .nothing),
  ]

  /// All that write to the name itself.
  static var all: [SubmitClient] {
    shells.flatMap { shell in
      // busybox's printf fails without a word.
      builtin.map { SubmitClient(program: shell, script: $0, report: shell == "busybox" ? .status : .message) }
    } + (tools + editors + languages).map { SubmitClient(program: "bash", script: $0) }
      + quiet.map { SubmitClient(program: "bash", script: $0, report: .status) }
      + python.map { SubmitClient(program: "python3", script: $0) } + deaf
  }

  /// Runs it with a record for the job `a`.
  /// - Parameter end: what the file `$T/record` has after the record.
  /// - Returns: when it went well, the output is what `state` says at once.
  func run(_ bench: Workbench, _ daemon: Daemon, record: String, end lineEnd: String = "\n") throws -> Outcome {
    let file = try bench.file("record", Array((record + lineEnd).utf8))
    let job = daemon.path("jobs/a")
    if program == "python3" {
      let begin = "import os, pathlib, shutil, subprocess, sys, tempfile\nr, j, t = sys.argv[1:]\n"
      let end = report == .nothing ? "" : "\nprint(open(j + '/state').read().strip())"
      return try FaultKit.python(begin + script + end, record, job, file)
    }
    let end = "\ncode=$?; [ $code = 0 ] && [ -d \"$J\" ] && read -r s < \"$J/state\" && echo \"$s\"; exit $code"
    return try FaultKit.shell(script + end, with: program, environment: ["R": record, "J": job, "T": bench.disk])
  }

  /// Submits a good record and checks all that an acceptance promises.
  func checkAccepted(sourceLocation: SourceLocation = #_sourceLocation) throws {
    try withDaemon { bench, daemon in
      let bytes = Pattern.bytes(4096, seed: 1)
      let source = try bench.file("source", bytes)
      let destination = try bench.file("destination", [])
      let outcome = try run(bench, daemon, record: "from=\(source) to=\(destination) context='a b'")
      #expect(outcome.succeeded && outcome.errorText.isEmpty, "\(outcome)", sourceLocation: sourceLocation)
      if report != .nothing || program != "python3" {
        #expect(["queued", "running", "done"].contains(outcome.line), "\(outcome)", sourceLocation: sourceLocation)
      }
      let job = daemon.job("a")
      #expect(try job.isDirectory(), sourceLocation: sourceLocation)
      #expect(try daemon.jobNames == ["a"], sourceLocation: sourceLocation)
      #expect(try job.result() == "ok", sourceLocation: sourceLocation)
      #expect(try job.status()["context"] == "a b", sourceLocation: sourceLocation)
      #expect(Pattern.difference(try Files.read(destination), from: bytes) == nil, sourceLocation: sourceLocation)
      #expect(try daemon.refusals.isEmpty, sourceLocation: sourceLocation)
    }
  }

  /// Submits a bad record, then under the same name a good one.
  func checkRefused(error: String = "EINVAL", sourceLocation: SourceLocation = #_sourceLocation) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(4096, seed: 1))
      let destination = try bench.file("destination", [])
      let outcome = try run(bench, daemon, record: "form=\(source) to=\(destination)")
      switch report {
      case .message: #expect(!outcome.succeeded && !outcome.errorText.isEmpty, "\(outcome)", sourceLocation: sourceLocation)
      case .status: #expect(!outcome.succeeded, "\(outcome)", sourceLocation: sourceLocation)
      case .nothing: #expect(outcome.succeeded, "\(outcome)", sourceLocation: sourceLocation)
      }
      try daemon.expectNoJobs()
      let refusal = try #require(try daemon.refusals.first, sourceLocation: sourceLocation)
      #expect(refusal["error"] == error && refusal["job"] == "a", "\(refusal)", sourceLocation: sourceLocation)
      #expect(refusal["text"].contains("from"), "\(refusal)", sourceLocation: sourceLocation)
      #expect(try Files.read(destination).isEmpty, sourceLocation: sourceLocation)
      let again = try run(bench, daemon, record: "from=\(source) to=\(destination)")
      #expect(again.succeeded, "\(again)", sourceLocation: sourceLocation)
      #expect(try daemon.job("a").result() == "ok", sourceLocation: sourceLocation)
    }
  }
}
