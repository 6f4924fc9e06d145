import FaultKit
import Glibc
import Testing

@Suite("The same bytes by another name")
struct DestinationNameTests {
  /// A disk with many names for the bytes that begin with its first partition.
  struct Names {
    struct Name: CustomStringConvertible {
      let path: String
      let start: Int
      var description: String { path }

      /// A place in those bytes.
      func region(_ offset: Int, _ count: Int? = nil) -> String { "\(path)@\(start + offset)B\(count.map { "+\($0)B" } ?? "")" }
    }

    let disk: Disk
    /// Those of the one device that is the disk, and the first of them.
    let ofDisk: [Name]
    let all: [Name]

    init(_ bench: Workbench, _ disk: Disk) throws {
      self.disk = disk
      let start = 1 << 20
      let link = bench.disk + "/link"
      try Files.symlink(to: bench.node(of: disk.path), as: link)
      ofDisk = [disk.path, bench.disk + "/node", link, try bench.bound(disk.path)].map { Name(path: $0, start: start) }
      let hardLink = disk.file + ".link"
      try Files.link(disk.file, as: hardLink)
      let files = [disk.file, hardLink].map { Name(path: $0, start: start) }
      let (overDisk, beside) = (try bench.over(disk.path), try bench.over(disk.file, offset: start - 8192))
      let loops = [
        Name(path: overDisk.path, start: start), Name(path: beside.path, start: 8192),
        Name(path: try bench.over(overDisk.path, offset: start).path, start: 0), Name(path: try bench.over(disk.first).path, start: 0),
      ]
      all = ofDisk + [Name(path: disk.first, start: 0)] + files + loops
    }
  }

  /// What is said of a record, by `submit` and by `check`.
  private func refusal(_ daemon: Daemon, _ record: String) throws -> Words {
    #expect(try errnoName { _ = try daemon.submit(record, as: "refused") } != "", "\(record)")
    let refusal = try #require(try daemon.refusals.last)
    #expect(try errnoName { try Files.write(daemon.path("check"), record + "\n", flags: O_WRONLY) } == refusal["error"], "\(record)")
    #expect(try daemon.refusals.last?["text"] == refusal["text"] && refusal["record"] == record, "\(record)")
    return refusal
  }

  /// Whether it points to the value of a word.
  private func blames(_ refusal: Words, _ word: String, _ record: String) -> Bool {
    let value = word.drop { $0 != "=" }
    return record.utf8.dropFirst(refusal.number("column") - 1).starts(with: value.utf8)
  }

