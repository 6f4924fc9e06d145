import FaultKit
import Glibc
import KCopy
import Testing

@testable import Admission

@Suite("Paths that are opened, and those that are not")
struct OpeningTests {
  @Test("A regular file is opened as what it is")
  func file() throws {
    try withStage { stage in
      let path = try stage.bench.file("file", Pattern.bytes(1000, seed: 1))
      let inode = try Files.facts(path).inode
      let source = try stage.source(path)
      #expect(source.path == path && source.device.size == 1000 && !source.device.isBlockDevice && source.device.access == .reading)
      #expect(source.root.key == source.device.key && source.root.offset == 0)
      #expect(source.identity.hasSuffix(":\(inode)") && source.created == nil && !source.isShared)
      stage.close(source)
      let destination = try stage.destination(path)
      #expect(destination.device.access == .writing(exclusive: true) && destination.isShared && destination.created == nil)
      stage.close(destination)
      #expect(try Files.read(path) == Pattern.bytes(1000, seed: 1))
    }
  }

  @Test("A block device is opened exclusively as a destination, shared by all who write to it, and free after the last")
  func blockDevice() throws {
    try withStage { stage in
      let loop = try stage.bench.loop()
      let source = try stage.source(loop.path)
      #expect(source.device.isBlockDevice && source.device.size == 4 << 20 && source.device.logicalBlock == 512)
      let (first, second) = (try stage.destination(loop.path), try stage.destination(loop.path))
      #expect(first.device === second.device)
      #expect(try errnoName { _ = try OpenFile(loop.path, O_RDWR | O_EXCL) } == "EBUSY")
      stage.close(first)
      #expect(try errnoName { _ = try OpenFile(loop.path, O_RDWR | O_EXCL) } == "EBUSY")
      stage.close(second)
      try stage.becomesFree(loop.path)
      stage.close(source)
    }
  }

  /// A path of some kind, and the errno of whoever opens it.
  struct Kind: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let error: Int32
    let path: @Sendable (Workbench) throws -> String

