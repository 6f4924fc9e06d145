import FaultKit
import Glibc
import Testing

/// A write to a file of a client, and what is read after it.
struct ClientWrite: Sendable, CustomTestStringConvertible {
  let file: String
  let written: String
  /// A value, or the errno of the write.
  let outcome: String
  var testDescription: String { "\(file) = \(written): \(outcome)" }

  init(_ file: String, _ written: String, _ outcome: String) {
    self.file = file
    self.written = written
    self.outcome = outcome
  }

  static let good = [
    ClientWrite("pages", "256", "256"), ClientWrite("pages", "512", "512"), ClientWrite("pages", "65536", "65536"),
    ClientWrite("throttle", "1", "1"), ClientWrite("throttle", "100", "100"), ClientWrite("throttle", " 10 ", "10"),
    ClientWrite("rate", "10M", "10485760"), ClientWrite("rate", "max", "max"), ClientWrite("rate", "5000", "5000"),
    ClientWrite("rate", "3s", "1536"), ClientWrite("subjob", "512K", "524288"), ClientWrite("subjob", "2048s", "1048576"),
    ClientWrite("subjob", "65536B", "65536"), ClientWrite("subjob", "65536", "65536"), ClientWrite("subjob", "16M", "16777216"),
    ClientWrite("slots", "1", "1"), ClientWrite("slots", "4096", "4096"), ClientWrite("max_jobs", "0", "0"),
    ClientWrite("max_jobs", "7", "7"),
  ]

  static let bad = [
    ClientWrite("pages", "255", "EINVAL"), ClientWrite("pages", "0", "EINVAL"), ClientWrite("pages", "-512", "EINVAL"),
    ClientWrite("pages", "2M", "EINVAL"), ClientWrite("pages", "", "EINVAL"), ClientWrite("pages", "512 512", "EINVAL"),
    ClientWrite("pages", "99999999999999999999", "EINVAL"), ClientWrite("pages", "1000000000", "ENOMEM"),
    ClientWrite("pages", "9000000000000000000", "ENOMEM"), ClientWrite("throttle", "0", "EINVAL"), ClientWrite("throttle", "101", "EINVAL"),
    ClientWrite("throttle", "half", "EINVAL"), ClientWrite("rate", "0", "EINVAL"), ClientWrite("rate", "10X", "EINVAL"),
    ClientWrite("subjob", "4097", "EINVAL"), ClientWrite("subjob", "2048", "EINVAL"), ClientWrite("subjob", "32M", "EINVAL"),
    ClientWrite("subjob", "2G", "EINVAL"), ClientWrite("slots", "0", "EINVAL"), ClientWrite("slots", "4097", "EINVAL"),
    ClientWrite("max_jobs", "-1", "EINVAL"), ClientWrite("max_jobs", "max", "EINVAL"),
  ]
}

