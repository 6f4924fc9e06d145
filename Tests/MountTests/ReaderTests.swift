import FaultKit
import Glibc
import Testing

@Suite("Programs that read")
struct ReaderTests {
  static let files = [
    "jobs/a/status", "jobs/a/status.json", "jobs/a/spec", "jobs/a/state", "jobs/a/dest/0/map", "list", "README", "errors",
  ]

  /// A final job and a refusal, so that every file has a text.
  private func withTree(_ body: (Workbench, Daemon) throws -> Void) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10_000, seed: 1))
      try daemon.copy("from=\(source) to=\(quoted(try bench.file("dest é'", []))) context='a \"b\" é'", as: "a")
      #expect(try errnoName { _ = try daemon.submit("rubbish é", as: "b") } == "EINVAL")
      try body(bench, daemon)
    }
  }

  @Test("Each gets the bytes that read(2) gets", arguments: Reader.all)
  func reads(reader: Reader) throws {
    try withTree { bench, daemon in
      for (index, name) in Self.files.enumerated() {
        let expected = try Files.read(daemon.path(name))
        let outcome = try reader.run(daemon.path(name), output: "\(bench.disk)/output\(index)")
        #expect(outcome.succeeded && outcome.errorText.isEmpty && !expected.isEmpty, "\(name): \(outcome)")
        #expect(Pattern.difference(outcome.output, from: expected) == nil, "\(name): \(outcome)")
      }
    }
  }

  @Test("Go reads as it does anywhere", arguments: GoProgram.reading)
  func go(way: String) throws {
    try withTree { bench, daemon in
      let program = try GoProgram(bench)
      for name in Self.files + ["jobs/a/wait", "jobs/a/result"] {
        let outcome = try program.read(way, daemon.path(name))
        #expect(outcome.succeeded && outcome.errorText.isEmpty, "\(outcome)")
        #expect(try outcome.output == Files.read(daemon.path(name)), "\(name): \(outcome)")
      }
    }
  }

  /// Each prints the same of the file `$F` and of its copy, or nothing when it compares the two, `$C`.
  static let sayings = [
    "wc \"$F\" | cut -d/ -f1", "md5sum < \"$F\"", "sha256sum < \"$F\"", "cksum < \"$F\"", "cmp \"$F\" \"$C\"", "diff -u \"$F\" \"$C\"",
    "git hash-object --no-filters \"$F\"",
    "git diff --no-index --quiet \"$F\" \"$C\" && echo same", "[ -s \"$F\" ] && echo full", "find \"$F\" -empty",
    "find \"$F\" -size +0 | wc -l", "file -b \"$F\"", "stat -c %s \"$F\"", "ls -s --block-size=1 /dev/null; ls -l \"$F\" | cut -d' ' -f5",
    "busybox wc -c < \"$F\"", "busybox md5sum < \"$F\"", "od -A d -c \"$F\"", "strings \"$F\"",
    "sort \"$F\"", "grep -c '' \"$F\"", "sum < \"$F\"",
  ]

  @Test("Each says of the file what it says of a copy on a disk", arguments: sayings)
  func looks(script: String) throws {
    try withTree { bench, daemon in
      for name in Self.files {
        let copy = try bench.file("copy", Files.read(daemon.path(name)))
        let found = try shell(script, environment: ["F": daemon.path(name), "C": copy])
        let expected = try shell(script, environment: ["F": copy, "C": copy])
        #expect(found.ending == expected.ending && found.errorText.isEmpty && found.text == expected.text, "\(name): \(found) \(expected)")
      }
    }
  }

  /// Each begins to read somewhere behind the file's first byte.
  static let beginnings = [
    "tail -c +101 \"$F\"", "tail -c 10 \"$F\"", "dd if=\"$F\" bs=100 skip=1 status=none", "dd if=\"$F\" bs=1 skip=7 count=50 status=none",
    "busybox tail -c 10 \"$F\"", "busybox dd if=\"$F\" bs=100 skip=1 2> /dev/null",
    "python3 -I -S -c 'import os, sys; sys.stdout.buffer.write(os.pread(os.open(sys.argv[1], 0), 50, 100))' \"$F\"",
    "python3 -I -S -c 'import sys; f = open(sys.argv[1], \"rb\"); f.seek(-20, 2); sys.stdout.buffer.write(f.read())' \"$F\"",
    "perl -e 'open(F, \"<\", $ENV{F}) or die; seek(F, 100, 0); print <F>'", "ruby -e 'print IO.binread(ENV[\"F\"], 50, 100)'",
    "head -c -100 \"$F\"", "tail -n 2 \"$F\"",
  ]

  @Test("Who begins in the middle gets what is there", arguments: beginnings)
  func middle(script: String) throws {
    try withTree { bench, daemon in
      for name in ["jobs/a/status", "jobs/a/status.json", "README", "list", "errors"] {
        let copy = try bench.file("copy", Files.read(daemon.path(name)))
        let found = try shell(script, environment: ["F": daemon.path(name)])
        let expected = try shell(script, environment: ["F": copy])
        #expect(found.succeeded && found.output == expected.output && !expected.output.isEmpty, "\(name): \(found)")
      }
    }
  }
}
