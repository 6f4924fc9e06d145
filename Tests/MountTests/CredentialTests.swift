import FaultKit
import Testing

@Suite("Whose record it is")
struct CredentialTests {
  /// Prints the errno's name, or `taken`.
  static let write = """
    def attempt(action):
        try: action(); print("taken")
        except OSError as e: print(errno.errorcode[e.errno])
    """

  @Test("A write under other credentials than the opener's is EPERM and adds nothing", arguments: ["jobs/x", "submit"])
  func inherited(place: String) throws {
    try withDaemon(options: ["allow_other"]) { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      let script = """
        import errno, os, sys
        \(CredentialTests.write)
        fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
        if os.fork() == 0:
            os.setgroups([]); os.setgid(1234); os.setuid(1234)
            attempt(lambda: os.write(fd, sys.argv[2].encode() + b"\\n"))
            os._exit(0)
        os.wait()
        attempt(lambda: os.write(fd, b"# a comment, and so still nothing\\n"))
        attempt(lambda: os.close(fd))
        """
      let outcome = try python(script, daemon.path(place), "from=\(source) to=\(destination)")
      #expect(outcome.line == "EPERM\ntaken\ntaken", "\(outcome)")
      try daemon.expectNoJobs()
      #expect(try Files.read(destination).isEmpty)
    }
  }

  @Test("With allow_other another uid may look, and its record is EPERM", arguments: ["jobs/x", "submit"])
  func otherUID(place: String) throws {
    try withDaemon(options: ["allow_other"]) { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      try run("chown", "1234:1234", source, destination).orThrow()
      let script = """
        import errno, os, sys
        \(CredentialTests.write)
        print(open(sys.argv[1] + "/version").read().split()[0])
        def submit():
            fd = os.open(sys.argv[1] + "/" + sys.argv[2], os.O_WRONLY | os.O_CREAT)
            os.write(fd, sys.argv[3].encode() + b"\\n")
        attempt(submit)
        """
      let outcome = try Command(
        "setpriv",
        [
          "--reuid=1234", "--regid=1234", "--clear-groups", "python3", "-I", "-S", "-c", script, daemon.mount, place,
          "from=\(source) to=\(destination)",
        ]
      ).run()
      #expect(outcome.line == "version=0.1.0\nEPERM", "\(outcome)")
      try daemon.expectNoJobs()
      #expect(try Files.read(destination).isEmpty)
    }
  }

  @Test("With allow_other another uid may not steer or remove root's job")
  func othersJob() throws {
    try withDaemon(options: ["allow_other"]) { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file("destination", [])
      let job = try daemon.copy("from=\(source) to=\(destination)")
      let script = """
        import errno, os, sys
        \(CredentialTests.write)
        job = sys.argv[1]
        print(open(job + "/state").read().strip())
        attempt(lambda: os.open(job + "/ctl", os.O_WRONLY))
        attempt(lambda: os.rmdir(job))
        attempt(lambda: os.chmod(job, 0o777))
        """
      let outcome = try Command(
        "setpriv", ["--reuid=1234", "--regid=1234", "--clear-groups", "python3", "-I", "-S", "-c", script, job.path]
      ).run()
      let lines = outcome.text.split(separator: "\n").map(String.init)
      #expect(lines.count == 4 && lines[0] == "done" && lines[1] == "EACCES", "\(outcome)")
      #expect(lines.dropFirst(2).allSatisfy { $0 == "EPERM" || $0 == "EACCES" }, "\(outcome)")
      #expect(try daemon.jobNames == ["job"])
    }
  }

  @Test("Without allow_other another uid sees nothing")
  func closed() throws {
    try withDaemon { _, daemon in
      let outcome = try run("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "cat", daemon.path("version"))
      #expect(!outcome.succeeded && outcome.errorText.contains("Permission denied"), "\(outcome)")
    }
  }
}
