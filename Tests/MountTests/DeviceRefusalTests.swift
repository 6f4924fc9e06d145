import FaultKit
import Glibc
import Testing

@Suite("Records that are refused for what they name")
struct DeviceRefusalTests {
  static let kinds = [
    Refusal("a directory as source", "EINVAL", "EISDIR") { "from=\($0.bench.disk) to=\($0.destination.path)" },
    Refusal("a directory as destination", "EINVAL", "EISDIR") { "from=\($0.source.path) to=\($0.bench.disk)" },
    Refusal("a FIFO as source", "EINVAL") { "from=\(try fifo($0)) to=\($0.destination.path)" },
    Refusal("a FIFO as destination", "EINVAL") { "from=\($0.source.path) to=\(try fifo($0))" },
    Refusal("a character device as source", "EINVAL") { "from=/dev/zero@0+1M to=\($0.destination.path)" },
    Refusal("a character device as destination", "EINVAL") { "from=\($0.source.path) to=/dev/null" },
    Refusal("no such source", "ENOENT", culprit: "/nonexistent") { "from=/nonexistent to=\($0.destination.path)" },
    Refusal("no such destination", "ENOENT") { "from=\($0.source.path) to=\($0.fresh)" },
    Refusal("no such directory to create in", "ENOENT") { "from=\($0.source.path) to=\($0.fresh)/x create=yes" },
    Refusal("a file in place of a directory", "ENOTDIR") { "from=\($0.source.path) to=\($0.file)/x create=yes" },
    Refusal("a node without a driver", "ENXIO", "ENODEV") { box in
      let node = box.bench.disk + "/node"
      try Files.makeNode(node, mode: 0o060600, device: 250 << 8)
      return "from=\(box.source.path) to=\(node)"
    },
    Refusal("a loop of symlinks", "ELOOP") { box in
      let link = box.bench.disk + "/link"
      try Files.symlink(to: link, as: link)
      return "from=\(link) to=\(box.destination.path)"
    },
    Refusal("a file of procfs", "EPERM") { "from=/proc/self/mem@0+4K to=\($0.destination.path)" },
    Refusal("a file of sysfs", "EPERM") { "from=/sys/kernel/mm/transparent_hugepage/enabled@0+1B to=\($0.file)" },
    Refusal("a new file in devtmpfs", "ENOENT", "EPERM") { box in
      let path = "/dev/kcopyfs-test-\(getpid())"
      box.bench.atEnd {
        if Files.exists(path) {
          try Files.unlink(path)
          throw Missing("\(path) was made")
        }
      }
      return "from=\(box.source.path)@0+4K to=\(path) create=yes"
    },
    Refusal("the mount itself as source", "ELOOP") { "from=\($0.daemon.mount)/README to=\($0.destination.path)" },
    Refusal("the mount itself as destination", "ELOOP") { "from=\($0.source.path) to=\($0.daemon.mount)/errors" },
    Refusal("a symlink into the mount", "ELOOP") { box in
      let link = box.bench.disk + "/link"
      try Files.symlink(to: box.daemon.mount + "/version", as: link)
      return "from=\(link) to=\(box.destination.path)"
    },
    Refusal("a bad destination after one that create made", "EINVAL") { "from=\($0.source.path) to=\($0.fresh) to=/dev/null create=yes" },
    Refusal("a missing destination after one that create made", "ENOENT") {
      "from=\($0.source.path) to=\($0.fresh) to=\($0.bench.disk)/no/such create=yes"
    },
  ]

  private static func fifo(_ box: Refused) throws -> String {
    let path = box.bench.disk + "/fifo"
    try Files.makeNode(path, mode: 0o010644)
    return path
  }

  @Test("Kinds of file", arguments: kinds)
  func kind(refusal: Refusal) throws { try refusal.check() }

  static let overlaps = [
    Refusal("a device onto itself", "EINVAL") { "from=\($0.source.path) to=\($0.source.path)" },
    Refusal("a sector shared by source and destination", "EINVAL") { "from=\($0.source.path)@0+1M to=\($0.source.path)@2047s" },
    Refusal("two destinations that share a sector", "EINVAL") {
      "from=\($0.source.path)@0+1M to=\($0.destination.path) to=\($0.destination.path)@2047s"
    },
    Refusal("a file onto itself", "EINVAL") { "from=\($0.file)@0+10B to=\($0.file)@9B" },
    Refusal("one byte shared through a hard link", "EINVAL") { box in
      let link = box.bench.disk + "/link"
      try Files.link(box.file, as: link)
      return "from=\(box.file)@0+1000B to=\(link)@999B"
    },
    Refusal("two destinations that are one file by a symlink", "EINVAL") { box in
      let link = box.bench.disk + "/link"
      try Files.symlink(to: box.file, as: link)
      return "from=\(box.source.path)@0+1K to=\(box.file) to=\(link)@1023B"
    },
    Refusal("the device through a second node", "EINVAL") { box in
      let node = box.bench.disk + "/node"
      try Files.makeNode(node, mode: 0o060600, device: box.source.number)
      return "from=\(box.source.path) to=\(node)"
    },
    Refusal("the device through a symlink to its node", "EINVAL") { box in
      let link = box.bench.disk + "/link"
      try Files.symlink(to: box.destination.path, as: link)
      return "from=\(box.source.path) to=\(box.destination.path) to=\(link)"
    },
    Refusal("a loop device and the file under it", "EINVAL") { "from=\($0.source.path) to=\($0.source.backing)" },
  ]

