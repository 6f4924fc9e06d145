import FaultKit
import Glibc
import Testing

@Suite("verify=yes")
struct VerifyTests {
  /// A byte of the region, and where its sector begins.
  static let byte = 1_234_567
  static let sector = byte / 512 * 512

  /// A copy to a device that changes a byte when all is written and flushed, and before any of it is read back.
  private func changed(
    _ bench: Workbench, _ daemon: Daemon, keys: String = "", others: [String] = []
  ) throws -> (job: Job, source: FaultDevice, device: FaultDevice, bytes: [UInt8]) {
    let (source, device) = (try bench.faultDevice(), try bench.faultDevice())
    let bytes = try source.loop.fill(seed: 1)
    try device.hold(.read)
    let places = ([device.path] + others).map { "to=\($0)" }.joined(separator: " ")
    let job = try daemon.submit("from=\(source.path) \(places) verify=yes \(keys)")
    // Of this device nothing but what it holds is read.
    try eventually("the read-back has begun") { try device.requests.contains { $0.kind == .read } }
    try device.flip(at: Self.byte)
    return (job, source, device, bytes)
  }

  @Test("A byte that changes behind the flush is a write_err with its place; the destination that holds what it was given is done")
  func changedByte() throws {
    try withDaemon { bench, daemon in
      let good = try bench.loop()
      let (job, source, device, bytes) = try changed(bench, daemon, others: [good.path])
      let before = try job.status()
      #expect(before["state"] == "running" && before["dest0_state"] == "running" && before.number("bytes_durable") == 4 << 20, "\(before)")
      try eventually("the other destination is verified") { try job.status()["dest1_state"] == "done" }
      #expect(try job.status()["phase"] == "verify")
      try device.open(.read)
      #expect(try job.result() == "EILSEQ")
      let status = try job.status()
      #expect(status["state"] == "failed" && status["read_err"] == "0" && status["write_err"] == "0x1", "\(status)")
      #expect(status["error"] == "EILSEQ" && status["error_op"] == "verify" && status["error_dest"] == "0", "\(status)")
      #expect(status["error_at"] == "\(Self.sector)B" && status["error_length"] == "512" && status["phase"] == "", "\(status)")
      #expect(status["dest0_state"] == "failed" && status["dest0_error"] == "EILSEQ" && status["dest1_state"] == "done", "\(status)")
      #expect(status["warning"] == "", "\(status)")
      #expect(try job.map(0).sectors("?") == [Self.sector / 512] && job.map(1).isDone)
      // Only the sub-job that differs is read from the source again, to find the place.
      let read = try source.sectors(.read, since: 0)
      #expect(read.count > 8192 && read.count <= 8192 + 2048 && Set(read).count == 8192)
      #expect(try Pattern.difference(good.contents(), from: bytes) == nil)
    }
  }

