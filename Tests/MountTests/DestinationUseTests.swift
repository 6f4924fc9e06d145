import FaultKit
import Glibc
import Testing

@Suite("A destination that somebody uses is refused before a byte is written, and the text names the use")
struct DestinationUseTests {
  // MARK: What holds a device

  static let held = [
    Usage("ext4 is mounted") { bench in
      let device = try bench.formatted("ext4")
      let mount = try bench.mounted("ext4", device)
      return UsedDestination(device, "it is mounted at \(mount.place)", by: mount.user)
    },
    Usage("ext4 is mounted read-write, at a place whose name is two lines") { bench in
      let device = try bench.formatted("ext4")
      let mount = try bench.mounted("ext4", device, on: "here and\nthere", options: "rw")
      try run("sync", "-f", mount.place).orThrow()
      return UsedDestination(device, "it is mounted at \(bench.disk)/here and there", by: mount.user)
    },
    Usage("xfs is mounted") { bench in
      let device = try bench.formatted("xfs", size: 320 << 20)
      let mount = try bench.mounted("xfs", device, options: "ro,norecovery")
      return UsedDestination(device, "it is mounted at \(mount.place)", by: mount.user)
    },
    Usage("btrfs is mounted, which has no number of its device") { bench in
      let device = try bench.formatted("btrfs", size: 128 << 20)
      let mount = try bench.mounted("btrfs", device)
      return UsedDestination(device, "it is mounted at \(mount.place)", by: mount.user)
    },
    Usage("the second device of a btrfs that is mounted") { bench in
      let (first, second) = (try bench.loop(size: 128 << 20).path, try bench.loop(size: 128 << 20).path)
      try run("mkfs.btrfs", "-q", "-f", first, second).orThrow()
      let mount = try bench.mounted("btrfs", first, options: "ro,device=\(second)")
      return UsedDestination(second, "it is mounted at \(mount.place)", also: [first], by: mount.user)
    },
    Usage("it is mounted in another namespace") { bench in
      let device = try bench.formatted("ext4")
      let place = bench.disk + "/private"
      try Files.makeDirectory(place)
      let process = try privateMounts("mount -o ro \(device) \(place) && echo ready && exec sleep 60").start()
      let user = bench.once { try process.end() }
      try eventually("it is mounted: \(process.text)") { process.text == "ready\n" }
      let text = "it is mounted at \(place) in the mount namespace of process \(process.pid)"
      return UsedDestination(device, text, by: user)
    },
    Usage("it is used as swap") { bench in
      let device = try bench.loop(size: 8 << 20).path
      return UsedDestination(device, "it is used as swap", by: try bench.swap(device))
    },
    Usage("a disk in memory is used as swap") { bench in
      let device = try bench.memoryDisk()
      return UsedDestination(device, "it is used as swap", by: try bench.swap(device))
    },
    Usage("a program has it for itself") { bench in
      let device = try bench.loop().path
      let program = try bench.holder("os.O_RDONLY | os.O_EXCL)", device)
      return UsedDestination(device, "\(unknown); process \(program.pid) (python3) has \(device) open", by: program.user)
    },
    Usage("a program has locked the file") { bench in
      let file = try bench.oldFile()
      let program = try bench.holder("os.O_RDONLY)\nfcntl.flock(f, fcntl.LOCK_SH)", file)
      return UsedDestination(file, "process \(program.pid) (python3) holds a lock on it", by: program.user)
    },
    Usage("a partition of it is mounted") { bench in
      let disk = try Disk(bench)
      try run("mkfs.ext4", "-q", disk.first).orThrow()
      let mount = try bench.mounted("ext4", disk.first)
      return UsedDestination(disk.path, "its partition \(disk.path)p1 is mounted at \(mount.place)", also: [disk.first], by: mount.user)
    },
    Usage("a partition of it is used as swap") { bench in
      let disk = try Disk(bench)
      return UsedDestination(
        disk.path, "its partition \(disk.path)p2 is used as swap", also: [disk.second], by: try bench.swap(disk.second))
    },
    Usage("a partition of it is held by a program") { bench in
      let disk = try Disk(bench)
      let program = try bench.holder("os.O_RDONLY | os.O_EXCL)", disk.path + "p1")
      let text = "\(unknown); process \(program.pid) (python3) has \(disk.path)p1 open"
      return UsedDestination(disk.path, text, also: [disk.first], by: program.user)
    },
    Usage("it is a partition that is mounted") { bench in
      let disk = try Disk(bench)
      try run("mkfs.ext4", "-q", disk.first).orThrow()
      let mount = try bench.mounted("ext4", disk.first)
      return UsedDestination(disk.first, "it is mounted at \(mount.place)", by: mount.user)
    },
    Usage("it is a partition of a disk that is mounted as a whole") { bench in
      let disk = try Disk(bench)
      try run("mkfs.ext4", "-q", disk.path).orThrow()
      let mount = try bench.mounted("ext4", disk.path)
      return UsedDestination(disk.second, "its disk \(disk.path) is mounted at \(mount.place)", also: [disk.path], by: mount.user)
    },
    Usage("it is mounted, and named by another node") { bench in
      let device = try bench.formatted("ext4")
      let mount = try bench.mounted("ext4", device)
      let node = try bench.node(of: device)
      return UsedDestination(node, "it is mounted at \(mount.place)", also: [device], by: mount.user)
    },
    Usage("it is mounted, and named by a symbolic link as udev makes them") { bench in
      let device = try bench.formatted("ext4")
      let mount = try bench.mounted("ext4", device)
      let link = bench.disk + "/by-label"
      try Files.symlink(to: device, as: link)
      return UsedDestination(link, "it is mounted at \(mount.place)", by: mount.user)
    },
    Usage("it is mounted, and named by a bind mount of its node") { bench in
      let device = try bench.formatted("ext4")
      let mount = try bench.mounted("ext4", device)
      return UsedDestination(try bench.bound(device), "it is mounted at \(mount.place)", by: mount.user)
    },
  ]

