import FaultKit
import Glibc
import Testing

@Suite("Nobody gets at anything that they couldn't open themselves")
struct UserRightsTests {
  @Test("A user copies what they may read to what they may write; what is made for them is theirs, with their umask")
  func own() throws {
    try withSharedDaemon { bench, daemon in
      let bytes = Pattern.bytes(100_000, seed: 1)
      let (source, existing) = (try bench.file(of: .alice, "source", bytes), try bench.file(of: .alice, "existing", []))
      let made = try bench.home(of: .alice) + "/made"
      let script = "umask 027 && echo \"from=$1 to=$2 to=$3 create=yes\" > \"$4/jobs/job\" && cat \"$4/jobs/job/result\""
      #expect(try User.alice.shell(script, source, existing, made, daemon.mount).orThrow().line == "ok")
      for path in [existing, made] { #expect(try Files.read(path) == bytes) }
      let facts = try Files.facts(made)
      #expect(facts.uid == 1234 && facts.permissions == 0o640)
      let job = try Files.facts(daemon.job("job").path)
      #expect(job.uid == 1234 && job.permissions == 0o750)
      #expect(try daemon.job("job").status()["uid"] == "1234")
    }
  }

  /// A path that alice may not use for something, and what open(2) says to her.
  struct Forbidden: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let errno: String
    var isSource = false
    var creates = false
    let path: @Sendable (Workbench) throws -> String
  }

  static let forbidden = [
    Forbidden(testDescription: "root's file to be read", errno: "EACCES", isSource: true) { try root($0, 0o600) },
    Forbidden(testDescription: "root's file to be written", errno: "EACCES") { try root($0, 0o644) },
    Forbidden(testDescription: "a file of root's group", errno: "EACCES", isSource: true) { try root($0, 0o060) },
    Forbidden(testDescription: "a file in bob's directory", errno: "EACCES", isSource: true) { try $0.file(of: .bob, "file", [1]) },
    Forbidden(testDescription: "nothing in bob's directory", errno: "EACCES") { try $0.home(of: .bob) + "/nothing" },
    Forbidden(testDescription: "a file to be made in bob's directory", errno: "EACCES", creates: true) {
      try $0.home(of: .bob) + "/fresh"
    },
    Forbidden(testDescription: "a file to be made in root's directory", errno: "EACCES", creates: true) { $0.disk + "/fresh" },
    Forbidden(testDescription: "a link to root's file", errno: "EACCES", isSource: true) { bench in
      let link = try bench.home(of: .alice) + "/link"
      try Files.symlink(to: try root(bench, 0o600), as: link)
      return link
    },
    Forbidden(testDescription: "a disk to be read", errno: "EACCES", isSource: true) { try $0.loop().path },
    Forbidden(testDescription: "a disk to be written", errno: "EACCES") { try $0.loop().path },
    Forbidden(testDescription: "a switch of the kernel", errno: "EPERM") { _ in "/proc/sys/kernel/panic" },
    Forbidden(testDescription: "a process's memory", errno: "EPERM", isSource: true) { _ in "/proc/self/mem" },
    Forbidden(testDescription: "a process's environment", errno: "EPERM", isSource: true) { _ in "/proc/self/environ" },
    Forbidden(testDescription: "a file that the daemon has open", errno: "ELOOP", isSource: true) { _ in "/proc/self/fd/3" },
    Forbidden(testDescription: "the daemon's terminal", errno: "ELOOP", isSource: true) { _ in "/dev/stdin" },
    Forbidden(testDescription: "the daemon's program", errno: "ELOOP", isSource: true) { _ in "/proc/self/exe" },
    Forbidden(testDescription: "an attribute of a disk", errno: "EPERM", isSource: true) { _ in "/sys/block/loop0/size" },
  ]

  private static func root(_ bench: Workbench, _ mode: UInt32) throws -> String {
    let path = try bench.file("root", Pattern.bytes(4096, seed: 7))
    chmod(path, mode)
    return path
  }

