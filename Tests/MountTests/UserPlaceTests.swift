import FaultKit
import Glibc
import Testing

@Suite("Callers whose paths mean something else")
struct UserPlaceTests {
  /// A way to run a program somewhere else, with `$1` a directory of its own.
  struct Place: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let script: String
    /// Whether paths are others there, or only users.
    var hasOwnRoot = true
  }

  static let places = [
    Place(testDescription: "another mount namespace", script: "exec unshare --mount bash -c \"$2\" bash \"$1\" \"${@:3}\""),
    Place(
      testDescription: "another root",
      script: """
        mkdir -p "$1/root" && for d in bin lib lib64 usr etc dev proc tmp; do mkdir -p "$1/root/$d"; done
        exec unshare --mount bash -c 'cd "$1/root" && for d in bin lib lib64 usr; do mount --bind "/$d" "$d"; done; mkdir -p ".$1" ".$3"
          mount --bind "$1" ".$1" && mount --rbind "$3" ".$3" && exec chroot . bash -c "$2" bash "$1" "${@:3}"' bash "$@"
        """),
    Place(
      testDescription: "another user namespace",
      script: "exec unshare --user --map-root-user bash -c \"$2\" bash \"$1\" \"${@:3}\"", hasOwnRoot: false),
  ]

  private static func run(_ place: Place, _ bench: Workbench, _ daemon: Daemon, _ script: String) throws -> Outcome {
    try Command("bash", ["-c", place.script, "bash", bench.disk, script, daemon.mount]).run()
  }

  @Test("They are refused, and nothing is opened", arguments: places, ["jobs/job", "submit", "check"])
  func refused(place: Place, file: String) throws {
    try withSharedDaemon { bench, daemon in
      let source = try bench.file("source", [1, 2, 3])
      let outcome = try Self.run(place, bench, daemon, "echo \"from=\(source) to=$1/copy create=yes\" > \"$2/\(file)\"")
      #expect(!outcome.succeeded && outcome.errorText.contains("not permitted"), "\(outcome)")
      try daemon.expectNoJobs()
      #expect(!Files.exists(bench.disk + "/copy"))
      #expect(try daemon.refusals.last?["error"] == "EPERM")
      #expect(try daemon.refusals.last?["text"].contains("another mount or user namespace") == true)
    }
  }

  @Test("With ns=caller they copy what their paths mean to them, and what isn't there for them they don't get", arguments: places)
  func served(place: Place) throws {
    try withSharedDaemon(options: ["ns=caller"]) { bench, daemon in
      let bytes = Pattern.bytes(5000, seed: 1)
      let source = try bench.file("source", bytes)
      try Files.makeDirectory(bench.disk + "/private")
      let secret = try bench.file("private/secret", Pattern.bytes(100, seed: 2))
      let script = """
        mount -t tmpfs none "$1/private" 2> /dev/null
        echo "from=$1/source to=$1/private/copy create=yes" > "$2/jobs/job" && cat "$2/jobs/job/result" && cmp "$1/source" "$1/private/copy"
        echo "from=$1/private/secret to=$1/private/copy" > "$2/jobs/secret" || tail -n 1 "$2/errors" | grep -o 'error=[A-Z]*'
        echo "from=/proc/self/root$1/source to=$1/private/copy" > "$2/jobs/magic" || tail -n 1 "$2/errors" | grep -o 'error=[A-Z]*'
        echo "from=../..$1/source to=$1/private/copy" > "$2/jobs/above"
        """
      let outcome = try Self.run(place, bench, daemon, script)
      guard place.hasOwnRoot else {
        // Its mounts are the daemon's, and a user namespace gives no rights: root there is this root, without capabilities.
        #expect(outcome.text.hasPrefix("ok\n"), "\(outcome)")
        return
      }
      let lines = outcome.text.split(separator: "\n").map(String.init)
      #expect(lines.first == "ok" && lines.dropFirst().first == "error=ENOENT", "\(outcome)")
      #expect(!Files.exists(bench.disk + "/private/copy"), "what it mounted is seen by it alone")
      #expect(try Files.read(secret) == Pattern.bytes(100, seed: 2) && Files.read(source) == bytes)
    }
  }

  @Test("Who can't be seen, for the daemon lives in a pid namespace below, is refused")
  func unseen() throws {
    try withWorkbench { bench in
      let daemon = try bench.daemon(options: ["allow_other"], launcher: ["unshare", "--pid", "--fork", "--kill-child"])
      // `unshare` passes no signal on.
      defer { #expect(throws: Never.self) { try FaultKit.run("umount", daemon.mount).orThrow() } }
      let source = try bench.file("source", [1, 2, 3])
      let outcome = try shell(
        "echo \"from=$S to=$D create=yes\" > \"$M/submit\"", environment: ["S": source, "D": bench.disk + "/copy", "M": daemon.mount])
      #expect(outcome.errorText.contains("not permitted"), "\(outcome)")
      #expect(!Files.exists(bench.disk + "/copy"))
      #expect(try daemon.refusals.last?["text"] == "the process that opened the file cannot be seen")
    }
  }

  @Test("Opens of one user that hang run into their deadline, and hold nobody else up")
  func hung() throws {
    try withSharedDaemon { bench, daemon in
      let hanging = try bench.faultDevice()
      let destination = try bench.file(of: .alice, "destination", [])
      hanging.hang()
      let writers = try (0..<24).map { number in
        try User.alice.submitting("from=\(hanging.file) to=\(destination)", to: daemon.path("jobs/stuck\(number)")).start()
      }
      defer { for writer in writers { #expect(throws: Never.self) { try writer.end() } } }
      try eventually("all are there") { try daemon.jobNames.count == 24 }
      for number in 0..<5 {
        let own = try bench.file(of: .bob, "own\(number)", [1, 2, 3])
        #expect(
          try User.bob.submit("from=\(own) to=\(bench.home(of: .bob))/copy\(number) create=yes", as: "his\(number)", to: daemon) == "taken")
        #expect(try User.bob.result(daemon.job("his\(number)")) == "ok")
      }
      let waiting = writers.count { $0.running }
      #expect(waiting == 24, "bob's came and went before the deadline of alice's")
      for writer in writers { #expect(try writer.wait(within: .seconds(30)).line == "ETIMEDOUT") }
      hanging.goOn()
      try eventually("alice's are gone") { try daemon.jobNames.count == 5 }
    }
  }
}
