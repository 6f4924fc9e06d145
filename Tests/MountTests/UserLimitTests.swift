import FaultKit
import Glibc
import Testing

@Suite("What one user can take of a mount")
struct UserLimitTests {
  @Test("max_jobs_per_uid counts each uid's jobs, finished ones too, and root's not at all")
  func jobs() throws {
    try withSharedDaemon(options: ["max_jobs_per_uid=3"]) { _, daemon in
      for (user, prefix) in [(User.alice, "a"), (.bob, "b")] {
        for number in 0..<3 { #expect(try user.submit("op=none", as: "\(prefix)\(number)", to: daemon) == "taken") }
        #expect(try user.submit("op=none", as: "\(prefix)3", to: daemon) == "EDQUOT")
        #expect(try user.submit("op=none", to: daemon.path("submit")) == "EDQUOT")
        #expect(try user.refusal(daemon) == "there are 3 jobs of this user already")
        #expect(
          try user.shell("echo op=none > \"$1/jobs/.$2\" && mv \"$1/jobs/.$2\" \"$1/jobs/d\"", daemon.mount, prefix).errorText.contains(
            "quota"))
      }
      #expect(try User.alice.run("rmdir", daemon.job("a0").path).succeeded)
      #expect(try User.alice.submit("op=none", as: "again", to: daemon) == "taken")
      for number in 0..<5 { _ = try daemon.submit("op=none", as: "root\(number)") }
    }
  }

  @Test("A user has 64 drafts, 1,024 files for records and 16,384 open files, and others open theirs all the same")
  func files() throws {
    try withSharedDaemon { (_, daemon) throws in
      let script = """
        import errno, os, sys
        def fill(path, flags):
            opened = []
            while True:
                try: opened.append(os.open(path.replace("%", str(len(opened))), flags, 0o644))
                except OSError as e:
                    print(len(opened), errno.errorcode[e.errno], flush=True)
                    break
            return opened
        mount = sys.argv[1]
        drafts = fill(mount + "/jobs/.draft%", os.O_WRONLY | os.O_CREAT)
        records = fill(mount + "/submit", os.O_WRONLY)
        print(len(fill(mount + "/jobs/record%", os.O_WRONLY | os.O_CREAT)))
        everything = fill(mount + "/version", os.O_RDONLY)
        sys.stdin.read() if len(sys.argv) > 2 else None
        for fd in drafts + records + everything: os.close(fd)
        # The close of the last is over a moment after its call.
        while True:
            try: os.close(os.open(mount + "/submit", os.O_WRONLY)); break
            except OSError: pass
        print("again")
        """
      let command = User.alice.command("prlimit", ["--nofile=20000:20000", "python3", "-I", "-S", "-c", script, daemon.mount])
      #expect(try command.run().text == "64 EDQUOT\n1024 EMFILE\n0 EMFILE\n0\n15296 EMFILE\nagain\n")
      #expect(try User.bob.submit("op=none", as: "his", to: daemon) == "taken")
    }
  }

  @Test("Answers that nobody reads back come to an end; who can't read any back needs none")
  func answers() throws {
    try withSharedDaemon { (_, daemon) throws in
      let script = """
        import errno, os, sys
        records = b"op=none context=" + b"x" * 250 + b"\\n"
        fd = os.open(sys.argv[1] + "/check", os.O_RDWR)
        try:
            while True: os.write(fd, records * 200)
        except OSError as e: print(errno.errorcode[e.errno])
        size = 0
        while more := os.read(fd, 1 << 16): size += len(more)
        print(4 << 20 <= size < 5 << 20)
        os.write(fd, records)
        blind = os.open(sys.argv[1] + "/check", os.O_WRONLY)
        for _ in range(150): os.write(blind, records * 200)
        print("all")
        """
      #expect(try User.alice.run("python3", "-I", "-S", "-c", script, daemon.mount).text == "ENOBUFS\nTrue\nall\n")
    }
  }

  @Test("One user's 100,000 unfinished jobs of the first priority leave another's first job as it was", .timeLimit(.minutes(5)))
  func flood() throws {
    try withSharedDaemon { bench, daemon in
      let count = 100_000
      let source = try bench.file(of: .alice, "source", [UInt8](repeating: 1, count: 512))
      let destination = try bench.file(of: .alice, "destination", [])
      let client = daemon.client("default")
      #expect(try client.set("rate", "1K") == "")
      let script = """
        import errno, os, sys
        fd = os.open(sys.argv[1] + "/submit", os.O_WRONLY)
        copies = ["from=%s@0+512B to=%s@%dB priority=0\\n" % (sys.argv[2], sys.argv[3], 512 * n) for n in range(1000)]
        # A barrier waits for all that came before it.
        text = ("".join(copies) + "op=none\\n" * (\(count) - 1000)).encode()
        while text: text = text[os.write(fd, text[:100_000].rpartition(b"\\n")[0] + b"\\n"):]
        try: os.write(fd, b"op=none\\n")
        except OSError as e: print(errno.errorcode[e.errno])
        """
      let flood = try User.alice.command("python3", ["-I", "-S", "-c", script, daemon.mount, source, destination]).start()
      #expect(try flood.wait(within: .seconds(200)).line == "EDQUOT")
      #expect(try Int(client.value("jobs")) ?? 0 > count - 1000)
      let own = try bench.file(of: .bob, "own", [UInt8](repeating: 2, count: 512))
      // All places of the client are taken, and at this rate a turn of all those would take half a day.
      #expect(try User.bob.submit("from=\(own) to=\(bench.home(of: .bob))/copy create=yes priority=9", as: "his", to: daemon) == "taken")
      #expect(try User.bob.result(daemon.job("his")) == "ok")
      #expect(try Int(client.value("jobs")) ?? 0 > count - 1000)
      #expect(try daemon.submit("op=none client=default", as: "root").isDirectory())
    }
  }
}
