import FaultKit
import Glibc
import Testing

@Suite("warning: a source that is in use, or that changed")
struct SourceWarningTests {
  /// What `check` says of a record's source.
  private func checked(_ daemon: Daemon, _ record: String) throws -> String {
    let file = try OpenFile(daemon.path("check"), O_RDWR)
    defer { try? file.close() }
    try file.writeAll(Array("\(record)\n".utf8))
    return try Words(String(decoding: file.readToEnd(), as: UTF8.self))["warning"]
  }

  @Test("A source that is mounted read-write is in use; read-only, or not mounted, it isn't", arguments: ["rw", "ro", ""])
  func mounted(options: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.formatted("ext4")
      if !options.isEmpty { _ = try bench.mounted("ext4", source, options: options) }
      let record = "from=\(source) to=\(bench.disk)/copy create=yes"
      let expected = options == "rw" ? "source-in-use" : ""
      #expect(try checked(daemon, record) == expected)
      let job = try daemon.copy(record)
      let status = try job.status()
      #expect(status["warning"] == expected && status["state"] == "done" && status["error"] == "", "\(status)")
      #expect(try job.text("status.json").contains("\"warning\":\(expected.isEmpty ? "null" : "\"\(expected)\""),"))
    }
  }

  @Test("So is a disk whose partition is mounted, and a file that lies under a mounted loop device")
  func above() throws {
    try withDaemon { bench, daemon in
      let image = try bench.image()
      let mount = try bench.mounted("ext4", bench.over(image).path, options: "rw")
      #expect(try checked(daemon, "from=\(image) to=\(bench.disk)/copy create=yes") == "source-in-use")
      try mount.user.release()
      #expect(try checked(daemon, "from=\(image) to=\(bench.disk)/copy create=yes") == "")
      let disk = try Disk(bench)
      try run("mkfs.ext4", "-q", disk.second).orThrow()
      _ = try bench.mounted("ext4", disk.second, on: "partition", options: "rw")
      for (source, expected) in [(disk.path, "source-in-use"), (disk.second, "source-in-use"), (disk.first, "")] {
        #expect(try checked(daemon, "from=\(source) to=\(bench.disk)/copy create=yes") == expected, "\(source)")
      }
    }
  }

  /// What somebody does to a file of 4 MiB while it is read.
  enum Change: String, CaseIterable, Sendable {
    case nothing, write, append, cut, attributes

    func make(to path: String) throws {
      switch self {
      case .nothing: break
      case .write: try run("dd", "if=/dev/zero", "of=\(path)", "bs=1", "count=1", "seek=4194303", "conv=notrunc", "status=none").orThrow()
      case .append: try run("truncate", "-s", "+1", path).orThrow()
      case .cut: try run("truncate", "-s", "4194303", path).orThrow()
      // Whoever writes and then puts the time back that it had: the kernel has taken it down all the same.
      case .attributes: try run("touch", "-d", "2001-02-03 04:05:06", path).orThrow()
      }
    }
  }

  @Test(
    "A file that is written, grown or cut while it is read has changed, and how the job ends is another matter", arguments: Change.allCases)
  func changed(change: Change) throws {
    try withDaemon { bench, daemon in
      let source = try bench.oldFile()
      let job = try daemon.submit("from=\(source)@0+3M to=\(bench.disk)/copy create=yes rate=2M")
      try job.reach("running")
      try change.make(to: source)
      #expect(try job.result() == "ok")
      let status = try job.status()
      #expect(status["warning"] == (change == .nothing ? "" : "source-changed") && status["error"] == "", "\(status)")
      // The next one reads what there is now.
      #expect(try daemon.copy("from=\(source)@0+3M to=\(bench.disk)/copy", as: "next").status()["warning"] == "")
    }
  }

  @Test("What a job writes elsewhere in the file that it reads is no change, nor what was written by those it comes after")
  func own() throws {
    try withDaemon { bench, daemon in
      let file = try bench.oldFile()
      let job = try daemon.copy("from=\(file)@0+1M to=\(file)@2M")
      #expect(try job.status()["warning"] == "")
      let held = try HeldJob(bench, daemon)
      _ = try daemon.submit("from=\(held.source.path) to=\(file) after=held", as: "write")
      let read = try daemon.submit("from=\(file) to=\(bench.disk)/copy create=yes after=write", as: "read")
      try held.letGo()
      #expect(try read.result() == "ok" && read.status()["warning"] == "")
      #expect(try Pattern.difference(Files.read(bench.disk + "/copy"), from: held.source.contents()) == nil)
    }
  }

  @Test("Both are said, and outlive the daemon; what changed while there was none has changed too", arguments: Departure.allCases)
  func restarted(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let image = try bench.image()
      let mounted = try bench.mounted("ext4", bench.over(image).path, options: "rw")
      _ = try mount.daemon.submit("from=\(image) to=\(bench.disk)/copy create=yes rate=1M")
      let plain = try bench.oldFile()
      try mount.daemon.copy("from=\(plain) to=\(bench.disk)/plain create=yes", as: "plain")
      try mount.awaitCheckpoint()
      try mount.restart(departure) { try Files.write(mounted.place + "/file", [UInt8](repeating: 1, count: 4096)) }
      try run("sync", "-f", mounted.place).orThrow()
      #expect(try mount.job().status()["warning"] == "source-in-use")
      #expect(try mount.job().result() == "ok")
      #expect(try mount.job().status()["warning"] == "source-in-use,source-changed")
      #expect(try mount.job("plain").status()["warning"] == "")
      let size = try mount.job().text("status").utf8.count
      try mount.restart(departure)
      #expect(try mount.job().status()["warning"] == "source-in-use,source-changed")
      #expect(try mount.job().text("status").utf8.count == size)
    }
  }
}
