import FaultKit
import Glibc
import Testing

@Suite("hash=sha256")
struct HashTests {
  /// What `sha256sum` says of these bytes.
  static func sum(_ bytes: [UInt8], _ bench: Workbench) throws -> String {
    let path = try bench.file("sum", bytes, inMemory: true)
    return String(try run("sha256sum", path).orThrow().text.prefix(64))
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var start = 0
    var count: Int
    var destinations = 1
    var testDescription: String { "\(count) bytes at \(start), to \(destinations)" }
  }

  static let cases = [
    Case(count: 1), Case(count: 4095), Case(start: 1, count: 4096), Case(start: 777, count: 2_500_001), Case(count: 3 << 20),
    Case(start: 4096, count: 3 << 20, destinations: 3), Case(start: 5, count: 2_999_999, destinations: 3),
  ]

  @Test("digest= is the sha256sum of the region of a file, wherever it begins and ends", arguments: cases)
  func files(_ region: Case) throws {
    try withDaemon { bench, daemon in
      let bytes = Pattern.bytes(4 << 20, seed: 1)
      let source = try bench.file("source", bytes)
      let places = (0..<region.destinations).map { "to=\(bench.disk)/copy\($0)" }.joined(separator: " ")
      let job = try daemon.copy("from=\(source)@\(region.start)B+\(region.count)B \(places) create=yes hash=sha256")
      #expect(try job.status()["digest"] == Self.sum(Array(bytes[region.start..<region.start + region.count]), bench))
    }
  }

  @Test("Of a disk to three, one of them slow, the source is read once where nobody is left behind, and the digest is right")
  func devices() throws {
    try withDaemon { bench, daemon in
      let source = try bench.faultDevice()
      let bytes = try source.loop.fill(seed: 1)
      let others = try (0..<2).map { _ in try bench.loop() }
      let slow = try bench.faultDevice()
      let job = try daemon.copy("from=\(source.path) to=\(others[0].path) to=\(others[1].path) hash=sha256", as: "even")
      #expect(try source.sectors(.read, since: 0).sorted() == Array(0..<8192))
      try slow.setDelay(0.3)
      let second = try daemon.copy(
        "from=\(source.path) to=\(others[0].path) to=\(slow.path) to=\(others[1].path) hash=sha256 verify=yes", as: "uneven")
      let sum = try Self.sum(bytes, bench)
      for job in [job, second] { #expect(try job.status()["digest"] == sum) }
      #expect(try second.text("status.json").contains("\"digest\":\"\(sum)\""))
    }
  }

  @Test("With ignore it is the sha256sum of the region as it was written: zeroes where a sector is bad")
  func badSector() throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.faultDevice(), try bench.loop())
      try source.loop.fill(seed: 1)
      try source.setFaults([.read(3000...3001)])
      let job = try daemon.submit("from=\(source.path) to=\(destination.path) errors=ignore hash=sha256")
      #expect(try job.result() == "EIO" && job.status()["digest"] == Self.sum(destination.contents(), bench))
    }
  }

  @Test("retry after a destination failed reads what that one doesn't lack for the digest alone, each byte once")
  func retry() throws {
    try withDaemon { bench, daemon in
      let (source, device, good) = (try bench.faultDevice(), try bench.faultDevice(), try bench.loop())
      let bytes = try source.loop.fill(seed: 1)
      try device.setFaults([.write(5000...5000)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) to=\(good.path) hash=sha256")
      let sum = try Self.sum(bytes, bench)
      #expect(try job.result() == "EIO" && job.status()["digest"] == sum)
      try device.setFaults([])
      let mark = try source.requests.count
      #expect(try job.control("retry") == "" && job.result() == "ok" && job.status()["digest"] == sum)
      #expect(try source.sectors(.read, since: mark).sorted() == Array(0..<8192))
    }
  }

  @Test("It is right after a restart in the middle, and stands after a restart at the end", arguments: Departure.allCases)
  func restart(_ departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let half = try Half(bench)
      _ = try mount.daemon.submit(half.record + " hash=sha256")
      try mount.awaitCheckpoint()
      try mount.stop(departure)
      try half.settle()
      try mount.start()
      #expect(try mount.job().control("rate=max") == "" && mount.job().result() == "ok")
      try half.check()
      let sum = try Self.sum(Array(half.source.loop.contents()[(1 << 20)..<(1 << 20) + Half.count]), bench)
      #expect(try mount.job().status()["digest"] == sum)
      try mount.restart(departure)
      #expect(try mount.job().status()["digest"] == sum)
    }
  }

  @Test("A restart that comes when only the digest is left finds its destinations done, and the digest right")
  func restartForDigest() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, destination) = (try bench.faultDevice(), try bench.loop())
      let bytes = try source.loop.fill(seed: 1)
      // The second attempt lacks the beginning alone, and reads the rest for the digest.
      try source.setFaults([.read(0...0)])
      let job = try mount.daemon.submit("from=\(source.path) to=\(destination.path) errors=ignore hash=sha256")
      #expect(try job.result() == "EIO")
      try source.setFaults([])
      #expect(try job.control("retry\nrate=100K") == "")
      try eventually("the destination is done") { try job.status()["dest0_state"] == "done" }
      #expect(try job.value("state") == "running" && job.status()["digest"] == "")
      try mount.restart(.terminated)
      #expect(
        try mount.job().control("rate=max") == "" && mount.job().result() == "ok"
          && mount.job().status()["digest"] == Self.sum(bytes, bench))
    }
  }

  @Test("A job that was cancelled has none; without hash= there is none")
  func none() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon, keys: "hash=sha256 rate=1M")
      #expect(try held.job.control("cancel") == "")
      try held.letGo()
      #expect(try held.job.result() == "ECANCELED" && held.job.status()["digest"] == "")
      let plain = try daemon.copy("from=\(held.source.path) to=\(held.destination.path)", as: "plain")
      #expect(try plain.status()["digest"] == "")
    }
  }
}
