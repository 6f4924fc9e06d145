import FaultKit
import Glibc
import Testing

@Suite("domain= that is refused")
struct DomainRefusalTests {
  private static let good = "0 + 1\n0 0x100000 +\n"

  /// Submits a record with a domain; what `errors` says of it.
  private func refusal(
    _ bench: Workbench, _ daemon: Daemon, _ domain: String, keys: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Words {
    let source = try bench.file("source", Pattern.bytes(1 << 20, seed: 1))
    let record = "from=\(source) to=\(bench.disk)/copy create=yes \(keys) domain=\(domain)"
    #expect(
      try errnoName { try Files.write(daemon.path("jobs/job"), record + "\n", flags: O_WRONLY | O_CREAT) } != "",
      sourceLocation: sourceLocation)
    #expect(!Files.exists(bench.disk + "/copy"), "nothing is left", sourceLocation: sourceLocation)
    try daemon.expectNoJobs()
    let words = try #require(try daemon.refusals.last)
    #expect(words.number("column") == record.utf8.count - "domain=\(domain)".utf8.count, sourceLocation: sourceLocation)
    return words
  }

  @Test(
    "What ddrescue would not read is EINVAL, with the line",
    arguments: [
      ("0 + 1\n0 0x1000 +\n0x2000 0x1000 ?\n", 3), ("0 + 1\n# gap\n\n0 0x1000 !\n", 4), ("0 !\n", 1), ("0 + 1\n0 0x1000\n", 2),
      ("hello\n", 1), ("0 + 1\n0 -5 +\n", 2), ("0 + 1\n0 99999999999999999999 +\n", 2),
    ])
  func grammar(text: String, line: Int) throws {
    try withDaemon { bench, daemon in
      let domain = try bench.file("domain", Array(text.utf8))
      let words = try refusal(bench, daemon, domain)
      #expect(words["error"] == "EINVAL" && words["text"].hasPrefix("\(domain): line \(line): "), "\(words)")
    }
  }

  @Test("A file that says nothing, and one that is too long, are no mapfiles")
  func sizes() throws {
    try withDaemon { bench, daemon in
      let empty = try bench.file("empty", [])
      #expect(try refusal(bench, daemon, empty)["error"] == "EINVAL")
      let comments = try bench.file("comments", Array("# nothing\n".utf8))
      #expect(try refusal(bench, daemon, comments)["text"].contains("is no mapfile"))
      let long = bench.disk + "/long"
      try run("bash", "-c", "printf '0 + 1\\n' > \(long) && yes '# nothing' | head -c 17000000 >> \(long)").orThrow()
      let words = try refusal(bench, daemon, long)
      #expect(words["error"] == "EFBIG" && words["text"].hasSuffix("has more than 16777216 bytes"), "\(words)")
    }
  }

  @Test("What is no regular file, or not for copying, is refused with the errno that a source would have")
  func kinds() throws {
    try withDaemon { bench, daemon in
      let loop = try bench.loop()
      try run("mkfifo", bench.disk + "/fifo").orThrow()
      try bench.file("domain", Array(Self.good.utf8)).withCString { _ = chmod($0, 0o644) }
      for (path, errno) in [
        ("/nowhere/domain", "ENOENT"), (bench.disk, "EINVAL"), (bench.disk + "/fifo", "EINVAL"), (loop.path, "EINVAL"),
        ("/proc/version", "EPERM"), (daemon.path("version"), "ELOOP"), (bench.disk + "/domain/x", "ENOTDIR"),
      ] {
        #expect(try refusal(bench, daemon, path)["error"] == errno, "\(path)")
      }
      #expect(try errnoName { try Files.write(daemon.path("submit"), "op=none domain=/a\n", flags: O_WRONLY) } == "EINVAL")
      #expect(try errnoName { try Files.write(daemon.path("submit"), "op=zero to=/a@0+1M domain=/a\n", flags: O_WRONLY) } == "EINVAL")
    }
  }

