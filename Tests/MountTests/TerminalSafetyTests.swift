import FaultKit
import Glibc
import Testing

/// Whoever looks at a file of the mount, or at the log, has a terminal that obeys what others have written.
@Suite("What a terminal would obey")
struct TerminalSafetyTests {
  /// Sequences that colour, clear, answer back, ring, end a line, or are no text at all.
  static let nasty: [[UInt8]] =
    ["\u{1b}[31m", "\u{1b}]0;x\u{7}", "\u{8}", "\u{7f}", "\u{9b}2J", "\u{85}", "\r\u{1}", "\u{0}"].map { Array($0.utf8) }
    + [[0xff], [0xc3], [0xe2, 0x82], [0xc0, 0x9b], [0xed, 0xa0, 0x80], [0x9b, 0x33, 0x31, 0x6d]]

  /// UTF-8 without control characters, but for the newline.
  private static func isPlain(_ bytes: [UInt8]) -> Bool {
    guard let text = String(validating: bytes, as: UTF8.self) else { return false }
    return text.unicodeScalars.allSatisfy { $0 == "\n" || $0.properties.generalCategory != .control }
  }

  /// Reads every file below a directory, those that wait without waiting, but for drafts, which are given back as they were written.
  private func expectPlain(_ path: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    for name in try Files.names(in: path) {
      let file = "\(path)/\(name)"
      #expect(Self.isPlain(Array(name.utf8)), "\(name)", sourceLocation: sourceLocation)
      if try Files.facts(file).isDirectory {
        try expectPlain(file, sourceLocation: sourceLocation)
        continue
      }
      _ = try errnoName {
        let open = try OpenFile(file, O_RDONLY | O_NONBLOCK)
        let bytes = try open.read(1 << 20)
        #expect(Self.isPlain(bytes), "\(file): \(bytes)", sourceLocation: sourceLocation)
      }
    }
  }

