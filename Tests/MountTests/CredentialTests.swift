import FaultKit
import Glibc
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

  /// A copy of a program that prints its arguments, with the rights of its owner whoever runs it.
  private static func printer(_ bench: Workbench, mode: String) throws -> String {
    // Where set-uid bits count, for once.
    let mount = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/programs", options: "suid,exec,mode=755"))
    try run("install", "-m", mode, "/bin/echo", mount.path + "/printer").orThrow()
    return mount.path + "/printer"
  }

  @Test(
    "A set-uid or set-gid program that prints its arguments into a record makes no record of its owner's",
    arguments: ["jobs/x", "submit", "check", "jobs/.draft"], ["4755", "2755"])
  func setUID(place: String, mode: String) throws {
    try withSharedDaemon { bench, daemon in
      let printer = try Self.printer(bench, mode: mode)
      let own = try bench.file(of: .alice, "own", Pattern.bytes(100, seed: 1))
      let secret = try bench.file("secret", Pattern.bytes(100, seed: 2))
      chmod(secret, 0o600)
      for record in ["from=\(secret) to=\(own)", "from=\(own) to=\(secret)"] {
        let outcome = try User.alice.shell("\"$1\" \"$2\" > \"$3\"", printer, record, daemon.path(place))
        #expect(!outcome.succeeded && outcome.errorText.contains("Operation not permitted"), "\(outcome)")
      }
      if !place.hasPrefix("jobs/.") { #expect(try User.alice.refusal(daemon).hasPrefix("written by uid ")) }
      // The same program without its bits is the user's own.
      let harmless = try User.alice.shell(
        "cp \"$1\" \"$2/printer\" && \"$2/printer\" op=none > \"$3/submit\"", printer, try bench.home(of: .alice), daemon.mount)
      #expect(harmless.succeeded, "\(harmless)")
      #expect(try Files.read(own) == Pattern.bytes(100, seed: 1) && Files.read(secret) == Pattern.bytes(100, seed: 2))
    }
  }

  @Test("What root opened for a user's program to write is no record of root's")
  func redirected() throws {
    try withSharedDaemon { bench, daemon in
      let secret = try bench.file("secret", Pattern.bytes(100, seed: 2))
      chmod(secret, 0o600)
      let own = try bench.file(of: .alice, "own", [])
      let script = "setpriv --reuid=1234 --regid=1234 --clear-groups /bin/echo \"from=$S to=$D\" > \"$M/submit\""
      let outcome = try shell(script, environment: ["S": secret, "D": own, "M": daemon.mount])
      #expect(!outcome.succeeded && outcome.errorText.contains("Operation not permitted"), "\(outcome)")
      try daemon.expectNoJobs()
      #expect(try Files.read(own).isEmpty)
    }
  }

  @Test("A record that one user opened and another of their programs' threads writes is the user's", arguments: ["jobs/x", "submit"])
  func otherUID(place: String) throws {
    try withSharedDaemon { bench, daemon in
      let source = try bench.file(of: .alice, "source", Pattern.bytes(100, seed: 1))
      let destination = try bench.file(of: .alice, "destination", [])
      let script = """
        import os, sys, threading
        fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
        writer = threading.Thread(target=lambda: os.write(fd, sys.argv[2].encode() + b"\\n"))
        writer.start(); writer.join()
        """
      let record = "from=\(source) to=\(destination)"
      try User.alice.run("python3", "-I", "-S", "-c", script, daemon.path(place), record).orThrow()
      let name = try #require(daemon.jobNames.first)
      #expect(try daemon.job(name).result() == "ok" && daemon.job(name).status()["uid"] == "1234")
      #expect(try Files.read(destination) == Pattern.bytes(100, seed: 1))
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
