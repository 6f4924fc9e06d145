import FaultKit
import Glibc
import Testing

@Suite("errors=, and the maps that come of it")
struct ErrorModeTests {
  /// Sectors at the ends, alone, beside each other, and at the ends of sub-jobs.
  static let bad = [0, 1000, 1001, 2047, 2048, 4097, 8191]

  @Test("ignore: exactly the unreadable sectors are zeroes and `-` on every destination, their neighbours are copied")
  func unreadable() throws {
    try withDaemon { bench, daemon in
      let source = try bench.faultDevice()
      let bytes = try source.loop.fill(seed: 1)
      try source.setFaults(Self.bad.map { .read($0...$0) })
      let destinations = try (0..<2).map { _ in try bench.loop() }
      for device in destinations { try device.fill(seed: 2) }
      let job = try daemon.submit("from=\(source.path) to=\(destinations[0].path) to=\(destinations[1].path) errors=ignore")
      #expect(try job.result() == "EIO")

      var expected = bytes
      for sector in Self.bad { expected = Pattern.patched(expected, at: sector * 512, with: [UInt8](repeating: 0, count: 512)) }
      let status = try job.status()
      #expect(status["state"] == "failed" && status["read_err"] == "1" && status["write_err"] == "0x0", "\(status)")
      #expect(status["error"] == "EIO" && status["error_op"] == "read" && status["error_dest"] == "", "\(status)")
      #expect(status["error_length"] == "512" && Self.bad.map { "\($0 * 512)B" }.contains(status["error_at"]), "\(status)")
      let copied = (8192 - Self.bad.count) * 512
      #expect(status["bytes_done"] == "\(copied)" && status["bytes_durable"] == "\(copied)", "\(status)")
      for (index, device) in destinations.enumerated() {
        #expect(Pattern.difference(try device.contents(), from: expected) == nil)
        let map = try job.map(index)
        #expect(try map.sectors("-") == Self.bad && map.sectors("?").isEmpty, "\(map.text)")
        let own = try Words(job.text("dest/\(index)/status"))
        #expect(own["bytes_failed"] == "\(Self.bad.count * 512)" && own["bytes_durable"] == "\(copied)", "\(own)")
        #expect(own["dest_state"] == "failed", "\(own)")
      }
    }
  }