    init(_ title: String, _ error: Int32, path: @escaping @Sendable (Workbench) throws -> String) {
      testDescription = title
      self.error = error
      self.path = path
    }
  }

  static let kinds = [
    Kind("a directory", EINVAL) { $0.disk },
    Kind("a FIFO", EINVAL) { try node($0, 0o010644) },
    Kind("a socket", EINVAL) { try node($0, 0o140644) },
    Kind("a character device", EINVAL) { _ in "/dev/null" },
    Kind("nothing", ENOENT) { $0.disk + "/nothing" },
    Kind("the empty path", ENOENT) { _ in "" },
    Kind("something below a file", ENOTDIR) { try $0.file("file", []) + "/below" },
    Kind("a name that is too long", ENAMETOOLONG) { $0.disk + "/" + String(repeating: "x", count: 256) },
    Kind("a symlink that leads nowhere", ENOENT) { try link($0, to: "/nonexistent") },
    Kind("a loop of symlinks", ELOOP) { try link($0, to: $0.disk + "/link") },
    Kind("a file of procfs", EPERM) { _ in "/proc/self/cmdline" },
    Kind("a switch of procfs", EPERM) { _ in "/proc/sys/vm/drop_caches" },
    Kind("a file of sysfs", EPERM) { _ in "/sys/kernel/uevent_seqnum" },
    Kind("a symlink into procfs", EPERM) { try link($0, to: "/proc/version") },
    Kind("a magic link to an open file", ELOOP) { bench in
      let file = try OpenFile(try bench.file("file", [1]), O_RDONLY)
      bench.atEnd { try file.close() }
      let number = try #require(try Files.names(in: "/proc/self/fd").first { KernelText.link("/proc/self/fd/\($0)") == file.path })
      return "/proc/self/fd/\(number)"
    },
    Kind("a way through a magic link", ELOOP) { _ in "/proc/self/root/etc/passwd" },
    Kind("a symlink to a magic link", ELOOP) { try link($0, to: "/proc/self/exe") },
    Kind("the terminal's alias", ELOOP) { _ in "/dev/stdin" },
  ]

  private static func node(_ bench: Workbench, _ mode: UInt32) throws -> String {
    try Files.makeNode(bench.disk + "/node", mode: mode)
    return bench.disk + "/node"
  }

  private static func link(_ bench: Workbench, to path: String) throws -> String {
    try Files.symlink(to: path, as: bench.disk + "/link")
    return bench.disk + "/link"
  }

  @Test("What is no file for copying is refused by its kind, as source and as destination", arguments: kinds)
  func refused(kind: Kind) throws {
    try withStage { stage in
      let path = try kind.path(stage.bench)
      for objection in [try stage.objection(toSource: path), try stage.objection(toDestination: path)] {
        #expect(objection?.errno == kind.error, "\(String(describing: objection))")
        #expect(objection?.text.hasPrefix(path) == true)
      }
    }
  }

  @Test("A path into the own mount is refused, also by a link, and where a file would be made")
  func ownMount() throws {
    try withStage { stage in
      let file = try stage.bench.file("file", [1], inMemory: true)
      let link = try Self.link(stage.bench, to: file)
      #expect(try stage.objection(toSource: link) == nil)
      try stage.admission.setOwnMount(stage.bench.memory)
      for path in [file, link] {
        #expect(try stage.objection(toSource: path) == Objection(ELOOP, "\(path) is in this mount itself"))
        #expect(try stage.objection(toDestination: path) == Objection(ELOOP, "\(path) is in this mount itself"))
      }
      let fresh = try stage.bench.memory + "/fresh"
      #expect(try stage.objection(toDestination: fresh, creates: true) == Objection(ELOOP, "\(fresh) is in this mount itself"))
      #expect(throws: Objection.self) { try stage.admission.setOwnMount("/nonexistent") }
    }
  }

  @Test("Whether something exists: a link that leads nowhere does")
  func exists() throws {
    try withStage { stage in
      let (file, link) = (try stage.bench.file("file", []), try Self.link(stage.bench, to: "/nonexistent"))
      for path in ["/", file, link] { #expect(stage.admission.exists(path, for: stage.caller)) }
      for path in [stage.bench.disk + "/nothing", ""] { #expect(!stage.admission.exists(path, for: stage.caller)) }
    }
  }

  @Test("A link that changes all the time leads to one file at a time, never to another than the one that was looked at")
  func swapped() throws {
    try withStage { stage in
      let good = try stage.bench.file("good", [1])
      let link = try Self.link(stage.bench, to: good)
      let script = """
        import os, sys
        link, targets = sys.argv[1], sys.argv[2:]
        while True:
            for target in targets:
                os.symlink(target, link + ".next")
                os.rename(link + ".next", link)
        """
      let other = try stage.bench.file("other", [1, 2], inMemory: true)
      let swapper = try pythonCommand(script, [link, good, "/proc/version", other, "/dev/null"]).start()
      defer { #expect(throws: Never.self) { try swapper.end() } }
      let sizes = [try stage.source(good), try stage.source(other)].map { endpoint in
        defer { stage.admission.undo(endpoint) }
        return (endpoint.identity, endpoint.device.size)
      }
      let known = Dictionary(uniqueKeysWithValues: sizes)
      var met: Set<String> = []
      try eventually(within: .seconds(20), "every target is met: \(met)") {
        for _ in 0..<500 {
          do throws(Objection) {
            let endpoint = try stage.source(link)
            defer { stage.admission.undo(endpoint) }
            met.insert(endpoint.identity)
            #expect(known[endpoint.identity] == endpoint.device.size && Identity.of(endpoint.device.key) == endpoint.identity)
          } catch {
            met.insert("\(error.errno)")
          }
        }
        return met.isSuperset(of: known.keys) && met.isSuperset(of: ["\(EPERM)", "\(EINVAL)"])
      }
      #expect(met.count == 4)
    }
  }
}
