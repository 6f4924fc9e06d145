import FaultKit
import Foundation
import Testing

@Suite("Drafts that become jobs")
struct DraftSubmitTests {
  /// A draft with a record that copies 1000 bytes, or with what `text` makes of that record.
  private func withDraft(
    _ text: (String) -> String = { $0 + "\n" }, named name: String = ".draft",
    _ body: (Workbench, Daemon, _ draft: String, _ record: String) throws -> Void
  ) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(1000, seed: 1))
      let record = "from=\(source) to=\(try bench.file("destination", []))"
      let draft = daemon.path("jobs/" + name)
      try Files.write(draft, text(record))
      try body(bench, daemon, draft, record)
    }
  }

  private func expectCopied(_ bench: Workbench, _ job: Job, sourceLocation: SourceLocation = #_sourceLocation) throws {
    #expect(try job.result() == "ok", sourceLocation: sourceLocation)
    #expect(try Files.read(bench.disk + "/destination") == Pattern.bytes(1000, seed: 1), sourceLocation: sourceLocation)
  }

  @Test("rename to a plain name submits: the name is a directory when it returns, and the draft is gone", arguments: [".x", "x~", ".x~"])
  func renamed(name: String) throws {
    try withDraft(named: name) { bench, daemon, draft, _ in
      let job = daemon.job("x")
      #expect(!Files.exists(job.path))
      try Files.rename(draft, to: job.path)
      #expect(try job.isDirectory() && daemon.jobNames == ["x"])
      try expectCopied(bench, job)
      #expect(try daemon.refusals.isEmpty)
    }
  }

  @Test(
    "A shell's cat and mv make a job", arguments: SubmitClient.shells,
    ["cat > .x && mv .x x", "cat > x~; mv x~ x", "cat > .x && mv -n .x x", "cat > .x && mv -f .x x && cat x/state > /dev/null"])
  func moved(shell: String, script: String) throws {
    try withDraft { bench, daemon, draft, record in
      try Files.unlink(draft)
      let outcome = try FaultKit.shell(
        "cd \"$M/jobs\" && echo \"$R\" | { \(script); } && ls -A", with: shell, environment: ["R": record, "M": daemon.mount])
      #expect(outcome.succeeded && outcome.errorText.isEmpty && outcome.line == "x", "\(outcome)")
      try expectCopied(bench, daemon.job("x"))
    }
  }

  static let goodTexts: [(title: String, text: @Sendable (String) -> String)] = [
    ("no newline", { $0 }), ("comments and blank lines", { "# a\n\n\($0)\n# b\n\n" }), ("a carriage return", { $0 + "\r\n" }),
    ("a continued line", { $0 + " \\\n context=x\n" }),
    ("the longest record", { $0.padding(toLength: 65536, withPad: " ", startingAt: 0) }),
    (
      "JSON",
      { record in
        let words = record.split(separator: " ").map { $0.split(separator: "=", maxSplits: 1)[1] }
        return "{\n  \"from\": \"\(words[0])\",\n  \"to\": [\"\(words[1])\"]\n}"
      }
    ),
  ]

  @Test("What the record may look like", arguments: goodTexts.indices)
  func good(index: Int) throws {
    let (title, text) = Self.goodTexts[index]
    try withDraft(text) { bench, daemon, draft, _ in
      #expect(try errnoName { try Files.rename(draft, to: daemon.job("x").path) } == "", "\(title)")
      try expectCopied(bench, daemon.job("x"))
    }
  }

  static let badTexts: [(title: String, text: @Sendable (String) -> String)] = [
    ("empty", { _ in "" }), ("blank", { _ in " \n\n" }), ("a comment alone", { "# \($0)\n" }), ("two records", { "\($0)\n\($0)\n" }),
    ("a second line that is bad", { $0 + "\nrubbish\n" }), ("two objects", { _ in "{\"op\": \"none\"}\n{\"op\": \"none\"}\n" }),
    ("an unknown key", { $0 + " form=x\n" }), ("no unit", { $0 + "@4096\n" }), ("an open quote", { $0 + " context='x\n" }),
    ("a NUL", { $0 + " context=a\0b\n" }), ("half an object", { _ in "{\"op\": \"none\"" }), ("a relative path", { _ in "from=a to=/b\n" }),
    ("a name of its own", { $0 + " name=y\n" }),
  ]

  @Test("A bad record is EBADMSG: the draft stays as it is, errors has it, and the name is free", arguments: badTexts.indices)
  func bad(index: Int) throws {
    let (title, text) = Self.badTexts[index]
    try withDraft(text) { bench, daemon, draft, record in
      let before = try Files.read(draft)
      #expect(try errnoName { try Files.rename(draft, to: daemon.job("x").path) } == "EBADMSG", "\(title)")
      #expect(try Files.read(draft) == before && daemon.jobNames == [".draft"], "\(title)")
      let refusals = try daemon.refusals
      #expect(refusals.count == 1 && refusals[0]["error"] == "EBADMSG" && refusals[0]["job"] == "x", "\(title): \(refusals)")
      #expect(!refusals[0]["text"].isEmpty, "\(title): \(refusals)")
      let outcome = try run("mv", draft, daemon.job("x").path)
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains("Bad message"), "\(title): \(outcome)")

      _ = try daemon.submit(record, as: "x")
      try expectCopied(bench, daemon.job("x"))
      // Mended, it is as good as any.
      try Files.write(draft, record)
      try Files.rename(draft, to: daemon.job("y").path)
      try expectCopied(bench, daemon.job("y"))
      #expect(try daemon.jobNames == ["x", "y"], "\(title)")
    }
  }

  static let unready: [(errno: String, record: @Sendable (Workbench) throws -> String)] = [
    ("ENOENT", { "from=\($0.disk)/nothing to=\(try $0.file("destination", []))" }),
    ("ENOENT", { "from=\(try $0.file("source", [1])) to=\($0.disk)/nothing" }),
    ("ENOTDIR", { "from=\(try $0.file("source", [1]))/x to=\(try $0.file("destination", []))" }),
    ("ERANGE", { "from=\(try $0.file("source", [1]))@1K+1K to=\(try $0.file("destination", []))" }),
    ("ENOSPC", { "from=\(try $0.loop(size: 2 << 20).path) to=\(try $0.loop(size: 1 << 20).path)" }),
    ("EINVAL", { "from=\($0.disk) to=\(try $0.file("destination", []))" }),
    ("EPERM", { "from=/proc/version to=\(try $0.file("destination", []))" }),
  ]

  @Test("What the devices say comes as the job's failure", arguments: unready.indices)
  func deviceProblem(index: Int) throws {
    let (errno, record) = Self.unready[index]
    try withDaemon { bench, daemon in
      let draft = daemon.path("jobs/.draft")
      try Files.write(draft, try record(bench) + " context=c\n")
      let job = daemon.job("x")
      try Files.rename(draft, to: job.path)
      #expect(try job.isDirectory() && daemon.jobNames == ["x"])
      #expect(try job.result() == errno)
      let status = try job.status()
      #expect(status["state"] == "failed" && status["error"] == errno && status["context"] == "c", "\(status)")
      #expect(status["read_err"] == "0" && status["write_err"] == "0x0", "nothing was read or written: \(status)")
      #expect(status.time("finished_at") >= status.time("queued_at") && status["bytes_done"] == "0", "\(status)")
      let cat = try Words(run("cat", job.path + "/wait").orThrow().text)
      #expect(cat["error"] == errno)
      try Files.removeDirectory(job.path)
      #expect(try daemon.jobNames.isEmpty)
    }
  }

  @Test("Onto a job that is there a rename fails: the draft and the job stay", arguments: ["mv", "mv -f", "mv -n", "mv -T"])
  func ontoJob(tool: String) throws {
    try withDraft { _, daemon, draft, record in
      let job = try daemon.copy(record, as: "x")
      let (status, text) = (try job.text("status"), try Files.text(draft))
      let name = try errnoName { try Files.rename(draft, to: job.path) }
      #expect(["EISDIR", "EEXIST", "ENOTEMPTY"].contains(name), "\(name)")
      // Without -T a directory is where to put it.
      let outcome = try shell("\(tool) \"$D\" \"$J\"", environment: ["D": draft, "J": job.path])
      #expect(!outcome.succeeded, "\(outcome)")
      #expect(try job.text("status") == status && Files.text(draft) == text && daemon.jobNames == [".draft", "x"])
    }
  }

  @Test("A bad name is refused, and the draft stays", arguments: ["-x", "a b", "ä", "12", String(repeating: "n", count: 65)])
  func badName(name: String) throws {
    try withDraft { bench, daemon, draft, _ in
      let error = try errnoName { try Files.rename(draft, to: daemon.path("jobs/" + name)) }
      #expect(["EBADMSG", "EINVAL", "ENAMETOOLONG"].contains(error), "\(error)")
      #expect(try daemon.jobNames == [".draft"] && Files.read(bench.disk + "/destination").isEmpty)
    }
  }

  @Test("What is written to a descriptor that is still open after the rename changes nothing")
  func stillOpen() throws {
    try withDraft { bench, daemon, draft, record in
      let file = try OpenFile(draft, O_WRONLY | O_APPEND)
      let job = daemon.job("x")
      try Files.rename(draft, to: job.path)
      _ = try errnoName { _ = try file.write(Array("\(record) context=late\n".utf8)) }
      _ = try errnoName { try file.synchronise() }
      _ = try errnoName { try file.close() }
      try expectCopied(bench, job)
      #expect(try job.status()["context"] == "" && daemon.jobNames == ["x"])
    }
  }

  @Test("A draft isn't a job: it is not in list, has no refusal, and stays when its maker has gone")
  func noJob() throws {
    try withDraft { _, daemon, draft, record in
      try shell("echo \"$R\" > \"$D\"; echo rubbish > \"${D}2\"", environment: ["R": record, "D": draft]).orThrow()
      #expect(try daemon.jobNames == [".draft", ".draft2"])
      #expect(try Files.text(daemon.path("list")).isEmpty && daemon.refusals.isEmpty)
      let facts = try Files.facts(draft)
      #expect(!facts.isDirectory && facts.size == record.utf8.count + 1)
    }
  }
}