  @Test("ignore: exactly the sectors that can't be written are `-` on their destination; the other one is done")
  func unwritable() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let (device, good) = (try bench.faultDevice(), try bench.loop())
      try device.setFaults(Self.bad.map { .write($0...$0) })
      let job = try daemon.submit("from=\(source.path) to=\(good.path) to=\(device.path) errors=ignore")
      #expect(try job.result() == "EIO")
      let status = try job.status()
      #expect(status["state"] == "failed" && status["read_err"] == "0" && status["write_err"] == "0x2", "\(status)")
      #expect(status["error_op"] == "write" && status["error_dest"] == "1" && status["error_length"] == "512", "\(status)")
      #expect(status["dest0_state"] == "done" && status["dest1_state"] == "failed" && status["dest1_error"] == "EIO", "\(status)")
      #expect(try job.map(0).isDone)
      let map = try job.map(1)
      #expect(try map.sectors("-") == Self.bad && map.sectors("?").isEmpty, "\(map.text)")
      #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
      #expect(differing(0..<8192, try device.loop.contents(), bytes) == Self.bad)
      #expect(try Words(job.text("dest/1/status"))["bytes_failed"] == "\(Self.bad.count * 512)")
    }
  }

  @Test("ignore, in source offsets: of a region in the middle the map names the source's sectors, whichever side failed")
  func offsets() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.faultDevice(), try bench.faultDevice())
      try source.loop.fill(seed: 1)
      try source.setFaults([.read(3000...3000), .read(0...2047)])
      try device.setFaults([.write(1100...1100), .write(4096...8191)])
      let job = try daemon.submit("from=\(source.path)@1M+1M to=\(device.path)@512K errors=ignore")
      #expect(try job.result() == "EIO")
      #expect(try job.value("read_err") == "1" && job.value("write_err") == "0x1")
      // The destination's region begins at its sector 1024, the source's at 2048.
      #expect(try job.map().sectors("-") == [2048 + 1100 - 1024, 3000])
    }
  }

  @Test("drop: the destination's first bad sector is named, and the others are done", arguments: ["", " errors=drop"])
  func drop(keys: String) throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let (device, good) = (try bench.faultDevice(), try bench.loop())
      try device.setFaults([.write(2050...2050)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) to=\(good.path)" + keys)
      #expect(try job.result() == "EIO")
      let status = try job.status()
      #expect(status["read_err"] == "0" && status["write_err"] == "0x1", "\(status)")
      #expect(status["error_at"] == "\(2050 * 512)B" && status["error_length"] == "512" && status["error_dest"] == "0", "\(status)")
      #expect(status["dest0_state"] == "failed" && status["dest1_state"] == "done", "\(status)")
      #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
      let map = try job.map(0)
      #expect(try map.sectors("-") == [2050], "\(map.text)")
      #expect(differing(try map.sectors("+"), try device.loop.contents(), bytes).isEmpty)
      #expect(try job.map(1).isDone)
      let own = try Words(job.text("dest/0/status"))
      #expect(own["error"] == "EIO" && own["error_at"] == "\(2050 * 512)B" && own["error_length"] == "512", "\(own)")
      #expect(own["bytes_failed"] == "512", "\(own)")
    }
  }

  @Test("drop and stop: a read error ends the job, and what `+` names is on the disk", arguments: ["drop", "stop"])
  func read(mode: String) throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.faultDevice(), try bench.loop())
      let bytes = try source.loop.fill(seed: 1)
      try source.setFaults([.read(5000...5000)])
      let job = try daemon.submit("from=\(source.path) to=\(destination.path) errors=\(mode)")
      #expect(try job.result() == "EIO")
      let status = try job.status()
      #expect(status["read_err"] == "1" && status["write_err"] == "0x0" && status["dest0_state"] == "failed", "\(status)")
      #expect(status["error_op"] == "read" && status["error_at"] == "\(5000 * 512)B" && status["error_length"] == "512", "\(status)")
      let map = try job.map()
      let durable = try map.sectors("+")
      #expect(!durable.contains(5000) && status.number("bytes_durable") == durable.count * 512, "\(map.text)")
      #expect(differing(durable, try destination.contents(), bytes).isEmpty)
      #expect(try map.sectors("-").allSatisfy { $0 == 5000 })
    }
  }

  @Test("stop: an error of one destination ends the job for all; only its bit is set")
  func stop() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: 16 << 20)
      let bytes = try source.fill(seed: 1)
      let (device, good) = (try bench.faultDevice(size: 16 << 20), try bench.loop(size: 16 << 20))
      try device.setFaults([.write(0...0)])
      let job = try daemon.submit("from=\(source.path) to=\(good.path) to=\(device.path) errors=stop rate=4M")
      #expect(try job.result() == "EIO")
      let status = try job.status()
      #expect(status["write_err"] == "0x2" && status["read_err"] == "0" && status["error_at"] == "0B", "\(status)")
      #expect(status["dest0_state"] == "failed" && status["dest0_error"] == "" && status["dest1_error"] == "EIO", "\(status)")
      let map = try job.map(0)
      #expect(try !map.isDone && map.sectors("-").isEmpty)
      #expect(differing(try map.sectors("+"), try good.contents(), bytes).isEmpty)
      #expect(try job.map(1).sectors("-") == [0])
    }
  }

  enum Side: String, CaseIterable {
    case read, write
  }

  /// A job that pauses with an error at sector 2050 of its source, or of the second of its two destinations.
  struct Paused {
    let faulty: FaultDevice
    let bytes: [UInt8]
    let job: Job
    let client: Client
    let destinations: [LoopDevice]

    init(_ bench: Workbench, _ daemon: Daemon, _ side: Side) throws {
      faulty = try bench.faultDevice()
      client = daemon.client("default")
      let other = try bench.loop()
      let good = try bench.loop()
      let source = side == .read ? faulty.loop : other
      bytes = try source.fill(seed: 1)
      destinations = [good, side == .read ? other : faulty.loop]
      try faulty.setFaults([side == .read ? .read(2050...2050) : .write(2050...2050)])
      job = try daemon.submit("from=\(source.path) to=\(destinations[0].path) to=\(destinations[1].path) errors=pause")
      try job.reach("paused")
    }

    /// Waits until nothing is in flight: what is holds pages.
    func quieten() throws {
      let pages = try client.value("pages")
      try eventually("no page is in use") { try client.value("pages_free") == pages }
    }

    func touches(_ kind: FaultDevice.Kind) throws -> Int {
      try faulty.requests.filter { $0.kind == kind && $0.offset <= 2050 * 512 && $0.offset + $0.bytes > 2050 * 512 }.count
    }
  }

  @Test("pause: the job waits with its reason, and once the fault is gone resume ends it without a bit", arguments: Side.allCases)
  func pause(side: Side) throws {
    try withDaemon { bench, daemon in
      let paused = try Paused(bench, daemon, side)
      let job = paused.job
      let status = try job.status()
      #expect(status["state"] == "paused" && status["pause_reason"] == "EIO" && status["error"] == "EIO", "\(status)")
      #expect(status["error_op"] == side.rawValue && status["error_dest"] == (side == .read ? "" : "1"), "\(status)")
      #expect(status["error_at"] == "\(2050 * 512)B" && status["error_length"] == "512", "\(status)")
      #expect(status["read_err"] == "0" && status["write_err"] == "0x0" && status["finished_at"] == "", "\(status)")
      #expect(try job.map(1).sectors("-").isEmpty)
      #expect(try errnoName { try Files.removeDirectory(job.path) } == "EBUSY")
      let waiter = try Command("cat", [job.path + "/wait"]).start()
      // The fault is still there: it is tried again, and the job pauses again.
      let before = try paused.touches(side == .read ? .read : .write)
      #expect(try job.control("resume") == "")
      try eventually("it was tried again") { try paused.touches(side == .read ? .read : .write) > before }
      try job.reach("paused")
      #expect(waiter.running)
      try paused.quieten()

      try paused.faulty.setFaults([])
      #expect(try job.control("resume") == "")
      #expect(try job.result() == "ok")
      let end = try Words(waiter.wait(within: .seconds(10)).text)
      #expect(end["state"] == "done" && end["pause_reason"] == "" && end["error"] == "", "\(end)")
      #expect(end["read_err"] == "0" && end["write_err"] == "0x0", "\(end)")
      for (index, device) in paused.destinations.enumerated() {
        #expect(Pattern.difference(try device.contents(), from: paused.bytes) == nil)
        #expect(try job.map(index).isDone)
      }
    }
  }

  @Test("pause, and cancelled there: no bit, and the devices are free", arguments: Side.allCases)
  func cancelled(side: Side) throws {
    try withDaemon { bench, daemon in
      let paused = try Paused(bench, daemon, side)
      #expect(try paused.job.control("cancel") == "")
      #expect(try paused.job.result() == "ECANCELED")
      let status = try paused.job.status()
      #expect(status["state"] == "cancelled" && status["read_err"] == "0" && status["write_err"] == "0x0", "\(status)")
      #expect(status["pause_reason"] == "" && status["dest1_state"] == "cancelled", "\(status)")
      // Who had all of it before the error is done.
      #expect(try status["dest0_state"] == (paused.job.map(0).isDone ? "done" : "cancelled"), "\(status)")
      for device in paused.destinations { try OpenFile(device.path, O_RDWR | O_EXCL).close() }
    }
  }

  @Test("pause: a flush that fails pauses too; resumed, all of it is written again and flushed")
  func flush() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let device = try bench.faultDevice()
      try device.setFaults([.flush])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) errors=pause")
      try job.reach("paused")
      let status = try job.status()
      #expect(status["pause_reason"] == "EIO" && status["error_op"] == "flush" && status["error_dest"] == "0", "\(status)")
      #expect(status["bytes_durable"] == "0" && status["write_err"] == "0x0", "\(status)")
      #expect(try job.map().sectors("?").count == 8192)
      try device.setFaults([])
      let before = try device.requests.count
      #expect(try job.control("resume") == "")
      #expect(try job.result() == "ok")
      let again = try device.requests.dropFirst(before).filter { $0.kind == .write }.reduce(0) { $0 + $1.bytes }
      #expect(again == 4 << 20, "a second flush alone would say nothing of what the first one lost")
      #expect(try job.map().isDone && job.value("write_err") == "0x0")
      #expect(Pattern.difference(try device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("retries: a transfer is tried again that many times, and what that cures sets no bit", arguments: Side.allCases, [2, 1])
  func retries(side: Side, retries: Int) throws {
    try withDaemon { bench, daemon in
      let (faulty, other) = (try bench.faultDevice(), try bench.loop())
      let (source, destination) = side == .read ? (faulty.loop, other) : (other, faulty.loop)
      let bytes = try source.fill(seed: 1)
      try faulty.setFaults([side == .read ? .read(2050...2050, times: 2) : .write(2050...2050, times: 2)])
      let mark = try faulty.requests.count
      let job = try daemon.submit("from=\(source.path) to=\(destination.path) retries=\(retries) errors=stop")
      let result = try job.result()
      let place = 2050 * 512
      let tries = try faulty.requests.dropFirst(mark).count { request in
        request.kind == (side == .read ? .read : .write) && request.offset <= place && place < request.offset + request.bytes
      }
      let status = try job.status()
      if retries == 2 {
        #expect(result == "ok" && status["write_err"] == "0x0" && status["read_err"] == "0" && status["error"] == "", "\(status)")
        #expect(Pattern.difference(try destination.contents(), from: bytes) == nil)
        #expect(tries == 3)
      } else {
        #expect(result == "EIO" && status["error_op"] == side.rawValue, "\(status)")
        #expect(status["write_err"] == (side == .write ? "0x1" : "0x0") && status["read_err"] == (side == .read ? "1" : "0"), "\(status)")
      }
    }
  }

  @Test("Blocks of 4096 bytes: one bad one costs its eight sectors, and no more", arguments: Side.allCases)
  func largeBlocks(side: Side) throws {
    try withDaemon { bench, daemon in
      let (faulty, other) = (try bench.faultDevice(logicalBlock: 4096), try bench.loop(sectorSize: 4096))
      let (source, destination) = side == .read ? (faulty.loop, other) : (other, faulty.loop)
      let bytes = try source.fill(seed: 1)
      try faulty.setFaults([side == .read ? .read(2050...2050) : .write(2050...2050)])
      let job = try daemon.submit("from=\(source.path) to=\(destination.path) errors=ignore")
      #expect(try job.result() == "EIO")
      let block = Array(2048..<2056)
      #expect(try job.map().sectors("-") == block && job.map().sectors("?").isEmpty)
      #expect(differing(0..<8192, try destination.contents(), bytes) == block)
      #expect(try job.status()["error_length"] == "4096" && job.status()["error_at"] == "\(2048 * 512)B")
    }
  }

  @Test("order=sequential: each destination is written in ascending order, one write after the other")
  func sequential() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let device = try bench.faultDevice()
      try daemon.copy("from=\(source.path) to=\(device.path) order=sequential")
      let offsets = try device.requests.filter { $0.kind == .write }.map(\.offset)
      // The layers below cut a write into requests, which may pass each other; sub-jobs of 1 MiB don't.
      let subJobs = offsets.map { $0 >> 20 }
      #expect(subJobs == subJobs.sorted(), "\(offsets)")
      #expect(Pattern.difference(try device.loop.contents(), from: bytes) == nil)
    }
  }
}
