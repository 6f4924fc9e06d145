import FaultKit
import Glibc
import Testing

@Suite("The directories of clients/")
struct ClientDirectoryTests {
  /// Names and mode bits, as `ls` lists them.
  static let files: [(name: String, permissions: UInt32)] = [
    ("jobs", 0o444), ("max_jobs", 0o644), ("pages", 0o644), ("pages_free", 0o444), ("rate", 0o644), ("slots", 0o644), ("subjob", 0o644),
    ("throttle", 0o644), ("wait", 0o444),
  ]

  static let standard = ["4096", "100", "max", "1048576", "8", "100000"]

  @Test("default is there, with every file of the contract, their modes, values and sizes")
  func standard() throws {
    try withDaemon { _, daemon in
      #expect(try daemon.clientNames == ["default"])
      let client = daemon.client("default")
      #expect(try Files.names(in: client.path) == Self.files.map(\.name))
      for file in Self.files {
        let facts = try Files.facts(client.path + "/" + file.name)
        #expect(facts.mode == 0o100000 | file.permissions && facts.uid == geteuid(), "\(file)")
        if file.name != "wait" { #expect(try facts.size == Files.read(client.path + "/" + file.name).count, "\(file)") }
      }
      #expect(try client.shape() == Self.standard && client.value("jobs") == "0" && client.value("pages_free") == "4096")
      #expect(try Files.text(client.path + "/wait") == "client=default jobs=0\n")
      #expect(try Files.facts(daemon.path("clients")).mode == 0o040755 && Files.facts(client.path).mode == 0o040755)
      #expect(try Files.names(in: daemon.mount).contains("clients"))
    }
  }

  @Test("The option pages is the default client's")
  func option() throws {
    try withDaemon(options: ["pages=300"]) { _, daemon in
      let other = try daemon.makeClient("other")
      #expect(try daemon.client("default").value("pages") == "300" && daemon.client("default").value("pages_free") == "300")
      #expect(try other.value("pages") == "4096")
    }
  }

  @Test("mkdir makes a client in the standard shape, rmdir removes it, links and times follow, and its inode is its own")
  func life() throws {
    try withDaemon { _, daemon in
      let links = "stat -c %h \(daemon.path("clients")) \(daemon.path("clients/default")) \(daemon.mount)"
      #expect(try shell(links).text == "3\n2\n4\n")
      let before = try Files.facts(daemon.path("clients")).modified
      let client = try daemon.makeClient("fast")
      #expect(try daemon.clientNames == ["default", "fast"] && client.shape() == Self.standard)
      #expect(try shell(links).text == "4\n2\n4\n")
      let made = try Files.facts(client.path)
      #expect(made.uid == geteuid() && made.permissions == 0o755 && made.modified >= before && made.isDirectory)
      #expect(try Files.facts(daemon.path("clients")).modified >= before)
      #expect(try errnoName { try Files.makeDirectory(client.path) } == "EEXIST")
      try Files.removeDirectory(client.path)
      #expect(try daemon.clientNames == ["default"] && !Files.exists(client.path))
      #expect(try errnoName { try Files.removeDirectory(client.path) } == "ENOENT")
      let again = try daemon.makeClient("fast")
      #expect(try Files.facts(again.path).inode != made.inode)
      let paths = ["clients", "jobs"] + ["fast", "default"].flatMap { name in Self.files.map { "clients/\(name)/\($0.name)" } }
      let inodes = try paths.map { try Files.facts(daemon.path($0)).inode }
      #expect(Set(inodes).count == inodes.count)
      #expect(try run("ls", "-lR", daemon.mount).succeeded)
      #expect(try run("find", daemon.mount, "-name", "pages").text.split(separator: "\n").count == 2)
    }
  }

  @Test("mkdir -m and the umask decide the mode of the directory, not of its files")
  func modes() throws {
    try withDaemon { _, daemon in
      try shell("mkdir -m 700 \(daemon.path("clients/a")) && umask 027 && mkdir \(daemon.path("clients/b"))").orThrow()
      #expect(try Files.facts(daemon.path("clients/a")).permissions == 0o700 && Files.facts(daemon.path("clients/b")).permissions == 0o750)
      #expect(try Files.facts(daemon.path("clients/a/pages")).permissions == 0o644)
    }
  }

  @Test("There are at most 16 clients; the next is ENOBUFS, and one that goes makes room")
  func full() throws {
    try withDaemon { _, daemon in
      for number in 2...16 { _ = try daemon.makeClient("c\(number)") }
      #expect(try errnoName { _ = try daemon.makeClient("more") } == "ENOBUFS")
      let outcome = try run("mkdir", daemon.path("clients/more"))
      #expect(!outcome.succeeded && outcome.errorText.contains("No buffer space"), "\(outcome)")
      #expect(try daemon.refusals.last?["error"] == "ENOBUFS" && daemon.clientNames.count == 16)
      try Files.removeDirectory(daemon.path("clients/c7"))
      _ = try daemon.makeClient("more")
      #expect(try daemon.clientNames.count == 16)
      try shell("rmdir \(daemon.path("clients"))/[cm]*").orThrow()
      #expect(try daemon.clientNames == ["default"])
    }
  }

  @Test("Clients that are made at once by many get there, sixteen at most", .timeLimit(.minutes(1)))
  func race() throws {
    try withDaemon { _, daemon in
      let script = "for i in $(seq 30); do mkdir \"$C/n$i\" 2> /dev/null & done; wait; ls \"$C\" | wc -l; rmdir \"$C\"/n*; ls \"$C\""
      let outcome = try shell(script, environment: ["C": daemon.path("clients")])
      #expect(outcome.text == "16\ndefault\n", "\(outcome)")
    }
  }

  static let badNames = ["a b", "-a", "a=b", "ä", "\u{7}", String(repeating: "a", count: 65)]

  @Test("What a name of a job can't be is EINVAL, and errors says why", arguments: badNames)
  func names(name: String) throws {
    try withDaemon { _, daemon in
      #expect(try errnoName { _ = try daemon.makeClient(name) } == "EINVAL")
      #expect(try daemon.clientNames == ["default"])
      let refusal = try #require(try daemon.refusals.last)
      #expect(refusal["error"] == "EINVAL" && refusal["text"].hasPrefix("clients/") && refusal["record"] == "", "\(refusal)")
    }
  }

  @Test("A name that only looks like a client's is nobody's")
  func lookalike() throws {
    try withDaemon { _, daemon in
      _ = try daemon.makeClient("K")
      // The sign of the kelvin, equal to the letter as text and not as a file name.
      let kelvin = daemon.path("clients/\u{212a}")
      #expect(!Files.exists(kelvin))
      #expect(try errnoName { try Files.removeDirectory(kelvin) } == "ENOENT")
      #expect(try daemon.clientNames == ["K", "default"])
    }
  }

  @Test("What clients/ doesn't take is EPERM: files, links, other names, removed values, the end of default")
  func refused() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let file = try bench.file("file", [1])
      let clients = daemon.path("clients")
      let attempts: [(String, () throws -> Void)] = [
        ("a file", { try Files.write(clients + "/file", []) }),
        ("a file in a client", { try Files.write(client.path + "/file", []) }),
        ("a directory in a client", { try Files.makeDirectory(client.path + "/sub") }),
        ("a link", { try Files.symlink(to: file, as: clients + "/link") }),
        ("a removed value", { try Files.unlink(client.path + "/pages") }),
        ("default's end", { try Files.removeDirectory(clients + "/default") }),
        ("the end of clients", { try Files.removeDirectory(clients) }),
        ("another client directory", { try Files.makeDirectory(daemon.path("other")) }),
      ]
      for (what, attempt) in attempts { #expect(try errnoName(attempt) == "EPERM" || errnoName(attempt) == "EBUSY", "\(what)") }
      let (a, b) = (client.path, clients + "/b")
      for command in ["mv \(a) \(b)", "chmod 600 \(a)/pages", "chmod 600 \(a)", "chown 1 \(a)", "rm \(a)/wait"] {
        let outcome = try shell(command)
        #expect(!outcome.succeeded && outcome.errorText.contains("not permitted"), "\(outcome)")
      }
      #expect(try daemon.clientNames == ["a", "default"] && Files.names(in: client.path) == Self.files.map(\.name))
    }
  }

