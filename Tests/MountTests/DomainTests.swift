import FaultKit
import Glibc
import Testing

@Suite("domain=")
struct DomainTests {
  /// A mapfile with three finished blocks; what lies between them was not tried, or is bad.
  private static let blocks = [0x10_0000..<0x10_2000, 0x18_0000..<0x28_0000, 0x2f_fe00..<0x31_0000]

  private static func text(_ blocks: [Range<Int>], size: Int = 4 << 20) -> String {
    var lines = ["# Mapfile. Created by hand", "0x00000000     ?               1"]
    var end = 0
    for block in blocks {
      lines.append("0x\(String(end, radix: 16))  \(block.lowerBound - end)  \(lines.count % 2 == 0 ? "?" : "-")")
      lines.append("0x\(String(block.lowerBound, radix: 16))  0x\(String(block.count, radix: 16))  +")
      end = block.upperBound
    }
    lines.append("\(end)  \(size - end)  /")
    return lines.joined(separator: "\n") + "\n"
  }

  private static func write(_ bench: Workbench, _ blocks: [Range<Int>]) throws -> String {
    try bench.file("domain", Array(text(blocks).utf8))
  }

  private func sectors(_ ranges: [Range<Int>]) -> [Int] { ranges.flatMap { Array($0.lowerBound / 512..<$0.upperBound / 512) } }

  @Test("What it marks + is read once and written to each destination, and nothing else is touched")
  func onlyFinished() throws {
    try withDaemon { bench, daemon in
      let (source, devices) = (try bench.faultDevice(), try (0..<2).map { _ in try bench.faultDevice() })
      let bytes = try source.loop.fill(seed: 1)
      let before = try devices.enumerated().map { try $1.loop.fill(seed: UInt64($0) + 2) }
      let marks = try ([source] + devices).map { try $0.requests.count }
      let domain = try Self.write(bench, Self.blocks)
      // The region begins and ends inside the first and the last of them.
      let region = 0x10_1000..<0x30_0000
      let record =
        "from=\(source.path)@\(region.lowerBound)B+\(region.count)B to=\(devices[0].path)@1M to=\(devices[1].path) domain=\(domain)"
      let job = try daemon.copy(record)
      let wanted = Self.blocks.map { $0.clamped(to: region) }
      #expect(try source.sectors(.read, since: marks[0]).sorted() == sectors(wanted))
      for (index, (device, start)) in zip(devices, [1 << 20, 0]).enumerated() {
        let moved = wanted.map { $0.lowerBound - region.lowerBound + start..<$0.upperBound - region.lowerBound + start }
        #expect(try device.sectors(.write, since: marks[index + 1]).sorted() == sectors(moved))
        var expected = before[index]
        for (from, to) in zip(wanted, moved) { expected.replaceSubrange(to, with: bytes[from]) }
        #expect(try Pattern.difference(device.loop.contents(), from: expected) == nil)
        let map = try job.map(index)
        #expect(try map.sectors("+") == sectors(wanted) && map.lines[0].hasSuffix("+ 1"), "\(map.text)")
        // ddrescue's own tool says that it is done, for this domain.
        #expect(try run("ddrescuelog", "-m", domain, "-D", "\(job.path)/dest/\(index)/map").succeeded)
      }
      let total = wanted.reduce(0) { $0 + $1.count }
      let status = try job.status()
      #expect(status.number("bytes_total") == total && status.number("bytes_done") == total && status.number("bytes_durable") == total)
      #expect(try job.value("progress") == "\(total) \(total)" && job.text("spec").contains(" domain=\(domain)"))
      let check = "exec 3<>\"$1\" && echo \"$2\" >&3 && read -r line <&3 && echo \"$line\""
      #expect(try run("bash", "-c", check, "bash", daemon.path("check"), record).orThrow().text.contains(" bytes_total=\(total) "))
    }
  }

