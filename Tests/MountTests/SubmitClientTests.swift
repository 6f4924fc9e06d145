import FaultKit
import Foundation
import Testing

@Suite("Clients that submit")
struct SubmitClientTests {
  @Test("Each makes exactly one job, a directory as soon as it ends", arguments: SubmitClient.all)
  func accepted(client: SubmitClient) throws { try client.checkAccepted() }

  @Test("Each fails when its record is refused, nothing is left, and the name can be used again", arguments: SubmitClient.all)
  func refused(client: SubmitClient) throws { try client.checkRefused() }

  @Test("Go's ways of writing a file make a job, and tell of a refused record")
  func go() throws {
    try withDaemon { bench, daemon in
      let program = try GoProgram(bench)
      let source = try bench.file("source", Pattern.bytes(10, seed: 1))
      let destination = try bench.file("destination", [])
      for way in GoProgram.writing {
        let path = daemon.path("jobs/" + way)
        let refused = try program.write(way, path, record: "form=\(source) to=\(destination)")
        #expect(refused.ending == .exit(1) && refused.errorText.contains("invalid argument"), "\(refused)")
        try eventually(within: .seconds(5), "\(way) is free") { !Files.exists(path) }
        let accepted = try program.write(way, path, record: "from=\(source) to=\(destination)")
        #expect(accepted.succeeded && accepted.errorText.isEmpty, "\(accepted)")
        #expect(try daemon.job(way).result() == "ok")
      }
      #expect(try daemon.jobNames == GoProgram.writing.sorted())
      #expect(try daemon.refusals.map { $0["job"] } == GoProgram.writing)
    }
  }

  @Test("Foundation's writes to the name itself make a job, and throw when the record is refused")
  func foundation() throws {
    let ways: [(name: String, write: (String, String) throws -> Void)] = [
      ("String", { try $0.write(toFile: $1, atomically: false, encoding: .utf8) }),
      ("Data", { try Data($0.utf8).write(to: URL(fileURLWithPath: $1)) }),
      ("NewData", { try Data($0.utf8).write(to: URL(fileURLWithPath: $1), options: .withoutOverwriting) }),
    ]
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10, seed: 1))
      let destination = try bench.file("destination", [])
      for (name, write) in ways {
        let path = daemon.path("jobs/" + name)
        #expect(throws: CocoaError.self) { try write("form=\(source) to=\(destination)\n", path) }
        try eventually(within: .seconds(5), "\(name) is free") { !Files.exists(path) }
        try write("from=\(source) to=\(destination)\n", path)
        #expect(try daemon.job(name).isDirectory() && daemon.job(name).result() == "ok")
        #expect(throws: CocoaError.self, "the name is taken") { try write("from=\(source) to=\(destination)\n", path) }
      }
      #expect(try daemon.jobNames == ways.map(\.name).sorted())
      #expect(try daemon.refusals.allSatisfy { $0["error"] == "EINVAL" } && daemon.refusals.count == ways.count)
    }
  }

  @Test("A shell reads the name of its job back from submit", arguments: SubmitClient.shells)
  func nameBack(from name: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10, seed: 1))
      let destination = try bench.file("destination", [])
      let script = """
        { echo "$R" >&3 && read -r id <&3; } 3<>"$M/submit" && cat "$M/jobs/$id/result" && echo "$id"
        """
      let outcome = try shell(script, with: name, environment: ["R": "from=\(source) to=\(destination)", "M": daemon.mount])
      let lines = outcome.text.split(separator: "\n")
      #expect(lines.count == 2 && lines[0] == "ok" && lines[1].allSatisfy { "0123456789".contains($0) }, "\(outcome)")
      #expect(try daemon.jobNames == lines.last.map { [String($0)] })
    }
  }

  @Test("Several processes that write to one open file make one record")
  func severalProcesses() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10, seed: 1))
      let destination = try bench.file("destination", [])
      // The first program's exit closes its copy of the descriptor in the middle of the record.
      let script = "{ /bin/echo -n \"$A\"; /bin/echo \"$B\"; } > \"$J\""
      let outcome = try shell(
        script, environment: ["A": "from=\(source) to=", "B": destination, "J": daemon.path("jobs/a")])
      #expect(outcome.ending == .exit(0), "\(outcome)")
      #expect(try daemon.jobNames == ["a"])
      #expect(try daemon.job("a").result() == "ok")
    }
  }
}
