import CSystemShims
import FaultKit
import Glibc
import KCopy
import Testing

@testable import Admission

@Suite("File systems and identities")
struct FileSystemsTests {
  private func withDescriptor<R>(_ path: String, _ body: (Int32) throws -> R) throws -> R {
    let descriptor = kcs_open(path, kcs_O_PATH, 0)
    if descriptor < 0 { throw SystemError(-descriptor, "open \(path)") }
    defer { _ = kcs_close(descriptor) }
    return try body(descriptor)
  }

  private func device(of path: String) throws -> UInt64 {
    try withDescriptor(path) { descriptor in
      var facts = kcs_file_facts()
      try #require(kcs_file_facts(descriptor, &facts) == 0)
      return facts.device
    }
  }

  @Test("Files on disks and in memory may be copied, the kernel's own may not")
  func allowed() throws {
    try withWorkbench { bench in
      for path in [bench.disk, try bench.memory] { #expect(try withDescriptor(path) { FileSystems.allows($0) }, "\(path)") }
      for path in ["/proc", "/sys", "/dev/pts"] { #expect(try !withDescriptor(path) { FileSystems.allows($0) }, "\(path)") }
    }
  }

  @Test("Other file systems of disks may be copied from too", arguments: ["ext4", "xfs"])
  func disks(type: String) throws {
    try withWorkbench { bench in
      let loop = try bench.loop(size: type == "xfs" ? 320 << 20 : 8 << 20)
      try run("mkfs.\(type)", "-q", loop.path).orThrow()
      let mount = bench.keep(try Mount(type: type, device: loop.path, on: bench.disk + "/mounted"))
      #expect(try withDescriptor(mount.path) { FileSystems.allows($0) })
    }
  }

  @Test("What is mounted at /dev holds devices, a tmpfs elsewhere does not")
  func devices() throws {
    let devices = try device(of: "/dev")
    #expect(FileSystems.isDevices(devices))
    try withWorkbench { bench in
      for path in [try bench.memory, bench.disk] {
        let device = try device(of: path)
        #expect(!FileSystems.isDevices(device), "\(path)")
      }
    }
  }

  @Test("The table of mounts has what is mounted, with its device, its place and its type")
  func mounts() throws {
    try withWorkbench { bench in
      let mount = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/a \\ place"))
      let device = try device(of: mount.path)
      let row = try #require(Mounts.all().first { $0.device == device })
      #expect(row.point == mount.path && row.type == "tmpfs")
    }
  }

  @Test("A file is known by its device and inode, a disk that has neither name nor serial by its number")
  func identity() throws {
    try withStage { stage in
      let file = try stage.bench.file("file", [1])
      let number = try device(of: file)
      let source = try stage.source(file)
      #expect(source.identity == "\(kcs_major(number)):\(kcs_minor(number)):\(try Files.facts(file).inode)")
      stage.admission.undo(source)
      let loop = try stage.bench.loop()
      let disk = try stage.source(loop.path)
      #expect(disk.identity == "7:\(loop.path.dropFirst("/dev/loop".count))")
      stage.admission.undo(disk)
    }
  }
}