  @Test("A source and a destination, or two destinations, that share a sector are EINVAL, and the text has the names of both")
  func overlaps() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop()
      let names = try Names(bench, Disk(bench))
      let before = try Standing(names.disk.file)
      for (one, other) in names.all.flatMap({ one in names.all.map { (one, $0) } }) {
        let (from, to) = ("from=\(one.region(0, 4096))", "to=\(other.region(3584))")
        for record in ["\(from) \(to)", "from=\(source.path)@0+4K to=\(one.region(0)) \(to)"] {
          let refusal = try refusal(daemon, record)
          #expect(refusal["error"] == "EINVAL" && blames(refusal, to, record), "\(refusal)")
          #expect(refusal["text"] == "the region of \(other) overlaps that of \(one) in the same record", "\(refusal)")
        }
      }
      try daemon.expectNoJobs()
      #expect(try Standing(names.disk.file) == before)
      for name in names.all where name.path.hasPrefix("/dev/") { try OpenFile(name.path, O_RDWR | O_EXCL).close() }
    }
  }

  /// What a job has open while the others come.
  enum Place: String, CaseIterable, Sendable {
    case disk, partition, file
  }

  @Test(
    "What a job writes, another neither writes nor reads by whatever name, and what it reads another doesn't write; what it leaves alone is free",
    arguments: Place.allCases, [true, false])
  func jobs(place: Place, writes: Bool) throws {
    try withDaemon { bench, daemon in
      let (source, held) = (try bench.loop(), try bench.faultDevice())
      try held.hold(writes ? .read : .write)
      let job: Job
      let disk: Disk
      func start(_ region: String) throws -> Job {
        try daemon.submit(writes ? "from=\(held.path)@0+8K to=\(region)" : "from=\(region)+8K to=\(held.path)", as: "held")
      }
      if place == .file {
        let file = try Disk.file(bench)
        job = try start(file + "@1M")
        // Nobody can keep a loop device from being set up over it meanwhile.
        disk = try Disk(bench, over: file)
      } else {
        disk = try Disk(bench)
        job = try start(place == .disk ? disk.path + "@1M" : disk.first + "@0")
      }
      try job.reach("running")
      let names = try Names(bench, disk)
      let before = try Standing(disk.file)
      for name in names.all {
        let to = "to=\(name.region(4096))"
        let record = "from=\(source.path)@0+8K \(to)"
        let refused = try refusal(daemon, record)
        #expect(refused["error"] == "EBUSY" && blames(refused, to, record), "\(refused)")
        #expect(refused["text"] == "job held \(writes ? "writes to" : "reads from") this region of \(name)", "\(refused)")

        let from = "from=\(name.region(4096, 8192))"
        let reading = "\(from) to=\(source.path)"
        if writes {
          let refused = try refusal(daemon, reading)
          #expect(refused["error"] == "EBUSY" && blames(refused, from, reading), "\(refused)")
          #expect(refused["text"] == "job held writes to this region of \(name)", "\(refused)")
        } else {
          try daemon.copy(reading, as: "reads-\(UInt32.random(in: 0 ... .max))")
        }
        try daemon.copy("from=\(name.region(8192, 4096)) to=\(source.path)", as: "reads-beside-\(UInt32.random(in: 0 ... .max))")
      }
      #expect(try Standing(disk.file) == before)
      try held.open(writes ? .read : .write)
      #expect(try job.result() == "ok")
    }
  }

  @Test("Two jobs write beside each other on one device, whatever name each has for it")
  func beside() throws {
    try withDaemon { bench, daemon in
      let (source, held) = (try bench.loop(), try bench.faultDevice())
      let bytes = try source.fill(seed: 1)
      try held.hold(.read)
      let device = try bench.loop()
      let link = bench.disk + "/link"
      try Files.symlink(to: bench.node(of: device.path), as: link)
      let job = try daemon.submit("from=\(held.path)@0+4K to=\(device.path)", as: "held")
      try job.reach("running")
      for (index, name) in [bench.disk + "/node", link, try bench.bound(device.path)].enumerated() {
        try daemon.copy("from=\(source.path)@0+4K to=\(name)@\(index + 1)M", as: "beside-\(index)")
        #expect(try device.contents((index + 1) << 20..<(index + 1) << 20 + 4096) == Array(bytes.prefix(4096)))
      }
      try held.open(.read)
      #expect(try job.result() == "ok")
    }
  }

  @Test("A destination that is too small is ENOSPC before its first byte, by whatever name")
  func tooSmall() throws {
    try withDaemon { bench, daemon in
      let source = try bench.loop(size: 16 << 20)
      let disk = try Disk(bench)
      let limited = try bench.over(try bench.oldFile(), "--sizelimit", "1048576")
      let before = try Standing(disk.file)
      for (region, size) in [(disk.path + "@512B", 16 << 20), (disk.first, 8 << 20), (disk.second, 4 << 20), (limited.path, 1 << 20)] {
        let record = "from=\(source.path) to=\(region)"
        let refusal = try refusal(daemon, record)
        #expect(refusal["error"] == "ENOSPC" && blames(refusal, "to=\(region)", record), "\(refusal)")
        #expect(refusal["text"].contains("has \(size)B"), "\(refusal)")
      }
      #expect(try Standing(disk.file) == before)
    }
  }
}