  static let unknown = "it, or a part of it, is mounted, used as swap or held by another program or job"

  @Test("What the kernel keeps from being opened", arguments: held)
  func hold(usage: Usage) throws { try usage.check() }

  // MARK: What an exclusive open doesn't see

  static let files = [
    Usage("a loop device is set up over the file") { bench in
      let file = try bench.oldFile()
      let loop = try bench.over(file)
      return UsedDestination(file, "\(loop.path) is set up over it", by: loop.user)
    },
    Usage("a read-only one") { bench in
      let file = try bench.oldFile()
      let loop = try bench.over(file, "-r")
      return UsedDestination(file, "\(loop.path) is set up over it", by: loop.user)
    },
    Usage("one over a part of it, which is written too") { bench in
      let file = try bench.oldFile()
      let loop = try bench.over(file, offset: 2048, "--sizelimit", "4096")
      return UsedDestination(file, "\(loop.path) is set up over it", by: loop.user)
    },
    Usage("one over a hard link of it") { bench in
      let file = try bench.oldFile()
      let link = bench.disk + "/link"
      try Files.link(file, as: link)
      let loop = try bench.over(link)
      return UsedDestination(file, "\(loop.path) is set up over it", by: loop.user)
    },
    Usage("one that was set up when the file had another name") { bench in
      let file = try bench.oldFile()
      let loop = try bench.over(file)
      try Files.rename(file, to: file + ".new")
      return UsedDestination(file + ".new", "\(loop.path) is set up over it", by: loop.user)
    },
    Usage("one that was set up in another namespace, where the file has another name") { bench in
      let file = try bench.oldFile()
      let place = bench.disk + "/elsewhere"
      try Files.makeDirectory(place)
      let path = try privateMounts("mount --bind \(bench.disk) \(place) && losetup -f --show \(place)/old").run().orThrow().line
      let user = bench.once { try run("losetup", "-d", path).orThrow() }
      return UsedDestination(file, "\(path) is set up over it", by: user)
    },
    Usage("one that is mounted") { bench in
      let image = try bench.image()
      let loop = try bench.over(image)
      let mount = try bench.mounted("ext4", loop.path)
      return UsedDestination(image, "\(loop.path) is set up over it, and is mounted at \(mount.place)", by: mount.user, loop.user)
    },
    Usage("one that mount(8) set up, and that goes with the mount") { bench in
      let image = try bench.image()
      let mount = try bench.mounted("ext4", image, options: "loop,ro,noload")
      let loop = try run("findmnt", "-n", "-o", "SOURCE", mount.place).orThrow().line
      return UsedDestination(image, "\(loop) is set up over it, and is mounted at \(mount.place)", by: mount.user)
    },
    Usage("one of which a partition is mounted") { bench in
      let disk = try Disk(bench)
      try run("mkfs.ext4", "-q", disk.first).orThrow()
      let mount = try bench.mounted("ext4", disk.first)
      let text = "\(disk.path) is set up over it, and its partition \(disk.path)p1 is mounted at \(mount.place)"
      return UsedDestination(disk.file, text, also: [disk.path], by: mount.user, disk.user)
    },
    Usage("one over another one over it, which is used as swap") { bench in
      let file = try bench.oldFile()
      let lower = try bench.over(file)
      let upper = try bench.over(lower.path)
      let swap = try bench.swap(upper.path)
      return UsedDestination(file, "\(upper.path) is set up over it, and is used as swap", by: swap, upper.user, lower.user)
    },
    Usage("it is used as swap itself") { bench in
      let file = try bench.oldFile()
      return UsedDestination(file, "it is used as swap", by: try bench.swap(file))
    },
    Usage("it is used as swap, and named by a hard link") { bench in
      let file = try bench.oldFile(named: "swap file")
      let link = bench.disk + "/link"
      try Files.link(file, as: link)
      return UsedDestination(link, "it is used as swap", also: [file], by: try bench.swap(file))
    },
  ]