  @Test("In a record it is EINVAL, wherever it stands, and errors shows something else", arguments: ["jobs/x", "submit", "check"])
  func records(place: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let good = "from=\(source) to=\(bench.disk)/copy create=yes"
      for bytes in Self.nasty {
        let frames = [
          ("\(good) context='a", "b'\n"), ("\(good) context=a", "b\n"), ("\(good) from=/", "\n"), ("\(good) client=a", "\n"),
          ("\(good) after=a", "\n"),
          ("\(good) name=a", "\n"), ("\(good) domain=/a", "\n"), ("\(good) a", "b=c\n"), ("", " \(good)\n"),
          ("from=\(source)", " to=\(bench.disk)/x\n"),
          ("{\"from\":\"\(source)\",\"to\":\"\(bench.disk)/copy\",\"create\":\"yes\",\"context\":\"", "\"}"), ("{\"a", "\":1}"), ("{", "}"),
        ]
        for (before, after) in frames {
          let record = Array(before.utf8) + bytes + Array(after.utf8)
          let error = try errnoName { try Files.write(daemon.path(place), record, flags: O_RDWR | O_CREAT) }
          #expect(error == "EINVAL", "\(record)")
        }
      }
      for escape in ["\\u001b", "\\u009b", "\\u007f", "\\n", "\\u0000", "\\ud800"] {
        let record = "{\"from\":\"\(source)\",\"to\":\"\(bench.disk)/copy\",\"create\":\"yes\",\"context\":\"\(escape)\"}"
        #expect(try errnoName { try Files.write(daemon.path(place), record, flags: O_RDWR | O_CREAT) } == "EINVAL", "\(record)")
      }
      #expect(try daemon.refusals.count == 32 && !Files.exists(bench.disk + "/copy"))
      try daemon.expectNoJobs()
      try expectPlain(daemon.mount)
    }
  }

  @Test("In ctl, in a client's files and in names it is refused, and errors shows something else")
  func others() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let job = try daemon.copy("from=\(source) to=\(bench.disk)/copy create=yes context='\u{e4} \u{202e}'")
      for bytes in Self.nasty where bytes != [0] {
        for file in ["jobs/job/ctl", "clients/default/rate", "clients/default/pages"] {
          let error = try errnoName { try Files.write(daemon.path(file), bytes + [0x0a], flags: O_WRONLY | O_TRUNC) }
          #expect(error == "EINVAL", "\(file): \(bytes)")
        }
        // A shell can name what Swift's strings can't.
        let name = "$'a" + bytes.map { "\\x" + String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() + "'"
        let script = "cd \(daemon.mount); ! mkdir clients/\(name) && ! echo op=none >jobs/\(name) && ! echo op=none >jobs/.\(name)"
        #expect(try shell(script).succeeded, "\(bytes)")
      }
      #expect(try daemon.jobNames == [job.name] && daemon.clientNames == ["default"])
      try expectPlain(daemon.mount)
    }
  }

  @Test("A name on the disk, of a mount point, of a file behind a link or a loop device, is nowhere shown as it is")
  func names() throws {
    try withWorkbench { bench in
      let events = bench.disk + "/mnt/events"
      let daemon = try bench.daemon()
      let open = try OpenFile(events, O_RDONLY | O_NONBLOCK)
      let source = try bench.file("source", Pattern.bytes(5000, seed: 1))
      let held = try bench.loop()
      try run("mkfs.ext4", "-q", held.path).orThrow()
      let strange = bench.disk + "/\u{1b}[31m\u{9b}2J\n"
      _ = try bench.keep(Mount(type: "ext4", device: held.path, on: strange))
      let behind = try bench.file("\u{1b}]0;x\u{7}", Pattern.bytes(5000, seed: 2))
      try Files.symlink(to: behind, as: bench.disk + "/link")
      try Files.symlink(to: strange + "/none", as: bench.disk + "/dangling")
      try Files.symlink(to: strange, as: bench.disk + "/directory")
      let device = bench.keep(try LoopDevice(backing: try bench.memory + "/\u{1b}[5mloop", size: 1 << 20))

      try daemon.copy("from=\(bench.disk)/link to=\(device.path)@4K tail=zero", as: "good")
      for (record, expected) in [
        ("from=\(source) to=\(held.path) tail=zero", "EBUSY"), ("from=\(bench.disk)/dangling to=\(source)", "ENOENT"),
        ("from=\(bench.disk)/directory to=\(source)", "EINVAL"), ("from=\(bench.disk)/link to=\(bench.disk)/link", "EINVAL"),
        ("from=\(source) to=\(bench.disk)/directory/x create=yes context=made", ""), ("from=\(device.path) to=\(device.path)", "EINVAL"),
      ] {
        #expect(try errnoName { _ = try daemon.submit(record, as: "j\(expected)") } == expected, "\(record)")
      }
      let refusals = try daemon.refusals
      #expect(refusals.first?["text"].contains("mounted at") == true, "\(refusals)")
      #expect(try daemon.job("j").result() == "ok")
      try expectPlain(daemon.mount)
      #expect(try Self.isPlain(open.read(1 << 20)))
      #expect(Self.isPlain(Array(daemon.process.errorText.utf8)))
    }
  }

  @Test("What the daemon says of its options and of its mount point holds nothing of it")
  func log() throws {
    for arguments in [["/none\u{1b}[31m\n\u{9b}", "-f"], ["/tmp", "-f", "-o", "\u{1b}[31m=1"], ["/tmp", "-f", "-o", "pages=\u{9b}2J\n"]] {
      let outcome = try Daemon.command(arguments).run()
      #expect(!outcome.succeeded && outcome.errorText.hasPrefix("kcopyfs: ") && Self.isPlain(outcome.errorOutput), "\(outcome.errorOutput)")
      #expect(outcome.errorText.split(separator: "\n").count == 1)
    }
  }
}
