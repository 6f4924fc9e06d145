import FaultKit
import Glibc
import Testing

@Suite("Flushes that fail, and devices that are full")
struct RestartFlushTests {
  /// The sectors that were written to a device, and how often each.
  private func writes(_ device: FaultDevice, since mark: Int = 0) throws -> [Int: Int] {
    Dictionary(try device.sectors(.write, since: mark).map { ($0, 1) }, uniquingKeysWith: +)
  }

  /// Whether what was written last to each sector came before the last flush that succeeded.
  private func endsFlushed(_ device: FaultDevice) throws -> Bool {
    let kinds = try device.events.compactMap { event -> FaultDevice.Kind? in
      if case .ended(let request) = event { request.kind } else { nil }
    }
    return kinds.lastIndex(of: .flush) ?? -1 > kinds.lastIndex(of: .write) ?? -1
  }

  @Test("A flush that fails in the middle of a copy: what it covered is read and written again, and flushed")
  func checkpoint() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device) = (try bench.faultDevice(), try bench.faultDevice())
      let bytes = try source.loop.fill(seed: 1)
      try device.setFaults([.flush(times: 1)])
      // Attaching the loop device has flushed too.
      let mark = try device.events.count
      let job = try mount.daemon.submit("from=\(source.path) to=\(device.path) rate=2M")
      #expect(try job.result() == "ok")
      let status = try job.status()
      #expect(status["write_err"] == "0x0" && status["error"] == "" && status.number("bytes_durable") == 4 << 20, "\(status)")
      let (written, read) = (try writes(device), try source.sectors(.read))
      #expect(written.count == 8192 && written.values.allSatisfy { $0 <= 2 })
      // A write that was submitted before the flush failed may have been lost with it too, although it came back later.
      let again = written.filter { $0.value == 2 }.keys
      let covered = try endedBeforeFlush(device, since: mark)
      #expect(!covered.isEmpty && Set(again).isSuperset(of: covered))
      #expect(Set(read.filter { sector in written[sector] == 2 }).count == again.count && read.count >= 8192 + again.count)
      #expect(try endsFlushed(device) && Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  /// The sectors whose writes had come back when the first flush since then was asked for.
  private func endedBeforeFlush(_ device: FaultDevice, since mark: Int) throws -> Set<Int> {
    var sectors: Set<Int> = []
    for event in try device.events.dropFirst(mark) {
      switch event {
      case .arrived(let request) where request.kind == .flush: return sectors
      case .ended(let request) where request.kind == .write:
        sectors.formUnion(request.offset / 512..<(request.offset + request.bytes) / 512)
      default: break
      }
    }
    return sectors
  }

  @Test("After a flush that failed, a restart takes nothing of what it covered for durable", arguments: Departure.allCases)
  func restarted(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      try device.setFaults([.flush])
      try mount.daemon.submit("from=\(source.path) to=\(device.path) rate=1500K errors=pause").reach("paused")
      let status = try mount.job().status()
      #expect(status["pause_reason"] == "EIO" && status["error_op"] == "flush" && status["write_err"] == "0x0", "\(status)")
      let mark = try device.requests.count
      try mount.restart(departure) { try device.setFaults([]) }
      #expect(try mount.job().control("rate=max") == "" && mount.job().result() == "ok")
      let written = try writes(device, since: mark)
      #expect(written.count == 8192, "all of it is written again")
      #expect(try endsFlushed(device) && Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("A flush that fails for good fails its destination alone, which a restart knows, and retry writes all of it again")
  func atTheEnd() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device, other) = (try bench.loop(), try bench.faultDevice(), try bench.loop())
      let bytes = try source.fill(seed: 1)
      try device.setFaults([.flush])
      let job = try mount.daemon.submit("from=\(source.path) to=\(other.path) to=\(device.path)")
      #expect(try job.result() == "EIO")
      try mount.restart(.killed)
      let status = try mount.job().status()
      #expect(status["write_err"] == "0x2" && status["error_op"] == "flush" && status["dest0_state"] == "done", "\(status)")
      #expect(try mount.job().lacking(1) == Array(0..<8192))
      try device.setFaults([])
      let (mark, untouched) = (try device.requests.count, try other.counters.bytesWritten)
      #expect(try mount.job().control("retry") == "" && mount.job().result() == "ok")
      #expect(try writes(device, since: mark).count == 8192 && other.counters.bytesWritten == untouched)
      #expect(try endsFlushed(device) && Pattern.difference(device.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("A destination that failed while the others went on stays failed in that attempt, whatever becomes of the daemon")
  func failedDestination() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, good, bad) = (try bench.loop(), try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      try bad.setFaults([.write(0...0)])
      let job = try mount.daemon.submit("from=\(source.path) to=\(good.path) to=\(bad.path) rate=1M")
      try eventually("its bit is set") { try job.value("write_err") == "0x2" }
      try eventually("the journal has it") {
        try sql("SELECT progress FROM destinations ORDER BY number", on: mount.journal).contains("state=failed")
      }
      try mount.stop(.killed)
      try bad.setFaults([])
      let mark = try bad.requests.count
      try mount.start()
      #expect(try mount.job().control("rate=max") == "" && mount.job().result() == "EIO")
      let status = try mount.job().status()
      #expect(status["write_err"] == "0x2" && status["dest0_state"] == "done" && status["dest1_state"] == "failed", "\(status)")
      #expect(try bad.sectors(.write, since: mark).isEmpty && Pattern.difference(good.contents(), from: bytes) == nil)
    }
  }

  @Test("A full file system pauses the job with ENOSPC, a restart too, and it goes on once there is room", arguments: Departure.allCases)
  func full(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let small = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/small", options: "size=2m"))
      let copy = small.path + "/copy"
      let isFull = {
        try mount.job().reach("paused")
        let status = try mount.job().status()
        #expect(status["pause_reason"] == "ENOSPC" && status["error"] == "ENOSPC" && status["write_err"] == "0x0", "\(status)")
      }
      _ = try mount.daemon.submit("from=\(source.path) to=\(copy) create=yes errors=pause")
      try isFull()
      #expect(try mount.job().control("resume") == "")
      try isFull()
      try mount.restart(departure)
      try isFull()
      try run("mount", "-o", "remount,size=8m", small.path).orThrow()
      #expect(try mount.job().control("resume") == "" && mount.job().result() == "ok")
      #expect(try Pattern.difference(Files.read(copy), from: bytes) == nil)
      // The file system goes before the daemon does.
      try mount.stop(.terminated)
    }
  }
}