  @Test("Files under a loop device, and files that are swap", arguments: files)
  func file(usage: Usage) throws { try usage.check() }

  static let devices = [
    Usage("a loop device is set up over it") { bench in
      let device = try bench.loop(size: 8 << 20).path
      let loop = try bench.over(device)
      return UsedDestination(device, "\(loop.path) is set up over it", by: loop.user)
    },
    Usage("one that is mounted") { bench in
      let device = try bench.formatted("ext4")
      let loop = try bench.over(device)
      let mount = try bench.mounted("ext4", loop.path)
      return UsedDestination(device, "\(loop.path) is set up over it, and is mounted at \(mount.place)", by: mount.user, loop.user)
    },
    Usage("one over a partition of it, which is mounted") { bench in
      let disk = try Disk(bench)
      try run("mkfs.ext4", "-q", disk.first).orThrow()
      let loop = try bench.over(disk.first)
      let mount = try bench.mounted("ext4", loop.path)
      let text = "\(loop.path) is set up over it, and is mounted at \(mount.place)"
      return UsedDestination(disk.path + "@1M", text, of: disk.path, also: [disk.first], by: mount.user, loop.user)
    },
    Usage("it is a partition with a loop device over it, which is mounted") { bench in
      let disk = try Disk(bench)
      try run("mkfs.ext4", "-q", disk.first).orThrow()
      let loop = try bench.over(disk.first)
      let mount = try bench.mounted("ext4", loop.path)
      let text = "\(loop.path) is set up over it, and is mounted at \(mount.place)"
      return UsedDestination(disk.first, text, also: [disk.path], by: mount.user, loop.user)
    },
    Usage("it is a partition, and a loop device is set up over its disk") { bench in
      let disk = try Disk(bench)
      let loop = try bench.over(disk.path)
      return UsedDestination(disk.first, "\(loop.path) is set up over it", also: [disk.path], by: loop.user)
    },
    Usage("a second loop device is over the same file, and mounted") { bench in
      let image = try bench.image()
      let device = try bench.over(image)
      let other = try bench.over(image)
      let mount = try bench.mounted("ext4", other.path)
      let text = "\(other.path) is set up over it, and is mounted at \(mount.place)"
      return UsedDestination(device.path, text, also: [image], by: mount.user, other.user)
    },
    Usage("a disk in memory with a loop device over it") { bench in
      let device = try bench.memoryDisk()
      let loop = try bench.over(device, "-b", "4096")
      return UsedDestination(device, "\(loop.path) is set up over it", by: loop.user)
    },
    Usage("it is a loop device over a device that is mounted") { bench in
      let device = try bench.formatted("ext4")
      let loop = try bench.over(device)
      let mount = try bench.mounted("ext4", device)
      return UsedDestination(loop.path, "it lies over \(device): it is mounted at \(mount.place)", also: [device], by: mount.user)
    },
    Usage("it is a loop device over a partition that a program has for itself") { bench in
      let disk = try Disk(bench)
      let loop = try bench.over(disk.first)
      let program = try bench.holder("os.O_RDONLY | os.O_EXCL)", disk.path + "p1")
      let text = "it lies over \(disk.path)p1: \(unknown); process \(program.pid) (python3) has \(disk.path)p1 open"
      return UsedDestination(loop.path, text, also: [disk.path], by: program.user)
    },
    Usage("it is a loop device over a file that is used as swap") { bench in
      let file = try bench.oldFile()
      let loop = try bench.over(file)
      return UsedDestination(loop.path, "it is used as swap", also: [file], by: try bench.swap(file))
    },
  ]

  @Test("Devices under, over or beside a loop device", arguments: devices)
  func device(usage: Usage) throws { try usage.check() }

  // MARK: What is no use

