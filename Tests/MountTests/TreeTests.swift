import FaultKit
import Glibc
import Testing

@Suite("The tree and the tools that walk and change it")
struct TreeTests {
  /// Three jobs that are done, `a`, `b` and `c`.
  private func withJobs(options: [String] = [], _ body: (Workbench, Daemon) throws -> Void) throws {
    try withDaemon(options: options) { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      for name in ["a", "b", "c"] { try daemon.copy("from=\(source) to=\(bench.disk)/\(name) create=yes", as: name) }
      try body(bench, daemon)
    }
  }

  static let walks = [
    "ls -la .", "ls -la jobs jobs/a jobs/a/dest/0 clients/default", "tree -a -p -u -s --inodes .", "find . -type f -size +0 -ls",
    "find jobs -newer README -o -name a", "stat -f .", "du -s --inodes .", "du -sb jobs", "stat * jobs/*/*", "df . -i",
  ]

  @Test("ls, tree, find, stat, du and df walk it without a complaint, and nothing changes", arguments: walks)
  func walkers(script: String) throws {
    try withJobs { _, daemon in
      let outcome = try shell("cd \"$M\" && \(script)", environment: ["M": daemon.mount])
      #expect(outcome.succeeded && outcome.errorText.isEmpty && !outcome.text.isEmpty, "\(outcome)")
      #expect(try daemon.jobNames == ["a", "b", "c"])
    }
  }

  @Test("tree shows each file of the contract once")
  func tree() throws {
    try withJobs { _, daemon in
      let paths = try run("tree", "-a", "-i", "-f", "--noreport", daemon.mount).orThrow().text.split(separator: "\n")
      let job = [
        "", "/spec", "/status", "/status.json", "/state", "/progress", "/read_err", "/write_err", "/wait", "/result", "/ctl", "/dest",
        "/dest/0", "/dest/0/status", "/dest/0/map",
      ]
      let client = ["", "/pages", "/pages_free", "/throttle", "/rate", "/subjob", "/slots", "/max_jobs", "/jobs", "/wait"]
      let root = ["README", "version", "stats", "metrics", "list", "submit", "check", "events", "errors", "clients", "jobs"]
      let all = root + client.map { "clients/default" + $0 } + ["a", "b", "c"].flatMap { name in job.map { "jobs/" + name + $0 } }
      let expected = [daemon.mount] + all.map(daemon.path)
      let (missing, surplus) = (Set(expected).subtracting(paths.map(String.init)), Set(paths.map(String.init)).subtracting(expected))
      #expect(missing.isEmpty && surplus.isEmpty && paths.count == expected.count)
    }
  }

  @Test("df -i shows the limit of jobs, those that are there, and those that may come")
  func freeInodes() throws {
    try withJobs(options: ["max_jobs=10"]) { _, daemon in
      func numbers() throws -> String {
        try run("df", "--output=itotal,iused,iavail", daemon.mount).orThrow().line.split(separator: "\n")[1].split(separator: " ").joined(
          separator: " ")
      }
      #expect(try numbers() == "10 3 7")
      try Files.removeDirectory(daemon.job("a").path)
      #expect(try numbers() == "10 2 8")
      #expect(try run("stat", "-f", "-c", "%l", daemon.mount).line == "64")
    }
  }

  static let removals = [
    "rm -rf \"$M\"/jobs/*", "rm -r \"$M\"/jobs/a \"$M\"/jobs/[bc]", "rmdir \"$M\"/jobs/*", "find \"$M/jobs\" -mindepth 1 -delete",
    "find \"$M/jobs\" -mindepth 1 -maxdepth 1 -exec rmdir {} +",
    "python3 -c 'import glob, os, shutil\nfor job in glob.glob(os.environ[\"M\"] + \"/jobs/*\"): shutil.rmtree(job)'",
    "busybox rm -rf \"$M\"/jobs/*",
  ]

  @Test("Each way of removing removes all that is final, and its names are free", arguments: removals)
  func removal(script: String) throws {
    try withJobs { bench, daemon in
      let outcome = try shell(script, environment: ["M": daemon.mount])
      #expect(outcome.succeeded && outcome.errorText.isEmpty, "\(outcome)")
      #expect(try daemon.jobNames.isEmpty && Files.text(daemon.path("list")).isEmpty && Files.facts(daemon.path("jobs")).isDirectory)
      try daemon.copy("from=\(bench.disk)/source to=\(bench.disk)/a", as: "a")
    }
  }