  @Test("Another uid may look, and neither make nor remove nor set")
  func otherUID() throws {
    try withDaemon(options: ["allow_other"]) { _, daemon in
      _ = try daemon.makeClient("a")
      try shell("umask 077; mkdir \(daemon.path("clients/private"))").orThrow()
      let script = """
        import errno, os, sys
        \(CredentialTests.write)
        clients = sys.argv[1] + "/clients"
        print(open(clients + "/a/pages").read().strip(), open(clients + "/a/wait").read().strip())
        attempt(lambda: os.mkdir(clients + "/mine"))
        attempt(lambda: os.rmdir(clients + "/a"))
        attempt(lambda: os.open(clients + "/a/pages", os.O_WRONLY))
        attempt(lambda: os.open(clients + "/default/pages", os.O_WRONLY | os.O_TRUNC))
        attempt(lambda: os.open(clients + "/private/pages", os.O_RDONLY))
        attempt(lambda: os.mkdir(clients + "/a/b"))
        """
      let outcome = try Command(
        "setpriv", ["--reuid=1234", "--regid=1234", "--clear-groups", "python3", "-I", "-S", "-c", script, daemon.mount]
      ).run()
      #expect(outcome.text == "4096 client=a jobs=0\n" + String(repeating: "EACCES\n", count: 6), "\(outcome)")
      #expect(try daemon.clientNames == ["a", "default", "private"])
    }
  }