@Suite("The values of a client")
struct ClientValueTests {
  @Test("What is written is read, as one number and a newline, and stays the other client's business")
  func written() throws {
    try withDaemon { _, daemon in
      for name in ["a", "default"] {
        let client = name == "a" ? try daemon.makeClient(name) : daemon.client(name)
        for write in ClientWrite.good {
          let outcome = try shell("echo '\(write.written)' > '\(client.path)/\(write.file)'")
          #expect(outcome.succeeded, "\(write.testDescription): \(outcome)")
          #expect(try Files.text("\(client.path)/\(write.file)") == write.outcome + "\n", "\(write.testDescription)")
        }
        #expect(try client.shape() == ["65536", "10", "1536", "16777216", "4096", "7"])
        if name == "a" { #expect(try daemon.client("default").shape() == ClientDirectoryTests.standard) }
      }
      #expect(try daemon.refusals.isEmpty)
    }
  }

  @Test("A bad value makes echo fail with its errno, changes nothing, and errors says why", arguments: ClientWrite.bad)
  func refused(write: ClientWrite) throws {
    try withDaemon { _, daemon in
      let client = try daemon.makeClient("a")
      let before = try client.shape()
      #expect(try client.set(write.file, write.written) == write.outcome)
      for name in ["bash", "dash"] where Command.isInstalled(name) {
        let outcome = try shell("echo '\(write.written)' > '\(client.path)/\(write.file)'", with: name)
        #expect(!outcome.succeeded && !outcome.errorText.isEmpty, "\(outcome)")
      }
      #expect(try client.shape() == before)
      let refusal = try #require(try daemon.refusals.last)
      #expect(refusal["error"] == write.outcome && refusal["record"] == write.written && refusal["job"] == "", "\(refusal)")
      #expect(refusal["text"].hasPrefix("clients/a/\(write.file): ") && refusal["uid"] == "0" && refusal.number("pid") > 0, "\(refusal)")
    }
  }

  @Test("With or without the newline, in one write or by the byte, by whatever program")
  func programs() throws {
    try withDaemon { bench, daemon in
      let client = try daemon.makeClient("a")
      let file = try bench.file("value", "1280\n".utf8.map { $0 })
      let scripts = [
        "echo 1280 > \"$F\"", "echo 1280 >> \"$F\"", "printf 1280 > \"$F\"", "printf '1280\\n' > \"$F\"", "(printf 1280) > \"$F\"",
        "/bin/echo 1280 > \"$F\"", "/bin/echo -n 1280 > \"$F\"", "{ /bin/echo -n 12; /bin/echo 80; } > \"$F\"", "cat '\(file)' > \"$F\"",
        "cp '\(file)' \"$F\"", "echo 1280 | tee \"$F\" > /dev/null", "printf 1280 | dd of=\"$F\" bs=1 status=none",
        "printf 1280 | dd of=\"$F\" conv=fsync status=none", "dd if='\(file)' of=\"$F\" bs=1 status=none", "set -C; echo 1280 >| \"$F\"",
        "exec 3<> \"$F\"; echo 1280 >&3; exec 3>&-", "printf '1280\\r\\n' > \"$F\"", "{ /bin/echo -n 1280; } > \"$F\"",
        "python3 -c \"open('$F', 'w').write('1280')\"", "python3 -c \"print(1280, file=open('$F', 'w'))\"",
        "python3 -c \"import pathlib; pathlib.Path('$F').write_text('1280')\"",
      ]
      for script in scripts {
        #expect(try client.set("pages", "512") == "")
        let outcome = try shell(script, environment: ["F": client.path + "/pages"])
        #expect(outcome.succeeded && outcome.errorText.isEmpty, "\(outcome)")
        // The release comes after the last close has returned.
        try eventually(within: .seconds(5), script) { try client.value("pages") == "1280" }
      }
      #expect(try daemon.refusals.isEmpty)
    }
  }

  @Test("A bad value without a newline fails the close, and an empty file is no value")
  func closes() throws {
    try withDaemon { _, daemon in
      let client = try daemon.makeClient("a")
      let file = try OpenFile(client.path + "/pages", O_WRONLY | O_TRUNC)
      try file.writeAll(Array("1".utf8))
      #expect(try errnoName { try file.close() } == "EINVAL")
      let synchronised = try OpenFile(client.path + "/pages", O_WRONLY)
      try synchronised.writeAll(Array("2".utf8))
      #expect(try errnoName { try synchronised.synchronise() } == "EINVAL")
      try synchronised.close()
      #expect(try client.value("pages") == "4096" && daemon.refusals.count == 2)
      try shell(": > \(client.path)/pages").orThrow()
      #expect(try client.value("pages") == "4096" && daemon.refusals.count == 2)
      #expect(try errnoName { try Files.write(client.path + "/pages", [UInt8](repeating: 0x31, count: 5000)) } == "EINVAL")
      #expect(try errnoName { try Files.write(client.path + "/pages", "512\n1024\n") } == "EINVAL")
      // What makes a line too long is no value of its own.
      let long = try OpenFile(client.path + "/pages", O_WRONLY)
      try long.writeAll([UInt8](repeating: 0x20, count: 4095))
      for piece in ["512", "512\n"] { #expect(try errnoName { try long.writeAll(Array(piece.utf8)) } == (piece == "512" ? "EINVAL" : "")) }
      try long.close()
      #expect(try client.value("pages") == "512" && client.set("pages", "4096") == "")
      #expect(try client.value("pages") == "4096")
    }
  }

  @Test("One open file takes one value after the other, and reads what holds now")
  func reopened() throws {
    try withDaemon { _, daemon in
      let client = try daemon.makeClient("a")
      let file = try OpenFile(client.path + "/slots", O_RDWR)
      for slots in [1, 16, 3] {
        try file.writeAll(Array("\(slots)\n".utf8))
        try file.rewind()
        #expect(try String(decoding: file.readToEnd(), as: UTF8.self) == "\(slots)\n")
      }
      #expect(try errnoName { try file.writeAll(Array("none\n".utf8)) } == "EINVAL")
      try file.writeAll(Array("5\n".utf8))
      #expect(try client.value("slots") == "5")
      try file.close()
    }
  }

  @Test("Pages and sub-job fit each other at every moment, in whatever order they are set")
  func fit() throws {
    try withDaemon { _, daemon in
      let client = try daemon.makeClient("a")
      #expect(try client.set("pages", "128") == "EINVAL")
      #expect(try client.set("subjob", "512K") == "")
      #expect(try client.set("pages", "128") == "")
      #expect(try client.set("subjob", "1M") == "EINVAL")
      #expect(try client.set("pages", "127") == "EINVAL")
      #expect(try client.set("pages", "4096") == "")
      #expect(try client.set("subjob", "16M") == "")
      #expect(try client.shape() == ["4096", "100", "max", "16777216", "8", "100000"])
    }
  }

  @Test("A changed value has the time of its change, and the others have not")
  func times() throws {
    try withDaemon { _, daemon in
      let client = try daemon.makeClient("a")
      let made = try Files.facts(client.path + "/slots").modified
      pause(.milliseconds(1100))
      #expect(try client.set("slots", "2") == "")
      #expect(try Files.facts(client.path + "/slots").modified > made && Files.facts(client.path + "/pages").modified == made)
      #expect(try Files.facts(client.path).modified == made)
    }
  }

  @Test("Files that only tell are not written, not by root either", arguments: ["pages_free", "jobs", "wait"])
  func told(file: String) throws {
    try withDaemon { _, daemon in
      for name in ["a", "default"] {
        let client = name == "a" ? try daemon.makeClient(name) : daemon.client(name)
        #expect(try client.set(file, "1") == "EACCES")
      }
    }
  }

  @Test("A client that is removed while a file of it is open: its values are ENODEV, read or written")
  func removed() throws {
    try withDaemon { _, daemon in
      let client = try daemon.makeClient("a")
      let (value, wait) = (try OpenFile(client.path + "/pages", O_RDWR), try OpenFile(client.path + "/wait", O_RDONLY))
      try Files.removeDirectory(client.path)
      #expect(try errnoName { try value.writeAll(Array("512\n".utf8)) } == "ENODEV")
      #expect(try errnoName { _ = try value.read() } == "ENODEV")
      #expect(try errnoName { _ = try wait.read() } == "ENODEV")
      try value.close()
      try wait.close()
    }
  }
}