  @Test("rm -rf of everything leaves alone what is queued, running or paused, says that it is busy, and takes the rest")
  func busy() throws {
    try withJobs { bench, daemon in
      let (held, paused) = (try HeldJob(bench, daemon), try daemon.submit("op=none", as: "paused"))
      _ = try daemon.submit("op=none", as: "queued")
      #expect(try paused.control("pause") == "" && paused.value("state") == "paused")
      let outcome = try shell("rm -rf \"$M\"/jobs/*", environment: ["M": daemon.mount])
      #expect(!outcome.succeeded && outcome.errorText.contains("Device or resource busy"), "\(outcome)")
      #expect(try daemon.jobNames == ["held", "paused", "queued"])
      for name in ["held", "paused", "queued"] {
        let job = daemon.job(name)
        #expect(try errnoName { try Files.removeDirectory(job.path) } == "EBUSY" && job.status()["name"] == name)
        #expect(try Files.names(in: job.path).count == 11)
      }
      #expect(try paused.control("resume") == "")
      try held.letGo()
      #expect(try paused.result() == "ok" && daemon.job("queued").result() == "ok")
      try shell("rm -rf \"$M\"/jobs/*", environment: ["M": daemon.mount]).orThrow()
      #expect(try daemon.jobNames.isEmpty)
    }
  }

  static let bits: [(UInt32, UInt32)] = [
    (0o644, 0o755), (0o600, 0o700), (0o440, 0o550), (0o755, 0o755), (0o711, 0o700), (0o777, 0o777), (0o000, 0o000),
  ]

  @Test("chmod by the owner sets read and write bits, and search bits follow the read bits", arguments: bits)
  func modes(asked: UInt32, got: UInt32) throws {
    try withJobs { _, daemon in
      let path = daemon.job("a").path
      try run("chmod", String(asked, radix: 8), path).orThrow()
      #expect(try Files.facts(path).permissions & 0o555 == got & 0o555)
      for file in ["status", "spec", "dest/0/map"] {
        try eventually("\(file) shows it") { try Files.facts(path + "/" + file).permissions == got & 0o444 }
      }
      #expect(try Files.facts(path + "/ctl").permissions == 0o200 && Files.facts(path + "/dest").permissions == got & 0o555)
    }
  }

  @Test("Others may not change, rename or remove a job, nor chmod, chown or touch it")
  func others() throws {
    try withJobs(options: ["allow_other"]) { _, daemon in
      let job = daemon.job("a").path
      let script =
        PythonHelp.begin + """
          job, new = sys.argv[1:]
          for call in [lambda: os.chmod(job, 0o777), lambda: os.chown(job, 1234, 1234), lambda: os.utime(job), lambda: os.rmdir(job),
                       lambda: os.rename(job, new), lambda: os.unlink(job + "/status"), lambda: os.mkdir(new), lambda: os.mkdir(job + "/x"),
                       lambda: open(job + "/ctl", "w"), lambda: open(job + "/status", "w"), lambda: os.truncate(job + "/status", 0)]:
              if attempt(call) not in ("EPERM", "EACCES"): print(attempt(call))
          print(attempt(lambda: os.chown(job, 1234, 1234)), attempt(lambda: os.chmod(job, 0o777)))
          """
      let outcome = try Command(
        "setpriv", ["--reuid=1234", "--regid=1234", "--clear-groups", "python3", "-I", "-S", "-c", script, job, daemon.path("jobs/new")]
      ).run()
      #expect(outcome.line == "EPERM EPERM", "\(outcome)")
      #expect(try daemon.jobNames == ["a", "b", "c"] && Files.facts(job).permissions == 0o755 && Files.facts(job).uid == 0)
    }
  }

