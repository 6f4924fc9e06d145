import FaultKit
import Foundation
import Glibc
import Testing

/// What README.md and the head of mount-scripts/run promise, done as it stands there.
@Suite("The README and mount-scripts/run", .serialized)
struct ReadmeTests {
  private static let demonstration = "/var/tmp/kcopyfs-demo"
  private static let mount = demonstration + "/mnt"
  /// The repository: this file is two folders below it.
  static let root = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }

  // MARK: Blocks

  /// A fenced block of the README.
  struct Block {
    let language: String
    var lines: [String] = []
    var text: String { lines.map { $0 + "\n" }.joined() }
  }

  static func blocks() throws -> [Block] {
    var blocks: [Block] = []
    var isInside = false
    for line in try Files.text(root + "/README.md").split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("```") {
        if !isInside { blocks.append(Block(language: String(line.dropFirst(3)))) }
        isInside.toggle()
      } else if isInside {
        blocks[blocks.count - 1].lines.append(String(line))
      }
    }
    return blocks
  }

  /// A command of a session and what the README says that it prints.
  private struct Step {
    let command: String
    var output = ""
  }

  private static func steps(_ blocks: [Block]) -> [Step] {
    var steps: [Step] = []
    for line in blocks.filter({ $0.language == "console" }).flatMap(\.lines) {
      if line.hasPrefix("# ") {
        steps.append(Step(command: String(line.dropFirst(2))))
      } else if !steps.isEmpty {
        steps[steps.count - 1].output += line + "\n"
      }
    }
    return steps
  }

  // MARK: Running

  /// `mount-scripts/run` with the program under test.
  private func runScript(_ arguments: String...) throws -> Outcome {
    try Command(
      Self.root + "/mount-scripts/run", arguments, environment: ["KCOPYFS_DAEMON": try Daemon.binary()], deadline: .seconds(300)
    ).run()
  }

  /// The demonstration for a test; gone at its end, whatever happened.
  private func withDemonstration(_ body: (Outcome) throws -> Void) throws {
    try requireRoot()
    // There is one demonstration on a machine: tests of another process wait for their turn.
    let lock = open(Self.root + "/mount-scripts/run", O_RDONLY | O_CLOEXEC)
    defer { close(lock) }
    try eventually(within: .seconds(300), "nobody else tests the demonstration") { flock(lock, LOCK_EX | LOCK_NB) == 0 }
    if Files.exists(Self.demonstration) { throw Missing("\(Self.demonstration) stands already: mount-scripts/run --stop") }
    do {
      try body(try runScript().orThrow())
    } catch {
      // The test's own error says more than what clearing up after it met.
      _ = try? runScript("--stop")
      throw error
    }
    let stop = try runScript("--stop").orThrow()
    #expect(stop.text == "run: nothing is left of the demonstration\n")
    #expect(try !isMounted(Self.mount) && !Files.exists(Self.demonstration))
    try eventually("no loop device is left") { try !run("losetup", "--list", "--output", "BACK-FILE").text.contains(Self.demonstration) }
  }

  private func isMounted(_ path: String) throws -> Bool {
    // The table writes blanks in octal.
    let field = path.replacing(" ", with: "\\040")
    return try Files.text("/proc/self/mounts").split(separator: "\n").contains { $0.contains(" \(field) fuse.kcopyfs ") }
  }

  /// Runs the commands one after the other in one bash; what each of them printed on a terminal.
  private func session(_ steps: [Step]) throws -> [String] {
    let border = "--- \(UUID().uuidString)"
    // As on a terminal: names in columns, errors between the output, and no number of a line in them.
    let head = "exec 2>&1\nls() { command ls -C -w 132 \"$@\"; }\n"
    let script = head + steps.map { "\($0.command)\necho '\(border)'\n" }.joined()
    let printed = try Command("bash", ["-c", script], deadline: .seconds(120)).run().text
    let outputs = printed.split(separator: border + "\n", omittingEmptySubsequences: false).map(String.init)
    if outputs.count != steps.count + 1 { throw Missing("the session ended early: \(printed)") }
    return outputs.dropLast().map { $0.replacing(#/(?m)^[^\s:]*bash: line \d+: /#, with: "bash: ") }
  }

  // MARK: Tests

  @Test("Every command in README.md is run, and prints what stands there", .timeLimit(.minutes(10)))
  func readme() throws {
    let blocks = try Self.blocks()
    let steps = Self.steps(blocks)
    #expect(steps.count >= 15 && blocks.filter { $0.language == "console" }.count >= 4)
    try withDemonstration { start in
      for promise in ["result: ok", "the same bytes as", "its file system is clean", "The mount stands at \(Self.mount)", "--stop"] {
        #expect(start.text.contains(promise), "\(start.text)")
      }
      for (step, output) in zip(steps, try session(steps)) { #expect(output == step.output, "# \(step.command)") }

      for (index, block) in blocks.enumerated() where block.language == "python" {
        let expected = try #require(blocks[(index + 1)...].first)
        #expect(expected.language == "text")
        let outcome = try Command("python3", ["-I", "-c", block.text]).run()
        #expect(outcome.succeeded && outcome.text == expected.text, "\(outcome)")
      }
      #expect(blocks.contains { $0.language == "python" })
    }
  }

  @Test("The commands that begin everything are scripts of the repository, and can be started")
  func scripts() throws {
    let lines = try Self.blocks().filter { $0.language == "bash" }.flatMap(\.lines)
    let words = lines.compactMap { $0.split(separator: " ").first.map(String.init) }
    let commands = words.filter { $0.contains("/") }
    #expect(commands.prefix(2) == ["mount-scripts/run", "mount-scripts/test"])
    for command in commands { #expect(access("\(Self.root)/\(command)", X_OK) == 0, "\(command)") }
  }

  @Test("What the demonstration says to type next works, and a second run says that the first one stands", .timeLimit(.minutes(10)))
  func next() throws {
    try withDemonstration { start in
      let lines = start.text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
      let first = try #require(lines.firstIndex { $0.hasSuffix("What to type next:") })
      let last = try #require(lines.firstIndex { $0.hasPrefix("and when you are done") })
      let commands = lines[(first + 1)..<last].map { Step(command: $0) }
      #expect(commands.count == 5)
      let outputs = try session(commands)
      #expect(outputs[0].hasPrefix("kcopyfs: ") && outputs[1].hasPrefix("state=done\n") && outputs[2].isEmpty)
      #expect(outputs[3] == "ok\n")
      #expect(outputs[4].hasPrefix("bash: echo: write error: Invalid argument\n") && outputs[4].contains("did you mean \"from\"?"))

      let second = try runScript()
      #expect(second.ending == .exit(1))
      #expect(second.errorText == "run: it stands already at \(Self.mount); mount-scripts/run --stop takes it away\n")
      #expect(try isMounted(Self.mount))
    }
  }

  @Test("While somebody stands in the mount, --stop says so and takes nothing away", .timeLimit(.minutes(10)))
  func inUse() throws {
    try withDemonstration { _ in
      let child = try shellCommand("cd \(Self.mount) && exec sleep 60").start()
      try eventually("the child stands in the mount") {
        try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(child.pid)/cwd") == Self.mount
      }
      let stop = try runScript("--stop")
      #expect(stop.ending == .exit(1) && stop.errorText.contains("\(Self.mount) is in use; leave the directory and close its files"))
      #expect(try Files.text(Self.mount + "/version").contains("interface=1") && Files.exists(Self.demonstration + "/source.img"))
      try child.end()
    }
  }

  @Test("mount-scripts/run MOUNTPOINT mounts there, only once, and --stop MOUNTPOINT takes it away", .timeLimit(.minutes(5)))
  func mountPoint() throws {
    try requireRoot()
    try withWorkbench { bench in
      let path = bench.disk + "/new/a place"
      bench.atEnd { if try isMounted(path) { try run("umount", path).orThrow() } }
      let start = try runScript(path, "-o", "state=none").orThrow()
      #expect(start.text.contains("mounted at \(path)") && start.text.contains("--stop \(path)"))
      #expect(try isMounted(path) && Files.text(path + "/version").contains("interface=1"))

      let again = try runScript(path, "-o", "state=none")
      #expect(again.ending == .exit(1) && again.errorText == "kcopyfs: \(path) is served by another daemon already\n")

      try runScript("--stop", path).orThrow()
      #expect(try !isMounted(path) && Files.names(in: path).isEmpty)
      #expect(try runScript("--stop", path).orThrow().text == "run: no kcopyfs is mounted at \(path)\n")
    }
  }

  @Test("A wrong option is said by the daemon's own words, and nothing is mounted")
  func wrongOption() throws {
    try requireRoot()
    try withWorkbench { bench in
      let path = bench.disk + "/mnt"
      let outcome = try runScript(path, "-o", "pgaes=1")
      #expect(outcome.ending == .exit(1) && outcome.errorText.contains("\"pgaes=1\"") && outcome.text.isEmpty)
      #expect(try !isMounted(path))
    }
  }

  @Test("--help says how it is called, and so does a wrong option, which is an error")
  func help() throws {
    for option in ["--help", "-h"] {
      let outcome = try runScript(option).orThrow()
      for line in ["the demonstration", "MOUNTPOINT [-o OPTIONS]", "--stop [MOUNTPOINT]"] { #expect(outcome.text.contains(line)) }
    }
    let wrong = try runScript("--hepl")
    #expect(wrong.ending == .exit(2) && wrong.errorText.contains("--stop [MOUNTPOINT]") && wrong.text.isEmpty)
  }
}
