import FaultKit
import Glibc
import Testing

@Suite("Users of one mount keep out of each other's way")
struct UserIsolationTests {
  /// A copy of alice's that can't end, for the client may move nothing.
  private static func job(_ bench: Workbench, _ daemon: Daemon, umask: String = "022") throws -> Job {
    let source = try bench.file(of: .alice, "source", Pattern.bytes(8192, seed: 1))
    #expect(try daemon.client("default").set("rate", "1") == "")
    let script = "umask $1; echo \"from=$2 to=$3/copy create=yes\" > \"$4/jobs/hers\""
    try User.alice.shell(script, umask, source, try bench.home(of: .alice), daemon.mount).orThrow()
    return daemon.job("hers")
  }

  /// What somebody else tries with a job, a script each, where `$J` is its directory.
  static let attempts = [
    "echo cancel > \"$J/ctl\"", "echo pause > \"$J/ctl\"", "echo rate=1 >> \"$J/ctl\"", "cat \"$J/ctl\"", "rmdir \"$J\"", "rm -rf \"$J\"",
    "chmod 0777 \"$J\"", "chown 1235 \"$J\"", "mv \"$J\" \"$J.mine\"", "echo op=none > \"$J\"", "touch \"$J/status\"", "rm \"$J/status\"",
    "mkdir \"$J/new\"", "ln -s x \"$J/link\"", "echo x > \"$J/status\"", "truncate -s 0 \"$J/spec\"", "chmod 0666 \"$J/ctl\"",
    "setfattr -n user.x -v y \"$J\"",
  ]

  @Test("Nobody controls, changes or removes another's job, running or final, and everybody may look at a public one")
  func others() throws {
    try withSharedDaemon { bench, daemon in
      let job = try Self.job(bench, daemon)
      for state in ["running", "done"] {
        if state == "done" { #expect(try daemon.client("default").set("rate", "max") == "" && job.result() == "ok") }
        try job.reach(state)
        let before = try job.text("status")
        for attempt in Self.attempts {
          let outcome = try User.bob.shell("J=$1; \(attempt)", job.path)
          #expect(!outcome.succeeded, "\(attempt): \(outcome)")
        }
        let keys = ["state", "name", "uid", "dest0_state"]
        let (now, then) = (try job.status(), try Words(before))
        #expect(keys.map { now[$0] } == keys.map { then[$0] })
        #expect(try User.bob.shell("cat \"$1/status\" \"$1/dest/0/map\" && ls -l \"$1\"", job.path).succeeded)
      }
      #expect(try User.alice.run("rmdir", job.path).succeeded)
    }
  }

  @Test("A private job is nobody else's to see: not its files, nor in list, events or errors")
  func secret() throws {
    try withSharedDaemon { bench, daemon in
      let job = try Self.job(bench, daemon, umask: "077")
      for file in ["status", "spec", "state", "status.json", "wait", "result", "dest/0/map", "dest/0/status", "dest"] {
        #expect(try !User.bob.shell("cat \"$1\" || ls \"$1\"", job.path + "/" + file).succeeded, "\(file)")
      }
      #expect(try User.bob.shell("cat \"$1/list\" \"$1/errors\"", daemon.mount).orThrow().text.isEmpty)
      #expect(try User.alice.run("cat", daemon.path("list")).orThrow().text.contains("job=hers"))
      // That its region is taken is told, and not by which job.
      let destination = try bench.home(of: .alice) + "/copy"
      chmod(try bench.home(of: .alice), 0o711)
      chmod(destination, 0o666)
      let source = try bench.file(of: .bob, "source", Pattern.bytes(8192, seed: 2))
      #expect(try User.bob.submit("from=\(source) to=\(destination)", as: "his", to: daemon) == "EBUSY")
      #expect(try !User.bob.refusal(daemon).contains("hers"))
      #expect(try User.alice.submit("from=\(source) to=\(destination)", as: "second", to: daemon) == "EACCES")
    }
  }

  @Test("A group reads what its bits say, by primary and supplementary groups, in the files and in list")
  func groups() throws {
    try withSharedDaemon { bench, daemon in
      let job = try Self.job(bench, daemon, umask: "027")
      let member = User(uid: 1235, groups: [1234])
      #expect(try member.shell("cat \"$1/status\" && grep -q job=hers \"$2\"", job.path, daemon.path("list")).succeeded)
      #expect(try !User.bob.run("cat", job.path + "/status").succeeded)
      #expect(try User.bob.run("cat", daemon.path("list")).orThrow().text.isEmpty)
    }
  }

  @Test("A draft and a file whose record isn't complete are their owner's alone")
  func unfinished() throws {
    try withSharedDaemon { bench, daemon in
      let script = """
        import os, sys, time
        for name, text in [("half", b"op="), (".draft", b"op=none\\n")]:
            os.write(os.open(sys.argv[1] + "/jobs/" + name, os.O_WRONLY | os.O_CREAT, 0o644), text)
        time.sleep(60)
        """
      let writer = try User.alice.command("python3", ["-I", "-S", "-c", script, daemon.mount]).start()
      defer { #expect(throws: Never.self) { try writer.end() } }
      try eventually("both are there") { try daemon.jobNames.count == 2 }
      let attempts = [
        "rm -f \"$M/half\"", "echo op=none > \"$M/half\"", "mv \"$M/half\" \"$M/mine\"", "cat \"$M/.draft\"", "rm -f \"$M/.draft\"",
        "mv \"$M/.draft\" \"$M/mine\"", "mv \"$M/.draft\" \"$M/.mine\"", "echo x >> \"$M/.draft\"", "chmod 666 \"$M/.draft\"",
        "truncate -s 0 \"$M/.draft\"", "echo op=none > \"$M/.own\" && mv \"$M/.own\" \"$M/half\"",
        "echo op=none > \"$M/.own\" && mv \"$M/.own\" \"$M/.draft\"",
      ]
      for attempt in attempts {
        let outcome = try User.bob.shell("M=$1/jobs; \(attempt)", daemon.mount)
        #expect(!outcome.succeeded, "\(attempt): \(outcome)")
      }
      #expect(try daemon.jobNames.filter { $0 != ".own" }.sorted() == [".draft", "half"])
      #expect(try User.alice.run("cat", daemon.path("jobs/.draft")).orThrow().text == "op=none\n")
    }
  }

  @Test("A client's values are its owner's to set, and its copies its owner's to make")
  func clients() throws {
    try withSharedDaemon { bench, daemon in
      #expect(try !User.alice.run("mkdir", daemon.path("clients/hers")).succeeded, "only root makes clients for others to use")
      let client = try daemon.makeClient("roots")
      for attempt in [
        "echo 1K > \"$C/rate\"", "rmdir \"$C\"", "mv \"$C\" \"$C.mine\"", "chmod 777 \"$C\"", "echo 256 > \"$C/../default/pages\"",
      ] {
        let outcome = try User.bob.shell("C=$1; \(attempt)", client.path)
        #expect(!outcome.succeeded, "\(attempt): \(outcome)")
      }
      #expect(try User.bob.submit("op=none client=roots", as: "his", to: daemon) == "EACCES")
      #expect(try client.set("rate", "1M") == "" && client.value("rate") == "1048576")
    }
  }
}
