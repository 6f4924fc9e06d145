import FaultKit
import Glibc
import Testing

@Suite("clone=auto")
struct CloneTests {
  private func bytesRead(_ daemon: Daemon) throws -> Int {
    try Words(Files.text(daemon.path("stats"))).number("bytes_read")
  }

  @Test(
    "Files of one file system share their blocks: nothing is read, and a change of one doesn't show in the other",
    arguments: ["xfs", "btrfs"])
  func shared(type: String) throws {
    try withDaemon { bench, daemon in
      let place = try bench.fileSystem(type)
      // Longer than is shared in one call, and not a whole number of pages.
      let bytes = Pattern.bytes((70 << 20) + 1234, seed: 1)
      try Files.write(place + "/source", bytes)
      try Files.write(place + "/old", Pattern.bytes(80 << 20, seed: 2))
      let job = try daemon.copy("from=\(place)/source to=\(place)/copy to=\(place)/old@4M to=\(bench.disk)/other create=yes", as: "one")
      #expect(try job.value("write_err") == "0x0")
      let read = try bytesRead(daemon)
      // Once for the file of the other file system, and what is behind the last page for each.
      #expect(read >= bytes.count && read < bytes.count + (1 << 20), "\(read)")
      try daemon.copy("from=\(place)/source to=\(place)/second create=yes", as: "two")
      #expect(try bytesRead(daemon) - read < 1 << 20)
      for name in ["copy", "second"] { #expect(try Pattern.difference(Files.read(place + "/" + name), from: bytes) == nil) }
      #expect(
        try Pattern.difference(
          Files.read(place + "/old"), from: Pattern.patched(Pattern.bytes(80 << 20, seed: 2), at: 4 << 20, with: bytes)) == nil)
      #expect(try Pattern.difference(Files.read(bench.disk + "/other"), from: bytes) == nil)
      try run("dd", "if=/dev/zero", "of=\(place)/source", "bs=4096", "count=1", "conv=notrunc", "status=none").orThrow()
      #expect(try Files.read(place + "/copy")[..<4096] == bytes[..<4096])
      try daemon.copy("from=\(place)/second to=\(place)/third create=yes clone=no", as: "three")
      #expect(try bytesRead(daemon) - read >= bytes.count)
    }
  }

  @Test("Regions that don't fit, and a file system that can't, are copied", arguments: [(100, 4096), (4096, 512), (0, 1000)])
  func copied(from: Int, to: Int) throws {
    try withDaemon { bench, daemon in
      let place = try bench.fileSystem("xfs")
      let bytes = Pattern.bytes(3_000_000, seed: 3)
      for directory in [place, bench.disk] {
        try Files.write(directory + "/source", bytes)
        try Files.write(directory + "/copy", Pattern.bytes(4_000_000, seed: 4))
        let job = directory == place ? "xfs" : "other"
        try daemon.copy("from=\(directory)/source@\(from)B to=\(directory)/copy@\(to)B", as: job)
        let expected = Pattern.patched(Pattern.bytes(4_000_000, seed: 4), at: to, with: bytes[from...])
        #expect(try Pattern.difference(Files.read(directory + "/copy"), from: expected) == nil)
      }
    }
  }

  @Test("With verify and a digest both are true of what was shared")
  func checked() throws {
    try withDaemon { bench, daemon in
      let place = try bench.fileSystem("xfs")
      try Files.write(place + "/source", Pattern.bytes(5_000_000, seed: 5))
      let job = try daemon.copy("from=\(place)/source to=\(place)/copy create=yes verify=yes hash=sha256 sparse=yes")
      let sum = try run("sha256sum", place + "/source").orThrow().line.prefix(64)
      #expect(try job.status()["digest"] == sum && run("cmp", place + "/source", place + "/copy").succeeded)
    }
  }
}
