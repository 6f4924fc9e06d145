import FaultKit
import Glibc
import Testing

/// A name in `jobs/` that begins with a dot or ends in `~`.
@Suite("Drafts as files")
struct DraftTests {
  /// Scripts that work on drafts alone; what each prints says how a plain file behaves.
  static let scripts = [
    "printf abc > .d; cat .d; stat -c '%s %F' .d; ls -A", "printf abc > d~; cat d~; ls -A", "printf abc > .d; printf def >> .d; cat .d",
    "printf abcdef > .d; : > .d; stat -c %s .d", "touch .d; stat -c %s .d; [ -s .d ] || echo empty",
    "printf abcdef > .d; truncate -s 3 .d; cat .d", "printf abc > .d; truncate -s 6 .d; od -c .d",
    "printf abcdef > .d; printf XY | dd of=.d bs=1 seek=2 conv=notrunc status=none; cat .d",
    "printf abc | dd of=.d bs=1 seek=5 status=none; od -c .d", "printf abc > .d; mv .d .e; cat .e; ls -A",
    "printf abc > .d; mv .d d~; cat d~",
    "printf abc > .d; printf def > e~; mv -f .d e~; cat e~; ls -A", "printf abc > .d; printf def > .e; mv -n .d .e; cat .d .e",
    "printf abc > .d; rm .d; ls -A; cat .d 2> /dev/null; echo $?", "set -C; printf abc > .d; { : > .d; } 2> /dev/null; echo $?; cat .d",
    "echo abc > .d; chmod 600 .d; touch .d; cp -p .d .e; rm .d; cat .e",
    "f=$(mktemp ./.tmp.XXXXXX); echo abc > \"$f\"; cat .tmp.*; rm .tmp.*; ls -A",
    "printf 'b\\na\\n' > .d; sort -o .d .d; cat .d", "printf 'b\\na\\n' > .d; sort .d | sponge .d; cat .d",
    "echo abc > .d; printf 's/b/x/\\nw\\nq\\n' | ed -s .d; cat .d", "head -c 65536 /dev/zero > .d; wc -c < .d; rm .d; ls -A",
    "echo abc > .d; vim -es -N -u NONE -i NONE --cmd 'set directory=. backup backupdir=. backupskip=' -c '%s/b/x/' -c wq .d < /dev/null; cat .d .d~; ls -A",
    "head -c 4097 /dev/urandom > \"$T/data\"; for i in 1 2 3; do cat \"$T/data\"; done > .d; for i in 1 2 3; do cat \"$T/data\"; done | cmp - .d && echo same",
    "exec 3> .d; echo abc >&3; mv .d .e; echo def >&3; cat .e", "exec 3> .d 4< .d; echo abc >&3; rm .d; echo def >&3; cat <&4; ls -A",
  ]

  @Test("They are plain files: what works on a disk works on them", arguments: scripts)
  func plainFile(script: String) throws {
    try withDaemon { bench, daemon in
      let plain = bench.disk + "/plain"
      try Files.makeDirectory(plain)
      let (onDisk, inJobs) = try (
        shell("cd \"$D\" && \(script)", environment: ["D": plain, "T": bench.disk]),
        shell("cd \"$D\" && \(script)", environment: ["D": daemon.path("jobs"), "T": bench.disk])
      )
      #expect(onDisk.succeeded && onDisk.errorText.isEmpty && !onDisk.text.isEmpty, "\(onDisk)")
      #expect(inJobs.succeeded && inJobs.errorText.isEmpty && inJobs.text == onDisk.text, "\(inJobs)")
      // vim tries out the directory with a file of that name, which is a number.
      #expect(try daemon.refusals.allSatisfy { $0["job"] == "4913" } && Files.text(daemon.path("list")).isEmpty)
    }
  }

  @Test("Positioned reads and writes, truncation and the size agree, as on a disk", arguments: 1...4)
  func positions(seed: Int) throws {
    try withDaemon { bench, daemon in
      let script = """
        import os, random, sys
        choose = random.Random(int(sys.argv[2]))
        fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_EXCL)
        model = bytearray()
        for step in range(400):
            at, count = choose.randrange(60000), choose.randrange(1, 5000)
            kind = choose.choice("wwwrrt")
            if kind == "w":
                data = choose.randbytes(count)
                if os.pwrite(fd, data, at) != count: sys.exit(f"short write in step {step}")
                if len(model) < at: model.extend(bytes(at - len(model)))
                model[at:at + count] = data
            elif kind == "t":
                os.ftruncate(fd, at)
                del model[at:]
                model.extend(bytes(at - len(model)))
            elif os.pread(fd, count, at) != model[at:at + count]: sys.exit(f"other bytes in step {step}")
            if os.fstat(fd).st_size != len(model) or os.stat(sys.argv[1]).st_size != len(model): sys.exit(f"other size in step {step}")
        os.close(fd)
        if open(sys.argv[1], "rb").read() != model: sys.exit("other bytes in the end")
        """
      try python(script, bench.disk + "/plain", "\(seed)").orThrow()
      let outcome = try python(script, daemon.path("jobs/.draft"), "\(seed)")
      #expect(outcome.succeeded, "\(outcome)")
    }
  }