  @Test("retry writes what differs anew, and verifies all of the destination")
  func retry() throws {
    try withDaemon { bench, daemon in
      let (job, _, device, bytes) = try changed(bench, daemon)
      try device.open(.read)
      #expect(try job.result() == "EILSEQ" && job.lacking() == [Self.sector / 512])
      let mark = try device.requests.count
      #expect(try job.control("retry") == "" && job.result() == "ok")
      #expect(try device.sectors(.write, since: mark) == [Self.sector / 512])
      #expect(try Set(device.sectors(.read, since: mark)).count == 8192)
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("errors=pause waits with EILSEQ; resumed, what differs is written again and verified")
  func pause() throws {
    try withDaemon { bench, daemon in
      let (job, _, device, bytes) = try changed(bench, daemon, keys: "errors=pause")
      try device.open(.read)
      try job.reach("paused")
      let status = try job.status()
      #expect(status["pause_reason"] == "EILSEQ" && status["error_op"] == "verify" && status["write_err"] == "0x0", "\(status)")
      #expect(try job.control("resume") == "" && job.result() == "ok")
      #expect(try Pattern.difference(device.loop.contents(), from: bytes) == nil && job.value("write_err") == "0x0")
    }
  }

  @Test("A stick that claims more than it holds is found out")
  func falseCapacity() throws {
    try withDaemon { bench, daemon in
      let (source, stick) = (try bench.loop(), try bench.faultDevice())
      try source.fill(seed: 1)
      try stick.setCapacity(1 << 20)
      let plain = try daemon.copy("from=\(source.path) to=\(stick.path)", as: "plain")
      #expect(try plain.value("state") == "done")
      let job = try daemon.submit("from=\(source.path) to=\(stick.path) verify=yes")
      #expect(try job.result() == "EILSEQ")
      #expect(try job.status()["error_op"] == "verify" && job.value("write_err") == "0x1")
    }
  }

  @Test("The source is read once and each destination is read back once, all of it")
  func counts() throws {
    try withDaemon { bench, daemon in
      let source = try bench.faultDevice()
      try source.loop.fill(seed: 1)
      let devices = try (0..<2).map { _ in try bench.faultDevice() }
      try daemon.copy("from=\(source.path) to=\(devices[0].path) to=\(devices[1].path) verify=yes")
      for device in [source] + devices { #expect(try device.sectors(.read, since: 0).sorted() == Array(0..<8192)) }
    }
  }

  @Test("Files are read back past the page cache wherever their regions begin and end; in memory they can't be, and status says so")
  func cache() throws {
    try withDaemon { bench, daemon in
      let bytes = Pattern.bytes(3_000_001, seed: 1)
      let source = try bench.file("source", bytes)
      for (name, isInMemory) in [("disk", false), ("memory", true)] {
        let path = try bench.file(name, Pattern.bytes(5000, seed: 2), inMemory: isInMemory)
        let job = try daemon.copy("from=\(source)@77B+2900001B to=\(path)@1234B verify=yes", as: name)
        let status = try job.status()
        #expect(status["warning"] == (isInMemory ? "verified-in-cache" : ""), "\(status)")
        #expect(try Pattern.difference(Array(Files.read(path)[1234...]), from: Array(bytes[77..<77 + 2_900_001])) == nil)
      }
    }
  }

  @Test("A file system without direct transfers lets go of its pages, and then they are read from the medium")
  func buffered() throws {
    try withDaemon { bench, daemon in
      let disk = try bench.loop(size: 512 << 20)
      try run("mkfs.btrfs", "-q", disk.path).orThrow()
      let mount = try bench.keep(Mount(type: "btrfs", device: disk.path, on: bench.disk + "/buffered"))
      let bytes = Pattern.bytes(9_000_001, seed: 1)
      let source = try bench.file("source", bytes)
      let mark = try disk.counters.bytesRead
      let job = try daemon.copy("from=\(source) to=\(mount.path)/image create=yes verify=yes")
      #expect(try job.status()["warning"] == "")
      #expect(try disk.counters.bytesRead - mark >= bytes.count)
    }
  }

  @Test("Zeroes are verified as well")
  func zeroes() throws {
    try withDaemon { bench, daemon in
      let device = try bench.faultDevice()
      try device.loop.fill(seed: 1)
      try device.hold(.read)
      let job = try daemon.submit("op=zero to=\(device.path)@1M+2M verify=yes")
      try eventually("the read-back has begun") { try device.requests.contains { $0.kind == .read } }
      try device.flip(at: 2 << 20)
      try device.open(.read)
      #expect(try job.result() == "EILSEQ" && job.status()["error_at"] == "\(2 << 20)B")
      #expect(try job.control("retry") == "" && job.result() == "ok")
    }
  }

  @Test("A sector that can't be read back is an error of the verification, with its errno and place")
  func unreadable() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      try source.fill(seed: 1)
      try device.setFaults([.read(3000...3000)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) verify=yes")
      #expect(try job.result() == "EIO")
      let status = try job.status()
      #expect(status["error_op"] == "verify" && status["error_at"] == "\(3000 * 512)B" && status["write_err"] == "0x1", "\(status)")
      try device.setFaults([])
      #expect(try job.control("retry") == "" && job.result() == "ok")
    }
  }

  @Test(
    "A restart in its middle verifies all of it against the source, and finds what differs", arguments: Departure.allCases, [false, true])
  func restart(_ departure: Departure, _ differs: Bool) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device) = (try bench.faultDevice(), try bench.faultDevice())
      try source.loop.fill(seed: 1)
      try device.hold(.read)
      // Long enough to be written down.
      _ = try mount.daemon.submit("from=\(source.path) to=\(device.path) verify=yes rate=2M")
      try eventually("the read-back has begun") { try device.requests.contains { $0.kind == .read } }
      try eventually("the journal has that all is flushed") {
        try sql("SELECT progress FROM destinations", on: mount.journal).contains(" durable=\(4 << 20)")
      }
      if differs { try device.flip(at: Self.byte) }
      try mount.stop(departure) { try device.open(.read) }
      let mark = try device.requests.count
      let read = try source.requests.count
      try mount.start()
      let job = mount.job()
      #expect(try job.control("rate=max") == "" && job.result() == (differs ? "EILSEQ" : "ok"))
      if !differs {
        for (device, mark) in [(device, mark), (source, read)] { #expect(try Set(device.sectors(.read, since: mark)).count == 8192) }
      }
      #expect(try device.sectors(.write, since: mark).isEmpty)
      #expect(try job.value("write_err") == (differs ? "0x1" : "0x0"))
    }
  }

  @Test("cancel in its middle leaves no destination that counts as done; retry verifies it")
  func cancel() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      try source.fill(seed: 1)
      try device.hold(.read)
      let job = try daemon.submit("from=\(source.path) to=\(device.path) verify=yes")
      try eventually("the read-back has begun") { try device.requests.contains { $0.kind == .read } }
      #expect(try job.control("cancel") == "")
      try device.open(.read)
      #expect(try job.result() == "ECANCELED" && job.status()["dest0_state"] == "cancelled")
      let mark = try device.requests.count
      #expect(try job.control("retry") == "" && job.result() == "ok")
      #expect(try device.sectors(.write, since: mark).isEmpty && Set(device.sectors(.read, since: mark)).count == 8192)
    }
  }
}