  @Test("Blocks that are no multiple of a device's are refused: what lies between would be written with them")
  func aligned() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let large = try bench.loop(sectorSize: 4096)
      let before = try large.fill(seed: 2)
      let domain = try bench.file("domain", Array("0 + 1\n0x200 0xE00 ?\n0x1000 0x3200 +\n".utf8))
      let record = "from=\(source.path) to=\(large.path) domain=\(domain)\n"
      #expect(try errnoName { try Files.write(daemon.path("submit"), record, flags: O_WRONLY) } == "EINVAL")
      #expect(try daemon.refusals.last?["text"] == "\(domain): a block begins or ends at 16896B, and the devices have blocks of 4096B")
      #expect(try Pattern.difference(large.contents(), from: before) == nil)
      // To a file every byte can be told from the next.
      let odd = try bench.file("odd", Array("0 + 1\n0x201 0xE00 +\n".utf8))
      let file = try bench.file("copy", Pattern.bytes(8192, seed: 3))
      let from = try bench.file("source", Array(bytes[..<8192]))
      try daemon.copy("from=\(from) to=\(file) domain=\(odd)")
      let expected = Pattern.patched(Pattern.bytes(8192, seed: 3), at: 0x201, with: bytes[0x201..<0x1001])
      #expect(try Pattern.difference(Files.read(file), from: expected) == nil)
    }
  }

  @Test("A mapfile is opened with the rights of the caller")
  func rights() throws {
    try withSharedDaemon { bench, daemon in
      let source = try bench.file(of: .alice, "source", Pattern.bytes(1 << 20, seed: 1))
      let copy = try bench.file(of: .alice, "copy", [])
      let own = try bench.file(of: .alice, "domain", Array(Self.good.utf8))
      let others = try bench.file(of: .bob, "domain", Array(Self.good.utf8))
      #expect(try User.alice.submit("from=\(source) to=\(copy) domain=\(others)", to: daemon) == "EACCES")
      #expect(try User.alice.submit("from=\(source) to=\(copy) domain=\(own)", to: daemon) == "taken")
      #expect(try User.alice.result(daemon.job("job")) == "ok")
    }
  }

  @Test("A user's domains may have so much memory, and removing their jobs gives it back; others have their own")
  func memory() throws {
    try withSharedDaemon { bench, daemon in
      func record(of user: User) throws -> String {
        let source = try bench.file(of: user, "source", Pattern.bytes(1 << 17, seed: 1))
        let script = """
          import sys
          for i in range(64): open(f'{sys.argv[1]}/copy{i}', 'w').close()
          with open(sys.argv[1] + '/domain', 'w') as f:
              f.write('0 + 1\\n')
              for i in range(30000): f.write(f'{i} 1 {"+?"[i % 2]}\\n')
          """
        let home = try bench.home(of: user)
        try user.run("python3", "-c", script, home).orThrow()
        let copies = (0..<64).map { " to=\(home)/copy\($0)" }.joined()
        return "from=\(source)\(copies) domain=\(home)/domain rate=1B"
      }
      let (alices, bobs) = (try record(of: .alice), try record(of: .bob))
      var taken: [Job] = []
      var answer = ""
      while taken.count < 20 {
        answer = try User.alice.submit(alices, as: "job\(taken.count)", to: daemon)
        guard answer == "taken" else { break }
        let job = daemon.job("job\(taken.count)")
        taken.append(job)
        try User.alice.shell("echo cancel > $1", job.path + "/ctl").orThrow()
        try job.reach("cancelled")
      }
      // Each has a map of 30001 extents of 24 bytes, for itself and for 64 destinations.
      try #require(taken.count == 5 && answer == "EDQUOT", "\(taken.count), \(answer)")
      #expect(try User.alice.refusal(daemon).contains("domains of this user's jobs"))
      #expect(try User.bob.submit(bobs, as: "other", to: daemon) == "taken")
      try User.alice.run("rmdir", taken[0].path).orThrow()
      try eventually("there is room again") { try User.alice.submit(alices, as: "again", to: daemon) == "taken" }
    }
  }
}