  @Test("A digest is of what it marks, one piece behind the other")
  func hashed() throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.loop(), try bench.loop())
      let bytes = try source.fill(seed: 1)
      let domain = try Self.write(bench, Self.blocks)
      let job = try daemon.copy("from=\(source.path) to=\(destination.path) domain=\(domain) hash=sha256 verify=yes")
      let marked = try bench.file("marked", Self.blocks.flatMap { bytes[$0] })
      #expect(try job.status()["digest"] == run("sha256sum", marked).orThrow().line.prefix(64))
    }
  }

  @Test("A stick that was pulled out gets from the next job only what its map lacks")
  func replaced() throws {
    try withDaemon { bench, daemon in
      let (source, stick) = (try bench.faultDevice(), try bench.faultDevice())
      let bytes = try source.loop.fill(seed: 1)
      try stick.setFaults([.write(3000...3999)])
      let job = try daemon.submit("from=\(source.path) to=\(stick.path) errors=ignore")
      #expect(try job.result() == "EIO")
      let domain = bench.disk + "/rest"
      try Files.write(domain, run("ddrescuelog", "--invert-mapfile", "\(job.path)/dest/0/map").orThrow().text)
      try stick.setFaults([])
      let rest = try job.lacking()
      let (read, written) = (try source.requests.count, try stick.requests.count)
      try daemon.copy("from=\(source.path) to=\(stick.path) domain=\(domain)", as: "rest")
      #expect(try source.sectors(.read, since: read).sorted() == rest && stick.sectors(.write, since: written).sorted() == rest)
      #expect(try rest == Array(3000...3999) && Pattern.difference(stick.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("partclone says what of a file system is in use, and the copy of that is the file system")
  func partclone() throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.loop(size: 64 << 20), try bench.faultDevice(size: 64 << 20))
      try run("mkfs.ext4", "-q", source.path).orThrow()
      let place = bench.disk + "/place"
      try Files.makeDirectory(place)
      func mounted(_ device: String, _ script: String) throws -> String {
        try run("bash", "-c", "mount \(device) \(place) && { \(script); e=$?; umount \(place); exit $e; }").orThrow().text
      }
      _ = try mounted(source.path, "head -c 3M /dev/urandom > \(place)/file")
      let domain = bench.disk + "/domain"
      try run("partclone.ext4", "-D", "-s", source.path, "-o", domain, "-L", bench.disk + "/log").orThrow()
      let job = try daemon.copy("from=\(source.path) to=\(destination.path) domain=\(domain)")
      let copied = try job.status().number("bytes_total")
      #expect(copied > 3 << 20 && copied < 32 << 20)
      #expect(try destination.sectors(.write).count * 512 == copied)
      try run("fsck.ext4", "-fn", destination.path).orThrow()
      let sums = try [source.path, destination.path].map { try mounted($0, "sha256sum < \(place)/file") }
      #expect(sums[0] == sums[1] && sums[0].count > 64)
    }
  }

  @Test("A domain that marks nothing of the region is done at once, and nothing is read or written")
  func nothing() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.faultDevice(), try bench.faultDevice())
      let domain = try Self.write(bench, Self.blocks)
      let job = try daemon.copy("from=\(source.path)@0+1M to=\(device.path) domain=\(domain)")
      #expect(try job.value("progress") == "0 0" && job.status()["dest0_state"] == "done")
      #expect(try job.map().lines == ["0x00100000 + 1", "0x00000000 0x00100000 ?"])
      #expect(try device.sectors(.write).isEmpty && job.control("retry") == "EINVAL")
    }
  }

  @Test("After kill -9 it goes on with what was to be copied when it was accepted, whatever has become of the mapfile")
  func restarted() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let (source, device) = (try bench.faultDevice(size: 16 << 20), try bench.faultDevice(size: 16 << 20))
      let bytes = try source.loop.fill(seed: 1)
      let before = try device.loop.fill(seed: 2)
      let blocks = [0x10_0000..<0x90_0000, 0xa0_0000..<0xf0_0000]
      let domain = try bench.file("domain", Array(Self.text(blocks, size: 16 << 20).utf8))
      let record = "from=\(source.path) to=\(device.path) domain=\(domain) rate=4M"
      _ = try mount.daemon.submit(record)
      try mount.awaitCheckpoint()
      try mount.stop(.killed)
      try Files.write(domain, Self.text([0..<4 << 20]))
      try source.hold(.read)
      try mount.start()
      let job = mount.job()
      #expect(try job.status().number("bytes_total") == sectors(blocks).count * 512)
      let durable = try job.map().sectors("+")
      #expect(!durable.isEmpty && Set(durable).isSubset(of: sectors(blocks)))
      let mark = try device.requests.count
      try source.open(.read)
      #expect(try job.control("rate=max") == "" && job.result() == "ok")
      #expect(try device.sectors(.write, since: mark).sorted() == sectors(blocks).filter { !Set(durable).contains($0) })
      var expected = before
      for block in blocks { expected.replaceSubrange(block, with: bytes[block]) }
      #expect(try Pattern.difference(device.loop.contents(), from: expected) == nil)
      try mount.restart(.killed)
      #expect(try mount.job().map().sectors("+") == sectors(blocks) && mount.job().value("state") == "done")
    }
  }

  @Test("retry copies what its map lacks of the domain")
  func retried() throws {
    try withDaemon { bench, daemon in
      let (source, device) = (try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      let before = try device.loop.fill(seed: 2)
      let domain = try Self.write(bench, Self.blocks)
      try device.setFaults([.write(4000...4001)])
      let job = try daemon.submit("from=\(source.path) to=\(device.path) errors=ignore domain=\(domain)")
      #expect(try job.result() == "EIO" && job.map().sectors("-") == [4000, 4001])
      try device.setFaults([])
      let mark = try device.requests.count
      #expect(try job.control("retry") == "" && job.result() == "ok")
      #expect(try device.sectors(.write, since: mark).sorted() == [4000, 4001])
      var expected = before
      for block in Self.blocks { expected.replaceSubrange(block, with: bytes[block]) }
      #expect(try Pattern.difference(device.loop.contents(), from: expected) == nil)
      #expect(try job.map().sectors("+") == sectors(Self.blocks))
    }
  }
}
