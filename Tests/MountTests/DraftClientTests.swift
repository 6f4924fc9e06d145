import FaultKit
import Foundation
import Testing

@Suite("Clients that write a draft and rename it")
struct DraftClientTests {
  private static let tools = [
    "rsync \"$T/record\" \"$J\"", "rsync -a \"$T/record\" \"$J\"",
    "cp \"$T/record\" \"$J~\" && mv \"$J~\" \"$J\" || { rm \"$J~\"; exit 1; }",
    "node -e 'const fs = require(\"fs\"), d = process.env.J + \"~\"; fs.writeFileSync(d, process.env.R); "
      + "try { fs.renameSync(d, process.env.J) } catch (e) { fs.unlinkSync(d); throw e }'",
    "ruby -e 'd = ENV[\"J\"] + \"~\"; File.write(d, ENV[\"R\"]); begin; File.rename(d, ENV[\"J\"]); ensure; File.delete(d) if File.file?(d); end'",
    "perl -e '$d = \"$ENV{J}~\"; open(F, \">\", $d) or die; print F $ENV{R}; close F; rename($d, $ENV{J}) or do { $e = $!; unlink $d; die \"$e\\n\" }'",
    "echo 'set f [open $env(J)~ w]; puts $f $env(R); close $f; file rename $env(J)~ $env(J)' > \"$T/script\"; "
      + "tclsh \"$T/script\" || { rm \"$J~\"; exit 1; }",
  ]

  private static let python = [
    """
    d = os.path.join(os.path.dirname(j), '.draft')
    with open(d, 'w') as f: f.write(r)
    try: os.replace(d, j)
    except OSError: os.unlink(d); raise
    """,
    """
    f = tempfile.NamedTemporaryFile('w', dir=os.path.dirname(j), prefix='.', delete=False)
    with f: print(r, file=f)
    try: os.rename(f.name, j)
    except OSError: os.unlink(f.name); raise
    """,
    """
    d = pathlib.Path(j + '~')
    d.write_text(r)
    try: d.rename(j)
    except OSError: d.unlink(); raise
    """,
  ]

  static var renaming: [SubmitClient] {
    tools.map { SubmitClient(program: "bash", script: $0) } + python.map { SubmitClient(program: "python3", script: $0) }
  }

  @Test("Each makes exactly one job, a directory as soon as it ends, and leaves no draft", arguments: renaming)
  func accepted(client: SubmitClient) throws { try client.checkAccepted() }

  @Test("Each fails when its record is refused, and the name can be used again", arguments: renaming)
  func refused(client: SubmitClient) throws { try client.checkRefused(error: "EBADMSG") }

  /// Their swap file lies beside what they edit, under a draft's name.
  static let editing = ["w -c q!", "wq", "x"].map { commands in
    SubmitClient(
      program: "bash",
      script: "vim -es -N -u NONE -i NONE --cmd 'set directory=. swapfile updatecount=1' -c 'call setline(1, $R)' "
        + "-c 'preserve' -c \(commands) \"$J\" < /dev/null",
      report: .status)
  }

  @Test("vim with its swap file on makes a job, and takes the swap file away", arguments: editing)
  func vim(client: SubmitClient) throws { try client.checkAccepted() }

  @Test("vim with its swap file on fails when its record is refused", arguments: editing)
  func vimRefused(client: SubmitClient) throws { try client.checkRefused() }

  @Test("Foundation's atomic writes make a job, and throw when the record is refused", arguments: ["Data", "String"])
  func atomically(type: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(1000, seed: 1))
      let destination = try bench.file("destination", [])
      func write(_ record: String) throws {
        if type == "Data" {
          try Data((record + "\n").utf8).write(to: URL(fileURLWithPath: daemon.job("x").path), options: .atomic)
        } else {
          try (record + "\n").write(toFile: daemon.job("x").path, atomically: true, encoding: .utf8)
        }
      }
      #expect(throws: (any Error).self) { try write("form=\(source) to=\(destination)") }
      try daemon.expectNoJobs()
      #expect(try daemon.refusals.map { $0["error"] } == ["EBADMSG"])
      try write("from=\(source) to=\(destination)")
      #expect(try daemon.job("x").isDirectory() && daemon.jobNames == ["x"])
      #expect(try daemon.job("x").result() == "ok")
      #expect(try Files.read(destination) == Files.read(source))
    }
  }
}