  @Test("A loop device over another part of the destination is in nobody's way, nor one over its source")
  func beside() throws {
    try withDaemon { bench, daemon in
      let (source, file) = (try bench.loop(), try bench.oldFile())
      _ = try bench.over(file, offset: 1 << 20)
      _ = try bench.over(source.path)
      try daemon.copy("from=\(source.path)@0+1M to=\(file)", as: "file")
      let disk = try Disk(bench)
      _ = try bench.over(disk.second)
      try daemon.copy("from=\(source.path)@0+1M to=\(disk.first)", as: "partition")
      try daemon.copy("from=\(source.path)@0+1M to=\(disk.path)@1M", as: "disk")
      let partitions = try Disk(bench)
      _ = try bench.mounted(
        "ext4",
        {
          try run("mkfs.ext4", "-q", $0).orThrow()
          return $0
        }(partitions.second))
      try daemon.copy("from=\(source.path)@0+1M to=\(partitions.first)", as: "sibling")
    }
  }

  @Test("A user is refused likewise whose own file somebody else has set up a loop device over")
  func fileOfUser() throws {
    try withSharedDaemon { bench, daemon in
      let source = try bench.file(of: .alice, "source", Pattern.bytes(4096, seed: 1))
      let file = try bench.file(of: .alice, "image", Pattern.bytes(1 << 20, seed: 2))
      let loop = try bench.over(file)
      let before = try Standing(file)
      let record = "from=\(source) to=\(file)"
      #expect(try User.alice.submit(record, to: daemon) == "EBUSY")
      #expect(try User.alice.refusal(daemon) == "\(file): \(loop.path) is set up over it" && Standing(file) == before)
      try loop.user.release()
      #expect(try User.alice.submit(record, to: daemon) == "taken" && User.alice.result(daemon.job("job")) == "ok")
    }
  }

  @Test("A daemon of a user, who may not open loop devices, knows what they are over by the names of their files")
  func ofUser() throws {
    try withWorkbench { bench in
      let file = try bench.oldFile()
      _ = try bench.file("source", Pattern.bytes(4096, seed: 1))
      let loop = try bench.over(file)
      // A device over the machine's own, and a copy of the program, which may lie where only root can go.
      let script = """
        cd '\(bench.disk)'
        mknod -m 666 fuse c 10 229
        mount --bind fuse /dev/fuse
        install -m 755 '\(try Daemon.binary())' kcopyfs
        mkdir place
        chown nobody place old
        chmod 755 .
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups bash -c '
          ./kcopyfs "$PWD/place" -f -o state=none &
          until test -s place/version; do sleep 0.05; done
          echo "from=$PWD/source to=$PWD/old" >place/jobs/refused
          cat place/errors
          kill $!
          wait'
        """
      let before = try Standing(file)
      let outcome = try privateMounts(script).run()
      #expect(outcome.text.contains("error=EBUSY") && outcome.text.contains("\(file): \(loop.path) is set up over it"), "\(outcome)")
      #expect(try Standing(file) == before, "\(outcome)")
    }
  }

  // MARK: Read-only

  static let readOnly: [(String, @Sendable (Workbench) throws -> String)] = [
    ("a loop device that was set up read-only", { try $0.loop(readOnly: true).path }),
    (
      "a device that was made read-only",
      { bench in
        let device = try bench.loop().path
        try bench.makeReadOnly(device)
        return device
      }
    ),
    (
      "a partition that was made read-only",
      { bench in
        let disk = try Disk(bench)
        try bench.makeReadOnly(disk.first)
        return disk.first
      }
    ),
    (
      "a partition of a disk that was made read-only",
      { bench in
        let disk = try Disk(bench)
        try bench.makeReadOnly(disk.path)
        return disk.first
      }
    ),
  ]

  @Test("What is read-only is EROFS, and keeps its bytes", arguments: readOnly.indices)
  func refusesReadOnly(index: Int) throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let path = try Self.readOnly[index].1(bench)
      let before = try Standing(path)
      let record = "from=\(source.path)@0+4K to=\(path)"
      #expect(try errnoName { _ = try daemon.submit(record) } == "EROFS", "\(Self.readOnly[index].0)")
      #expect(try errnoName { try Files.write(daemon.path("check"), record + "\n", flags: O_WRONLY) } == "EROFS")
      #expect(try daemon.refusals.allSatisfy { $0["text"].hasPrefix(path + ": ") } && Standing(path) == before)
    }
  }
}

extension Workbench {
  fileprivate func makeReadOnly(_ device: String) throws {
    try run("blockdev", "--setro", device).orThrow()
    // Who gets the number next would find it so.
    atEnd { try run("blockdev", "--setrw", device).orThrow() }
  }
}
