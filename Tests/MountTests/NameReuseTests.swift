import FaultKit
import Testing

@Suite("A name that is a file, a directory and nothing by turns")
struct NameReuseTests {
  /// Looks at a name all the time, in several ways.
  static let storm = """
    import os, sys
    names = [sys.argv[1] + "/jobs/x" + end for end in ("", "/status", "/dest", "")]
    while True:
        for name in names:
            try:
                os.stat(name)
                os.close(os.open(name, os.O_RDONLY | os.O_NONBLOCK))
            except OSError: pass
    """

  /// Makes a job, looks, removes it, 1500 times under one name; counts what it sees.
  static let reuse =
    PythonHelp.begin + """
      import stat
      job = sys.argv[1] + "/jobs/x"
      seen = dict.fromkeys(["directory", "status", "fstat", "taken", "gone"], 0)
      for turn in range(1500):
          if turn % 3 == 0: attempt(os.stat, job)
          fd = os.open(job, os.O_WRONLY | os.O_CREAT | (os.O_EXCL if turn % 2 else 0), 0o644)
          if turn % 3 == 1: os.stat(job)
          os.write(fd, b"op=none\\n")
          seen["fstat"] += stat.S_ISREG(os.fstat(fd).st_mode)
          os.close(fd)
          seen["directory"] += stat.S_ISDIR(os.stat(job).st_mode)
          seen["status"] += open(job + "/wait").read().startswith("state=done\\nname=x\\n") and open(job + "/state").read() == "done\\n"
          seen["taken"] += attempt(os.open, job, os.O_WRONLY | os.O_CREAT) == "EISDIR"
          os.rmdir(job)
          seen["gone"] += attempt(os.stat, job) == attempt(open, job + "/status") == "ENOENT"
      print(seen)
      """

  @Test("A name used 1,500 times while two processes look at it is always what it should be")
  func reuse() throws {
    try withDaemon { _, daemon in
      let storms = try (0..<2).map { _ in try pythonCommand(Self.storm, [daemon.mount]).start() }
      let outcome = try pythonCommand(Self.reuse, [daemon.mount]).run()
      #expect(
        outcome.line == "{'directory': 1500, 'status': 1500, 'fstat': 1500, 'taken': 1500, 'gone': 1500}", "\(outcome)")
      for storm in storms {
        #expect(storm.running, "\(storm.errorText)")
        try storm.end()
      }
      try daemon.expectNoJobs()
      #expect(try daemon.refusals.isEmpty)
    }
  }
}
