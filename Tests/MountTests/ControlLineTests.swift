import FaultKit
import Glibc
import Testing

@Suite("Lines written to ctl")
struct ControlLineTests {
  @Test("Why a command is EINVAL stands in errors, with the job's name")
  func errors() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      #expect(try held.job.control("stop") == "EINVAL")
      let refusal = try #require(try daemon.refusals.last)
      #expect(refusal["error"] == "EINVAL" && refusal["job"] == "held" && refusal["text"].contains("stop"), "\(refusal)")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      let count = try daemon.refusals.count
      #expect(try held.job.control("cancel") == "EALREADY" && daemon.refusals.count == count)
    }
  }

  static let scripts = [
    "printf cancel > \"$F\"", "/bin/echo -n cancel > \"$F\"", "{ /bin/echo -n can; /bin/echo cel; } > \"$F\"",
    "{ /bin/echo -n cancel; } > \"$F\"", "printf 'cancel\\n' | dd of=\"$F\" bs=1 status=none", "printf '\\n\\ncancel\\r\\n' > \"$F\"",
    "printf cancel | dd of=\"$F\" conv=fsync status=none",
  ]

  @Test("A command is taken with or without its newline, in pieces, and from several processes", arguments: scripts)
  func pieces(script: String) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let outcome = try shell(script, environment: ["F": held.job.path + "/ctl"])
      #expect(outcome.succeeded && outcome.errorText.isEmpty, "\(outcome)")
      try eventually("the job is being cancelled") { try held.job.status()["phase"] == "cancelling" }
      try held.letGo()
      #expect(try held.job.result() == "ECANCELED" && daemon.refusals.isEmpty)
    }
  }
}
