import FaultKit
import Glibc
import Testing

@Suite("max_jobs_per_uid")
struct UserLimitTests {
  /// Submits records as another uid; prints the name of the errno of each that is refused, or its job's name.
  static let submit =
    PythonHelp.begin + """
      for name in sys.argv[2:]:
          def submit():
              with open(sys.argv[1] + "/" + name, "wb", buffering=0) as file: file.write(b"op=none\\n")
              return open(sys.argv[1] + "/" + name + "/result").read().strip()
          print(attempt(submit))
      """

  private func submit(_ daemon: Daemon, as uid: Int, _ names: String...) throws -> [String] {
    let outcome = try Command(
      "setpriv",
      ["--reuid=\(uid)", "--regid=\(uid)", "--clear-groups", "python3", "-I", "-S", "-c", Self.submit, daemon.path("jobs")] + names
    ).run().orThrow()
    return outcome.text.split(separator: "\n").map(String.init)
  }

  @Test("Each uid may have so many jobs, final ones too, one more is EDQUOT; a removal makes room, and root has no limit")
  func limit() throws {
    try withDaemon(options: ["allow_other", "max_jobs_per_uid=2"]) { _, daemon in
      #expect(try submit(daemon, as: 1234, "a", "b", "c") == ["ok", "ok", "EDQUOT"])
      #expect(try submit(daemon, as: 1235, "d") == ["ok"])
      for name in ["r1", "r2", "r3", "r4"] { #expect(try daemon.submit("op=none", as: name).result() == "ok") }
      #expect(try daemon.jobNames == ["a", "b", "d", "r1", "r2", "r3", "r4"])
      let refusal = try #require(try daemon.refusals.last)
      #expect(refusal["error"] == "EDQUOT" && refusal["uid"] == "1234" && refusal["job"] == "c", "\(refusal)")
      try run("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "rmdir", daemon.path("jobs/a")).orThrow()
      #expect(try submit(daemon, as: 1234, "c", "e") == ["ok", "EDQUOT"])
      // root's removal of another's job makes room for the other.
      try Files.removeDirectory(daemon.path("jobs/b"))
      #expect(try submit(daemon, as: 1234, "e") == ["ok"])
    }
  }

  @Test("A wrong number is refused in words", arguments: ["max_jobs_per_uid=0", "max_jobs_per_uid=", "max_jobs_per_uid=many"])
  func refused(option: String) throws {
    try withWorkbench { bench in
      let outcome = try Daemon.command([bench.disk, "-f", "-o", "state=none,\(option)"]).run()
      #expect(!outcome.succeeded && outcome.errorText.contains("max_jobs_per_uid"), "\(outcome)")
    }
  }
}