  @Test("What a user may not open is refused with the errno of open(2), and nothing of it has changed", arguments: forbidden)
  func refused(forbidden: Forbidden) throws {
    try withSharedDaemon { bench, daemon in
      let path = try forbidden.path(bench)
      let own = try bench.file(of: .alice, "own", Pattern.bytes(4096, seed: 1))
      let isFile = try path.hasPrefix(bench.disk) && Files.exists(path) && Files.facts(path).mode & S_IFMT == S_IFREG
      let before = isFile ? try Files.read(path) : []
      let record = forbidden.isSource ? "from=\(path) to=\(own)" : "from=\(own) to=\(path)" + (forbidden.creates ? " create=yes" : "")
      for place in ["jobs/job", "submit", "check"] {
        #expect(try User.alice.submit(record, to: daemon.path(place)) == forbidden.errno, "\(place)")
        #expect(try User.alice.refusal(daemon).hasPrefix(path))
      }
      try daemon.expectNoJobs()
      #expect(try Files.read(own) == Pattern.bytes(4096, seed: 1))
      if isFile { #expect(try Files.read(path) == before) } else if forbidden.creates { #expect(!Files.exists(path)) }
    }
  }

  @Test("A group opens what it may, and a capability; a region's guess tells nothing of what can't be seen")
  func groups() throws {
    try withSharedDaemon { bench, daemon in
      let loop = try bench.loop()
      let node = bench.disk + "/node"
      try run("mknod", "--mode=0660", node, "b", "7", String(loop.path.dropFirst("/dev/loop".count))).orThrow()
      try run("chown", "0:3456", node).orThrow()
      let destination = try bench.file(of: .alice, "destination", [])
      #expect(try User.alice.submit("from=\(node) to=\(destination)", to: daemon) == "EACCES")
      let member = User(uid: 1234, groups: [3456])
      #expect(try member.submit("from=\(node) to=\(destination)", as: "member", to: daemon) == "taken")
      #expect(try member.result(daemon.job("member")) == "ok")
      #expect(try member.submit("from=\(destination) to=\(node)", as: "back", to: daemon) == "taken")
      #expect(try member.result(daemon.job("back")) == "ok")
      let secret = try bench.file(of: .bob, "secret", Pattern.bytes(100, seed: 2))
      #expect(try User.alice.submit("from=\(secret) to=\(destination)", as: "secret", to: daemon) == "EACCES")
      let reader = User(uid: 1234, capabilities: ["dac_read_search"])
      #expect(try reader.submit("from=\(secret) to=\(destination)", as: "secret", to: daemon) == "taken")
      #expect(try reader.result(daemon.job("secret")) == "ok")
      #expect(try Files.read(destination).prefix(100).elementsEqual(Pattern.bytes(100, seed: 2)))
      // That a file of such a name exists would be told by EINVAL.
      _ = try bench.file(of: .bob, "secret@1K", [])
      #expect(try User.alice.submit("from=\(secret)@1K to=\(destination)", as: "guess", to: daemon) == "EACCES")
    }
  }

  @Test("Root without capabilities opens no more than it could without us")
  func weakRoot() throws {
    try withSharedDaemon { bench, daemon in
      let (secret, destination) = (try bench.file(of: .bob, "secret", [1, 2, 3]), try bench.file("destination", []))
      let script = User.submission + "\nprint(attempt(submit, *sys.argv[1:]))"
      let record = "from=\(secret) to=\(destination)"
      let weak = try run(
        "setpriv", "--bounding-set=-all", "--inh-caps=-all", "python3", "-I", "-S", "-c", script, daemon.path("jobs/weak"), record
      ).orThrow()
      #expect(weak.line == "EACCES")
      try daemon.copy(record, as: "strong")
    }
  }

  @Test("A name that leads now here and now there never leads to what its owner may not open")
  func swapped() throws {
    try withSharedDaemon { bench, daemon in
      let home = try bench.home(of: .alice)
      let secret = try bench.file("secret", Pattern.bytes(4096, seed: 9))
      chmod(secret, 0o600)
      let own = try bench.file(of: .alice, "own", [UInt8](repeating: 0, count: 4096))
      let script =
        User.submission + """

          home, secret, jobs = sys.argv[1:]
          if (swapper := os.fork()) == 0:
              targets = [secret, home + "/own"]
              while True:
                  for target in targets:
                      os.symlink(target, home + "/next"); os.rename(home + "/next", home + "/link")
          os.symlink(home + "/own", home + "/link") if not os.path.lexists(home + "/link") else None
          seen = {}
          try:
              for number in range(1500):
                  for record in ["from=%s/link to=%s/copy create=yes", "from=%s/own to=%s/link"]:
                      answer = attempt(submit, jobs + "/../submit", record % (home, home))
                      seen[answer] = seen.get(answer, 0) + 1
          finally: os.kill(swapper, 9); os.wait()
          print(sorted(seen))
          """
      let outcome = try User.alice.run("python3", "-I", "-S", "-c", script, home, secret, daemon.path("jobs"))
      // EINVAL: both names are one file by chance.
      let answers = Set(outcome.line.split(whereSeparator: { "[]', ".contains($0) }).map(String.init))
      #expect(
        answers.isSuperset(of: ["EACCES"]) && answers.isSubset(of: ["EACCES", "EBUSY", "EINVAL", "EEXIST", "ENOENT", "taken"]), "\(outcome)"
      )
      try eventually("all jobs have ended") {
        let list = try Files.text(daemon.path("list"))
        return !list.contains("state=running") && !list.contains("state=queued")
      }
      #expect(try Files.read(secret) == Pattern.bytes(4096, seed: 9))
      #expect(try Files.read(own).allSatisfy { $0 == 0 })
      if Files.exists(home + "/copy") { #expect(try Files.read(home + "/copy").allSatisfy { $0 == 0 }) }
    }
  }
}