  @Test("The mount of a user who isn't root has clients, which are theirs, and root may make more")
  func userMount() throws {
    try withWorkbench { bench in
      // What lets users mount for others, for as long as this takes: a file and a device over the machine's own.
      let rules = try bench.file("fuse.conf", Array("user_allow_other\n".utf8))
      let node = bench.disk + "/fuse"
      try shell("mknod -m 666 '\(node)' c 10 229").orThrow()
      for (file, place) in [(rules, "/etc/fuse.conf"), (node, "/dev/fuse")] {
        try run("mount", "--bind", file, place).orThrow()
        bench.atEnd { try run("umount", "--lazy", place).orThrow() }
      }
      let mount = bench.disk + "/user"
      try Files.makeDirectory(mount)
      try shell("chown nobody '\(mount)' && chmod 755 '\(bench.disk)'").orThrow()
      let nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
      // A copy, for the program may lie where only root can go.
      try run("install", "-m", "755", Daemon.binary(), bench.disk + "/kcopyfs").orThrow()
      let launcher = ["sh", "-c", "shift && exec \(nobody.joined(separator: " ")) '\(bench.disk)/kcopyfs' \"$@\"", "sh"]
      let daemon = try bench.daemon(options: ["allow_other"], on: mount, launcher: launcher)
      let script = """
        \(nobody.joined(separator: " ")) sh -c 'mkdir mine; echo 512 > mine/pages; echo 512 > default/pages'
        mkdir roots; echo 1024 > default/pages
        \(nobody.joined(separator: " ")) sh -c 'echo 512 > roots/pages || rmdir roots'
        stat -c '%n %U' *; cat */pages
        """
      let outcome = try shell("cd '\(daemon.path("clients"))'\n" + script)
      #expect(outcome.text == "default nobody\nmine nobody\n1024\n512\n" && outcome.errorText.contains("Permission denied"), "\(outcome)")
      // Its user's records it takes, and nobody else's: it could act as nobody else.
      let submission = "echo op=none > '\(daemon.path("submit"))'"
      #expect(try run(nobody[0], nobody[1], nobody[2], nobody[3], "sh", "-c", submission).succeeded)
      for other in [try shell(submission), try User.alice.shell(submission)] {
        #expect(!other.succeeded && other.errorText.contains("not permitted"), "\(other)")
      }
      // Of another user's process it can't even see which namespaces are its.
      let refusals = try daemon.refusals.map { [$0["error"], $0["uid"], $0["text"]] }
      let text = "the process that opened the file cannot be seen"
      #expect(refusals == [["EPERM", "0", text], ["EPERM", "1234", text]], "\(refusals)")
    }
  }
}
