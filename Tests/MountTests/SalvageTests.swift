import FaultKit
import Glibc
import Testing

/// A disk with bad areas of all kinds, and what is read of it.
private struct DyingDisk {
  /// Single sectors, neighbours on both sides of a boundary, a whole stretch, two far apart in one piece, the ends of the disk.
  static let bad: [ClosedRange<Int>] = [
    0...0, 1000...1000, 4095...4097, 9000...9000, 9050...9050, 12_000...12_150, 16_383...16_383,
  ]
  static let size = 8 << 20
  static let sectors = Set(bad.flatMap { Array($0) })

  let device: FaultDevice
  let bytes: [UInt8]

  init(_ bench: Workbench) throws {
    device = try bench.faultDevice(size: Self.size)
    bytes = try device.loop.fill(seed: 1)
    try device.setFaults(Self.bad.map { .read($0) })
  }

  /// What there is on a disk that all was saved to that can be.
  var saved: [UInt8] {
    Self.sectors.reduce(into: bytes) { $0.replaceSubrange($1 * 512..<($1 + 1) * 512, with: repeatElement(0, count: 512)) }
  }

  /// The requests since a mark that touched something bad, as sectors.
  func failures(since mark: Int) throws -> [Range<Int>] { try reads(since: mark).filter { !Self.sectors.isDisjoint(with: $0) } }

  func reads(since mark: Int) throws -> [Range<Int>] {
    try device.requests.dropFirst(mark).filter { $0.kind == .read }.map { $0.offset / 512..<($0.offset + $0.bytes) / 512 }
  }
}

@Suite("Disks that are dying: errors=ignore with retries")
struct SalvageTests {
  @Test("As much is saved as ddrescue saves, by no more reads of what is bad", arguments: [0, 2])
  func ddrescue(_ retries: Int) throws {
    try withDaemon { bench, daemon in
      let disk = try DyingDisk(bench)
      let (ours, theirs) = (try bench.loop(size: DyingDisk.size), try bench.loop(size: DyingDisk.size))
      var mark = try disk.device.requests.count
      let map = bench.disk + "/map"
      try run("ddrescue", "-q", "-f", "-d", "-r\(retries)", disk.device.path, theirs.path, map).orThrow()
      let (peer, peerReads) = (try disk.failures(since: mark), try disk.reads(since: mark).count)
      #expect(try Pattern.difference(theirs.contents(), from: disk.saved) == nil)

      mark = try disk.device.requests.count
      let job = try daemon.submit("from=\(disk.device.path) to=\(ours.path) errors=ignore retries=\(retries)")
      #expect(try job.result() == "EIO")
      #expect(try Pattern.difference(ours.contents(), from: disk.saved) == nil)
      let bad = DyingDisk.sectors.sorted()
      #expect(try job.map().sectors("-") == bad && job.map().sectors("?").isEmpty)
      let failures = try disk.failures(since: mark)
      #expect(failures.count <= peer.count, "\(failures.count) reads of bad areas, and ddrescue has \(peer.count)")
      if retries > 0 {
        let reads = try disk.reads(since: mark).count
        #expect(reads <= peerReads, "\(reads) reads, and ddrescue has \(peerReads)")
      }
      // Each by itself, once and once for each retry; and the maps agree.
      for sector in bad { #expect(failures.count { $0 == sector..<sector + 1 } == 1 + retries, "\(sector)") }
      let lines = try run("ddrescuelog", "-l-", map).orThrow().text
      #expect(lines.split(separator: "\n").compactMap { Int($0) } == bad)
    }
  }

  @Test("What reads well is there before anything bad is read again; then bad areas are read from both ends, and then what is between")
  func order() throws {
    try withDaemon { bench, daemon in
      let disk = try DyingDisk(bench)
      let destination = try bench.loop(size: DyingDisk.size)
      let mark = try disk.device.requests.count
      let job = try daemon.submit("from=\(disk.device.path) to=\(destination.path) errors=ignore retries=1")
      #expect(try job.result() == "EIO")
      let reads = try disk.reads(since: mark)
      let single = try #require(reads.firstIndex { $0.count == 1 })
      // Before the first sector that is read by itself everything but the pieces that failed has been read.
      let good = Set(reads[..<single].filter { DyingDisk.sectors.isDisjoint(with: $0) }.flatMap { Array($0) })
      let clusters = Set(DyingDisk.sectors.map { $0 / 128 })
      let expected = Set((0..<DyingDisk.size / 512).filter { !clusters.contains($0 / 128) })
      #expect(good == expected, "\(good.symmetricDifference(expected).count) sectors differ")
      #expect(reads[single...].allSatisfy { $0.count == 1 })
      // Up to the first bad sector of the stretch, down to the last one, and up through what lies between; and down once more.
      let stretch = reads[single...].map(\.lowerBound).filter { (11_904..<12_160).contains($0) }
      #expect(stretch == Array(11_904...12_000) + (12_150..<12_160).reversed() + Array(12_001...12_149) + (12_000...12_150).reversed())
    }
  }

  @Test("A pause in the middle of a bad area, another destination, and a restart: what was had stays, what wasn't is tried again")
  func interrupted() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let disk = try DyingDisk(bench)
      let destinations = try (0..<2).map { _ in try bench.loop(size: DyingDisk.size) }
      let job = try mount.daemon.submit(
        "from=\(disk.device.path) to=\(destinations[0].path) to=\(destinations[1].path) errors=ignore retries=2")
      try eventually("sectors are read by themselves") { try disk.reads(since: 0).contains { $0.count == 1 } }
      #expect(try job.control("pause") == "")
      try job.reach("paused")
      // It ends with the sector that is being read.
      var count = try disk.device.requests.count
      try eventually("nothing is read") {
        defer { count = (try? disk.device.requests.count) ?? 0 }
        pause(.milliseconds(100))
        return try disk.device.requests.count == count
      }
      #expect(try !job.map().sectors("?").isEmpty)
      #expect(try job.control("resume") == "")
      try mount.restart(.terminated)
      #expect(try mount.job().result() == "EIO")
      for (index, destination) in destinations.enumerated() {
        #expect(try Pattern.difference(destination.contents(), from: disk.saved) == nil)
        #expect(try mount.job().map(index).sectors("-") == DyingDisk.sectors.sorted() && mount.job().map(index).sectors("?").isEmpty)
      }
      // A disk that has recovered gives the rest, and nothing else is read.
      try disk.device.setFaults([])
      let mark = try disk.device.requests.count
      #expect(try mount.job().control("retry") == "" && mount.job().result() == "ok")
      #expect(try Set(disk.device.sectors(.read, since: mark)) == DyingDisk.sectors)
      for destination in destinations { #expect(try Pattern.difference(destination.contents(), from: disk.bytes) == nil) }
    }
  }
}