  @Test("Overlaps", arguments: overlaps)
  func overlap(refusal: Refusal) throws { try refusal.check() }

  static let limits = [
    Refusal("a device smaller than the region", "ENOSPC") { box in "from=\(box.source.path) to=\(try box.bench.loop(size: 2 << 20).path)" },
    Refusal("a region that ends past the device", "ENOSPC") { "from=\($0.source.path)@0+1M to=\($0.destination.path)@3584K" },
    Refusal("a start past the destination's end", "ENOSPC") { "from=\($0.source.path)@0+512B to=\($0.destination.path)@1G" },
    Refusal("a source region past its device's end", "ERANGE") { "from=\($0.source.path)@0+5M to=\($0.destination.path)" },
    Refusal("a source start past its device's end", "ERANGE") { "from=\($0.source.path)@1G+1M to=\($0.destination.path)" },
    Refusal("a source region past its file's end", "ERANGE") { "from=\($0.file)@0+100001B to=\(try $0.bench.file("d", []))" },
    Refusal("a device that is read-only", "EROFS") { box in
      "from=\(box.source.path) to=\(try box.bench.loop(readOnly: true).path)"
    },
    Refusal("a file on a file system that is mounted read-only", "EROFS") { box in
      "from=\(box.source.path)@0+4K to=\(try readOnlyFile(box))"
    },
    Refusal("a new file on a file system that is mounted read-only", "EROFS") { box in
      "from=\(box.source.path)@0+4K to=\(try readOnlyFile(box))-new create=yes"
    },
  ]

  private static func readOnlyFile(_ box: Refused) throws -> String {
    let mount = box.bench.keep(try Mount(type: "tmpfs", on: box.bench.disk + "/readonly"))
    try Files.write(mount.path + "/file", [1])
    try run("mount", "-o", "remount,ro", mount.path).orThrow()
    return mount.path + "/file"
  }

  @Test("Sizes and read-only media", arguments: limits)
  func limit(refusal: Refusal) throws { try refusal.check() }

  static let busy = [
    Refusal("a mounted device", "EBUSY") { box in
      let device = try box.bench.loop(size: 8 << 20)
      try run("mkfs.ext4", "-q", device.path).orThrow()
      box.bench.keep(try Mount(type: "ext4", device: device.path, on: box.bench.disk + "/mounted"))
      return "from=\(box.source.path) to=\(device.path)"
    },
    Refusal("a device used as swap", "EBUSY") { box in
      let device = try box.bench.loop(size: 8 << 20)
      try run("mkswap", device.path).orThrow()
      try run("swapon", device.path).orThrow()
      box.bench.atEnd { try run("swapoff", device.path).orThrow() }
      return "from=\(box.source.path) to=\(device.path)"
    },
    Refusal("a device that a process holds with O_EXCL", "EBUSY") { box in
      let device = try box.bench.loop()
      let script = "import os, sys, time\nos.open(sys.argv[1], os.O_RDWR | os.O_EXCL)\nprint('held')\ntime.sleep(60)"
      let holder = try pythonCommand(script, [device.path]).start()
      box.bench.atEnd { try holder.end() }
      try eventually("the device is held: \(holder.errorText)") { holder.text.contains("held") }
      return "from=\(box.source.path) to=\(device.path)"
    },
  ]

  @Test("A destination in use", arguments: busy)
  func inUse(refusal: Refusal) throws { try refusal.check() }

  @Test("What an unfinished job writes or reads is EBUSY for another, what it leaves alone is not")
  func claims() throws {
    try withDaemon { bench, daemon in
      let other = try bench.loop()
      let bytes = try other.fill(seed: 7)
      let source = try bench.loop()
      let held = try bench.faultDevice()
      try held.loop.fill(seed: 8)
      try held.hold(.write)
      let job = try daemon.submit("from=\(source.path)@1M+1M to=\(held.path)@1M", as: "held")
      try job.reach("running")

      let refused = [
        "to the region that is written": "from=\(other.path)@0+1M to=\(held.path)@1M",
        "to its last sector": "from=\(other.path)@0+512B to=\(held.path)@4095s",
        "to the region that is read": "from=\(other.path)@0+1M to=\(source.path)@1536K",
        "from the region that is written": "from=\(held.path)@1M+1M to=\(other.path)",
      ]
      for (title, record) in refused {
        #expect(try errnoName { _ = try daemon.submit(record, as: "refused") } == "EBUSY", "\(title)")
        try eventually("only the held job is left") { try daemon.jobNames == ["held"] }
      }
      #expect(Pattern.difference(try other.contents(), from: bytes) == nil)
      // Reading what another reads, and writing beside what it reads, harms nobody.
      try daemon.copy("from=\(source.path)@1M+1M to=\(other.path)", as: "reads-too")
      try daemon.copy("from=\(other.path)@0+1M to=\(source.path)@2M", as: "beside")

      try held.open(.write)
      #expect(try job.result() == "ok")
      try daemon.copy("from=\(other.path)@0+1M to=\(held.path)@1M", as: "after")
    }
  }

  @Test("A job's descriptors are closed before it is seen to be done: its devices can be opened with O_EXCL at once")
  func free() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let destination = try bench.loop()
      for round in 0..<10 {
        try daemon.copy("from=\(source.path) to=\(destination.path)", as: "r\(round)")
        let file = try OpenFile(destination.path, O_RDWR | O_EXCL)
        try file.close()
      }
    }
  }
}