  @Test("64 KiB fit, and not a byte more, however it comes", arguments: ["write", "append", "pwrite", "truncate"])
  func tooLong(way: String) throws {
    try withDaemon { _, daemon in
      let script = """
        import errno, os, sys
        path, way = sys.argv[1:]
        with open(path, "wb") as f: f.write(b"x" * 65536)
        try:
            if way == "truncate": os.truncate(path, 65537)
            else:
                fd = os.open(path, os.O_WRONLY | (os.O_APPEND if way == "append" else 0))
                if way == "append": os.write(fd, b"y")
                elif way == "pwrite": os.pwrite(fd, b"y", 65536)
                # What fits may be taken first, as on a full disk.
                elif os.write(fd, b"x" * 65537) == 65536: os.write(fd, b"y")
            print("taken")
        except OSError as e: print(errno.errorcode[e.errno])
        print(open(path, "rb").read() == b"x" * 65536)
        """
      let outcome = try python(script, daemon.path("jobs/.long"), way)
      #expect(["EFBIG\nTrue", "E2BIG\nTrue", "ENOSPC\nTrue"].contains(outcome.line), "\(outcome)")
    }
  }

  @Test("They are their maker's alone: another uid can't read, change, rename or remove them")
  func isPrivate() throws {
    try withDaemon(options: ["allow_other"]) { _, daemon in
      let draft = daemon.path("jobs/.draft")
      try Files.write(draft, "text")
      let script = """
        import errno, os, sys
        \(CredentialTests.write)
        draft = sys.argv[1]
        attempt(lambda: open(draft).read())
        attempt(lambda: open(draft, "a"))
        attempt(lambda: os.truncate(draft, 0))
        attempt(lambda: os.rename(draft, draft + "2"))
        attempt(lambda: os.rename(draft, os.path.dirname(draft) + "/job"))
        attempt(lambda: os.unlink(draft))
        """
      let outcome = try Command(
        "setpriv", ["--reuid=1234", "--regid=1234", "--clear-groups", "python3", "-I", "-S", "-c", script, draft]
      ).run()
      let lines = outcome.text.split(separator: "\n")
      #expect(lines.count == 6 && lines.allSatisfy { ["EACCES", "EPERM", "ENOENT"].contains($0) }, "\(outcome)")
      #expect(try Files.text(draft) == "text" && daemon.jobNames == [".draft"])
    }
  }

  @Test("link, symlink and nodes are EPERM, under a draft's name too")
  func otherKinds() throws {
    try withDaemon { _, daemon in
      let draft = daemon.path("jobs/.draft")
      try Files.write(draft, "text")
      for other in [daemon.path("jobs/.other"), daemon.path("jobs/other")] {
        #expect(try errnoName { try Files.link(draft, as: other) } == "EPERM")
        #expect(try errnoName { try Files.symlink(to: draft, as: other) } == "EPERM")
        #expect(try errnoName { try Files.makeNode(other, mode: UInt32(S_IFIFO) | 0o600) } == "EPERM")
      }
      #expect(try daemon.jobNames == [".draft"])
    }
  }

  @Test("mv takes a draft out of the mount, and another in")
  func acrossFileSystems() throws {
    try withDaemon { bench, daemon in
      let (draft, outside) = (daemon.path("jobs/.draft"), bench.disk + "/outside")
      try Files.write(draft, "text")
      #expect(try errnoName { try Files.rename(draft, to: outside) } == "EXDEV")
      try run("mv", draft, outside).orThrow()
      #expect(try Files.text(outside) == "text" && daemon.jobNames.isEmpty)
      try run("mv", outside, draft + "2").orThrow()
      #expect(try Files.text(draft + "2") == "text" && !Files.exists(outside) && daemon.jobNames == [".draft2"])
    }
  }

  @Test("Nothing of the tree but a draft can be renamed, and a draft stays in jobs/")
  func renames() throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.file("source", [1]), try bench.file("destination", []))
      let job = try daemon.copy("from=\(source) to=\(destination)")
      let placeholder = try OpenFile(daemon.path("jobs/open"), O_WRONLY | O_CREAT)
      for old in ["jobs/job", "jobs/open", "jobs/job/status", "version", "jobs", "clients/default"] {
        for new in ["jobs/.new", "jobs/new", "jobs/job/new", "new"] {
          // The kernel itself refuses a directory as its own child.
          let fitting = new.hasPrefix(old + "/") ? ["EPERM", "EINVAL"] : ["EPERM"]
          #expect(try fitting.contains(errnoName { try Files.rename(daemon.path(old), to: daemon.path(new)) }), "\(old) \(new)")
        }
      }
      try placeholder.close()
      let draft = daemon.path("jobs/.draft")
      try Files.write(draft, "text")
      for new in ["jobs/job/.draft", ".draft", "clients/.draft", "jobs/job/status", "version"] {
        #expect(try !errnoName { try Files.rename(draft, to: daemon.path(new)) }.isEmpty, "\(new)")
      }
      #expect(try Files.text(draft) == "text" && job.value("state") == "done")
      try eventually("the placeholder is gone") { try daemon.jobNames == [".draft", "job"] }
    }
  }
}
