import FaultKit
import Glibc
import Testing

@Suite("What was broken once")
struct BrokenOnceTests {
  @Test("A refused record never shortens a file that another job has written to since")
  func growth() throws {
    try withDaemon { bench, daemon in
      let hanging = try bench.faultDevice()
      let original = Pattern.bytes(1 << 20, seed: 1)
      let (source, shared) = (try bench.file("source", original), try bench.file("shared", []))
      hanging.hang()
      let script = """
        import os, sys, errno
        try: os.write(os.open(sys.argv[1], os.O_RDWR), sys.argv[2].encode())
        except OSError as e: print(errno.errorcode[e.errno])
        """
      let batch = "from=\(source) to=\(shared)@0\nfrom=\(hanging.file) to=\(bench.disk)/other create=yes\n"
      let writer = try pythonCommand(script, [daemon.path("submit"), batch]).start()
      // The first record of the batch has it, and the second hangs.
      let descriptors = "/proc/\(daemon.process.pid)/fd"
      try eventually("\(shared) is open") {
        try Files.names(in: descriptors).contains { Files.target("\(descriptors)/\($0)") == shared }
      }
      try daemon.copy("from=\(source) to=\(shared)@1M", as: "victim")
      #expect(try writer.wait(within: .seconds(20)).line == "ETIMEDOUT")
      hanging.goOn()
      try eventually("the late admission is undone") {
        try errnoName { try daemon.copy("from=\(source)@0+1B to=\(shared)", as: "again") }.isEmpty
      }
      let expected = Pattern.patched([UInt8](repeating: 0, count: 1 << 20), at: 1 << 20, with: original)
      #expect(Pattern.difference(try Files.read(shared), from: Pattern.patched(expected, at: 0, with: original[0..<1])) == nil)
      #expect(try daemon.jobNames.sorted() == ["again", "victim"])
    }
  }

  @Test("A job whose destination failed a flush for another job while it was writing writes again what that flush may have lost")
  func sharedFlush() throws {
    try withDaemon { bench, daemon in
      let (slow, source, destination) = (
        try bench.faultDevice(size: 2 << 20), try bench.loop(size: 1 << 20), try bench.faultDevice(size: 4 << 20)
      )
      try slow.hold(.read)
      let waiting = try daemon.submit("from=\(source.path) to=\(destination.path)@3M to=\(bench.disk)/copy create=yes", as: "first")
      #expect(try waiting.result() == "ok")
      let job = try daemon.submit("from=\(slow.path) to=\(destination.path)", as: "job")
      try eventually("it is running") { try job.value("state") == "running" }
      try destination.setFaults([.flush])
      let other = try daemon.submit("from=\(source.path) to=\(destination.path)@2M", as: "other")
      #expect(try other.result() == "EIO")
      try destination.setFaults([])
      try slow.open(.read)
      #expect(try job.result() == "ok")
      #expect(try job.status()["bytes_durable"] == "2097152")
      try daemon.copy("from=\(slow.path) to=\(destination.path)", as: "afterwards")
    }
  }

  @Test("Blocks of 4096 bytes get whole blocks, wherever in a page the file on the other side begins")
  func blocks() throws {
    try withDaemon { bench, daemon in
      let device = try bench.loop(size: 4 << 20, sectorSize: 4096)
      try device.fill(seed: 3)
      let file = try bench.file("file", Pattern.bytes(100, seed: 4))
      try checkedCopy(daemon, from: .block(device), at: 4096, count: 3 << 20, to: [(.file(file), 512)], as: "out")
      let second = try bench.file("second", [])
      try checkedCopy(daemon, from: .file(file), at: 512, count: 2 << 20, to: [(.file(second), 512), (.block(device), 8192)], as: "back")
    }
  }

  @Test("A second record into a placeholder through another open of it is EBUSY")
  func placeholder() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let record = "from=\(source) to=\(bench.disk)/copy create=yes\n"
      let script = """
        import os, sys, errno
        first, second = (os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT) for _ in range(2))
        os.write(first, sys.argv[2].encode())
        try: os.write(second, sys.argv[2].encode())
        except OSError as e: print(errno.errorcode[e.errno])
        """
      #expect(try python(script, daemon.path("jobs/twice"), record).orThrow().line == "EBUSY")
      #expect(try daemon.job("twice").result() == "ok")
    }
  }

  @Test("max_jobs holds within one write: the good records before it stand")
  func quotaInBatch() throws {
    try withDaemon(options: ["max_jobs=3"]) { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let records = (0..<5).map { "from=\(source) to=\(bench.disk)/copy\($0) create=yes\n" }
      let script = """
        import os, sys, errno
        file = os.open(sys.argv[1], os.O_RDWR)
        print(os.write(file, sys.argv[2].encode()))
        """
      let count = try python(script, daemon.path("submit"), records.joined()).orThrow().line
      #expect(count == String(records[0..<3].joined().utf8.count))
      #expect(try daemon.jobNames.count == 3)
      #expect(!Files.exists(bench.disk + "/copy3") && !Files.exists(bench.disk + "/copy4"))
    }
  }

  @Test("ctl takes a whole command without its newline, refuses half of one at close, and is not for long texts")
  func control() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script = """
        import os, sys, errno
        def answer(data):
            file = os.open(sys.argv[1], os.O_WRONLY)
            try: os.write(file, data); os.close(file); return "ok"
            except OSError as e: return errno.errorcode[e.errno]
        print(answer(b"canc"), answer(b"\\n" * (1 << 20)), answer(b"cancel"))
        """
      #expect(try python(script, held.job.path + "/ctl").orThrow().line == "EINVAL EINVAL ok")
      #expect(try held.job.status()["phase"] == "cancelling")
      try held.letGo()
      #expect(try held.job.result() == "ECANCELED")
      #expect(try Files.text(held.job.path + "/ctl").isEmpty, "cp -a and grep -r of root find nothing there")
    }
  }

  @Test("A name that only looks like a job's is not the job's")
  func lookalike() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      try daemon.copy("from=\(source) to=\(bench.disk)/copy create=yes", as: "Kelvin")
      #expect(try errnoName { if rmdir(daemon.path("jobs/\u{212A}elvin")) != 0 { throw SystemError(errno, "rmdir") } } == "ENOENT")
      #expect(try daemon.jobNames == ["Kelvin"])
    }
  }

  @Test("chmod of a final job shows in its files, and list shows it only to those who may read them")
  func permissions() throws {
    try withDaemon(options: ["allow_other"]) { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let job = try daemon.copy("from=\(source) to=\(bench.disk)/copy create=yes", as: "secret")
      try run("chmod", "700", bench.disk).orThrow()
      try run("chmod", "755", bench.disk).orThrow()
      let listed = { try run("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "cat", daemon.path("list")).orThrow().text }
      #expect(try listed().contains("job=secret"))
      try run("chmod", "700", job.path).orThrow()
      try eventually("the files follow") { try Files.mode(job.path + "/spec") == 0o100400 }
      #expect(try listed().isEmpty)
    }
  }

  @Test("A path in another mount of kcopyfs is ELOOP: its files are no data")
  func otherMount() throws {
    try withDaemon { bench, daemon in
      let mount = bench.disk + "/other"
      try Files.makeDirectory(mount)
      let other = try bench.daemon(on: mount)
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      #expect(try errnoName { _ = try daemon.submit("from=\(source) to=\(other.path("submit"))") } == "ELOOP")
      #expect(try errnoName { _ = try daemon.submit("from=\(other.path("README")) to=\(bench.disk)/copy create=yes") } == "ELOOP")
      try daemon.expectNoJobs()
    }
  }
}
