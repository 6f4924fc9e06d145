import FaultKit
import Testing

@Suite("Errors on devices")
struct DeviceErrorTests {
  @Test("A write error on one of three destinations fails that one alone", arguments: [0, 1, 2])
  func write(failing: Int) throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let device = try bench.faultDevice()
      try device.setFaults([.write(2050...2050)])
      let good = try (0..<2).map { _ in try bench.loop() }
      var paths = good.map(\.path)
      paths.insert(device.path, at: failing)
      let job = try daemon.submit("from=\(source.path) " + paths.map { "to=\($0)" }.joined(separator: " "))
      #expect(try job.result() == "EIO")

      let status = try job.status()
      #expect(status["state"] == "failed" && status["read_err"] == "0", "\(status)")
      #expect(status["write_err"] == "0x\(1 << failing)", "\(status)")
      #expect(status["error"] == "EIO" && status["error_op"] == "write" && status["error_dest"] == "\(failing)", "\(status)")
      #expect(status["error_at"].hasSuffix("B"), "\(status)")
      for index in 0..<3 {
        #expect(status["dest\(index)_state"] == (index == failing ? "failed" : "done"), "\(status)")
        #expect(status["dest\(index)_error"] == (index == failing ? "EIO" : ""), "\(status)")
      }
      #expect(try job.value("read_err") == "0")
      #expect(try job.value("write_err") == "0x\(1 << failing)")
      #expect(try Words(job.text("dest/\(failing)/status"))["error"] == "EIO")
      for device in good { #expect(Pattern.difference(try device.contents(), from: bytes) == nil) }
      let cat = try run("cat", job.path + "/result")
      #expect(cat.ending == .exit(1) && cat.errorText.contains("Input/output error"), "\(cat)")
    }
  }

  @Test("When every destination fails, every bit is set")
  func allWrites() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let devices = try (0..<2).map { _ in try bench.faultDevice() }
      for device in devices { try device.setFaults([.write(0...8191)]) }
      let job = try daemon.submit("from=\(source.path) to=\(devices[0].path) to=\(devices[1].path)")
      #expect(try job.result() == "EIO")
      #expect(try job.value("write_err") == "0x3")
      #expect(try job.value("read_err") == "0")
      #expect(try job.value("state") == "failed")
    }
  }

  @Test("A read error ends the job with read_err alone, and no byte outside the regions is touched", arguments: [0, 4097, 8191])
  func read(sector: Int) throws {
    try withDaemon { bench, daemon in
      let source = try bench.faultDevice()
      try source.loop.fill(seed: 2)
      try source.setFaults([.read(sector...sector)])
      let devices = try (0..<2).map { _ in try bench.loop(size: 8 << 20) }
      let before = try devices.map { try $0.fill(seed: 3) }
      let job = try daemon.submit("from=\(source.path) to=\(devices[0].path)@1M to=\(devices[1].path)@2M")
      #expect(try job.result() == "EIO")

      let status = try job.status()
      #expect(status["state"] == "failed" && status["read_err"] == "1" && status["write_err"] == "0x0", "\(status)")
      #expect(status["error"] == "EIO" && status["error_op"] == "read", "\(status)")
      #expect(try job.value("read_err") == "1")
      #expect(try job.value("write_err") == "0x0")
      for (index, start) in [1 << 20, 2 << 20].enumerated() {
        let (after, old) = (try devices[index].contents(), before[index])
        #expect(after[..<start] == old[..<start] && after[(start + 4 << 20)...] == old[(start + 4 << 20)...], "destination \(index)")
        #expect(status["dest\(index)_state"] != "done", "\(status)")
      }
    }
  }

  @Test("A flush that fails sets its destination's bit; nothing is done that isn't durable")
  func flush() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: 1 << 20)
      let bytes = try source.fill(seed: 4)
      let good = try bench.loop(size: 1 << 20)
      let device = try bench.faultDevice(size: 1 << 20)
      try device.setFaults([.flush])
      let job = try daemon.submit("from=\(source.path) to=\(good.path) to=\(device.path)")
      #expect(try job.result() == "EIO")
      let status = try job.status()
      #expect(status["state"] == "failed" && status["read_err"] == "0" && status["write_err"] == "0x2", "\(status)")
      #expect(status["error"] == "EIO" && status["error_op"] == "flush" && status["error_dest"] == "1", "\(status)")
      #expect(status["dest0_state"] == "done" && status["dest1_state"] == "failed", "\(status)")
      #expect(Pattern.difference(try good.contents(), from: bytes) == nil)
      #expect(try Words(job.text("dest/1/status"))["bytes_durable"] == "0")
    }
  }

  @Test("A slow destination delays its job alone")
  func slow() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 5)
      let device = try bench.faultDevice()
      try device.setDelay(0.2)
      let fast = try bench.loop()
      let job = try daemon.submit("from=\(source.path) to=\(device.path)", as: "slow")
      try daemon.copy("from=\(source.path) to=\(fast.path)", as: "fast")
      #expect(try job.result() == "ok")
      #expect(Pattern.difference(try device.loop.contents(), from: bytes) == nil)
      #expect(Pattern.difference(try fast.contents(), from: bytes) == nil)
    }
  }

  @Test("After a failed job its devices are free, and the same copy succeeds once the fault is gone")
  func again() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 6)
      let device = try bench.faultDevice()
      try device.setFaults([.write(100...100)])
      let record = "from=\(source.path) to=\(device.path)"
      #expect(try daemon.submit(record, as: "first").result() == "EIO")
      try device.setFaults([])
      try daemon.copy(record, as: "second")
      #expect(Pattern.difference(try device.loop.contents(), from: bytes) == nil)
    }
  }
}