  @Test("In jobs/ and in a job there are no other directories, links, nodes or names: EPERM, to root too")
  func nothingElse() throws {
    try withJobs { bench, daemon in
      let script =
        PythonHelp.begin + """
          import socket
          mount, disk = sys.argv[1:]
          jobs, job = mount + "/jobs", mount + "/jobs/a"
          for call in [lambda: os.mkdir(jobs + "/x"), lambda: os.mkdir(job + "/x"), lambda: os.mkdir(mount + "/x"),
                       lambda: os.symlink(disk, jobs + "/x"), lambda: os.symlink("status", job + "/x"), lambda: os.symlink("jobs", mount + "/x"),
                       lambda: os.link(job + "/status", jobs + "/x"), lambda: os.link(job + "/status", job + "/x"), lambda: os.mkfifo(jobs + "/x"),
                       lambda: os.mknod(jobs + "/x", 0o20666, os.makedev(1, 3)), lambda: os.mknod(job + "/x", 0o60600, os.makedev(7, 0)),
                       lambda: os.mknod(mount + "/x"), lambda: open(job + "/x", "w"), lambda: open(mount + "/x", "w"),
                       lambda: socket.socket(socket.AF_UNIX).bind(jobs + "/x"),
                       lambda: os.rename(job, jobs + "/x"), lambda: os.rename(job, jobs + "/b"), lambda: os.rename(job + "/status", job + "/x"),
                       lambda: os.rename(mount + "/README", mount + "/x"), lambda: os.rename(job, mount + "/x"),
                       lambda: os.rmdir(jobs), lambda: os.rmdir(mount + "/clients"), lambda: os.unlink(mount + "/README")]:
              print(attempt(call))
          print(attempt(lambda: os.rename(job, disk + "/x")), attempt(lambda: os.rmdir(mount)))
          """
      let outcome = try pythonCommand(script, [daemon.mount, bench.disk]).run()
      #expect(outcome.text == String(repeating: "EPERM\n", count: 23) + "EXDEV EBUSY\n", "\(outcome)")
      #expect(try daemon.jobNames == ["a", "b", "c"] && daemon.job("a").value("state") == "done")
    }
  }

  @Test("A name of 64 bytes is a job's, one of 65 is not")
  func names() throws {
    try withDaemon { _, daemon in
      let longest = String(repeating: "n", count: 64)
      #expect(try daemon.submit("op=none", as: longest).result() == "ok")
      for length in [65, 255, 256] {
        let errno = try errnoName { _ = try daemon.submit("op=none", as: String(repeating: "n", count: length)) }
        #expect(["ENAMETOOLONG", "EINVAL"].contains(errno), "\(length): \(errno)")
      }
      #expect(try errnoName { _ = try Files.facts(daemon.path("jobs/" + String(repeating: "n", count: 65))) } == "ENOENT")
      #expect(try daemon.jobNames == [longest])
    }
  }

  @Test("Files can be locked, have no extended attributes, and are no programs")
  func attributes() throws {
    try withJobs { _, daemon in
      let script =
        PythonHelp.begin + """
          job = sys.argv[1]
          first, second = open(job + "/status"), open(job + "/status")
          fcntl.flock(first, fcntl.LOCK_EX)
          print(attempt(fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB))
          fcntl.flock(first, fcntl.LOCK_UN)
          print(attempt(fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB))
          # ENOTSUP and EOPNOTSUPP are one number.
          print(attempt(fcntl.lockf, first, fcntl.LOCK_SH), attempt(os.getxattr, job + "/status", "user.x"))
          print(attempt(os.setxattr, job, "user.x", b"y"), attempt(os.removexattr, job, "user.x"), attempt(os.listxattr, job))
          print(attempt(os.execv, job + "/status", ["x"]))
          """
      let outcome = try pythonCommand(script, [daemon.job("a").path]).run()
      #expect(outcome.text == "EAGAIN\nNone\nNone ENOTSUP\nENOTSUP ENOTSUP ENOTSUP\nEACCES\n", "\(outcome)")
      let getfattr = try run("getfattr", "-d", "-m", "-", daemon.job("a").path)
      #expect(getfattr.text.isEmpty, "\(getfattr)")
      let flock = try shell("flock -n \"$F\" echo held", environment: ["F": daemon.job("a").path + "/state"])
      #expect(flock.line == "held", "\(flock)")
    }
  }
}
