import FaultKit
import KCopy
import Testing

@Suite("What a client refuses")
struct CopyCheckTests {
  struct Rule: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// The source, then the destinations; of the devices: a file, another file, one for reading, disks of 512 and 4096 bytes a sector.
    let regions: @Sendable (_ file: Device, _ other: Device, _ read: Device, _ disk: Device, _ large: Device) -> [Region]

    init(_ sentence: String, _ regions: @escaping @Sendable (Device, Device, Device, Device, Device) -> [Region]) {
      testDescription = sentence
      self.regions = regions
    }
  }

  static let rules: [Rule] = [
    Rule("no destination") { file, _, _, _, _ in [Region(file, start: 0, count: 512)] },
    Rule("65 destinations") { file, other, _, _, _ in
      [Region(file, start: 0, count: 512)] + (0..<65).map { Region(other, start: $0 * 512, count: 512) }
    },
    Rule("no bytes") { file, other, _, _, _ in [Region(file, start: 0, count: 0), Region(other, start: 0, count: 0)] },
    Rule("counts that differ") { file, other, _, _, _ in [Region(file, start: 0, count: 512), Region(other, start: 0, count: 513)] },
    Rule("the second count differs") { file, other, _, disk, _ in
      [Region(file, start: 0, count: 512), Region(other, start: 0, count: 512), Region(disk, start: 0, count: 1024)]
    },
    Rule("a destination that is open for reading") { file, _, read, _, _ in
      [Region(file, start: 0, count: 512), Region(read, start: 0, count: 512)]
    },
    Rule("a destination that begins within a sector") { file, _, _, disk, _ in
      [Region(file, start: 0, count: 512), Region(disk, start: 511, count: 512)]
    },
    Rule("a destination that ends within a sector") { file, _, _, disk, _ in
      [Region(file, start: 0, count: 513), Region(disk, start: 0, count: 513)]
    },
    Rule("512 bytes of a disk of 4096 bytes a sector") { file, _, _, _, large in
      [Region(file, start: 0, count: 512), Region(large, start: 0, count: 512)]
    },
    Rule("a source that begins within a sector") { _, other, _, disk, _ in
      [Region(disk, start: 1, count: 512), Region(other, start: 0, count: 512)]
    },
    Rule("a source that ends within a sector") { _, other, _, disk, _ in
      [Region(disk, start: 0, count: 511), Region(other, start: 0, count: 511)]
    },
    Rule("source and destination overlap by a byte") { file, _, _, _, _ in
      [Region(file, start: 0, count: 512), Region(file, start: 511, count: 512)]
    },
    Rule("source and destination are one") { _, _, _, disk, _ in
      [Region(disk, start: 0, count: 512), Region(disk, start: 0, count: 512)]
    },
    Rule("two destinations overlap") { file, other, _, disk, _ in
      [
        Region(file, start: 0, count: 1024), Region(disk, start: 0, count: 1024), Region(other, start: 0, count: 1024),
        Region(disk, start: 512, count: 1024),
      ]
    },
    Rule("a source past all offsets") { file, other, _, _, _ in
      [Region(file, start: .max - 100, count: 512), Region(other, start: 0, count: 512)]
    },
    Rule("source and destination past all offsets, on one device") { file, _, _, _, _ in
      [Region(file, start: .max - 100, count: 512), Region(file, start: 0, count: 512)]
    },
    Rule("a destination past all offsets") { file, other, _, _, _ in
      [Region(file, start: 0, count: 512), Region(other, start: UInt64(Int64.max) - 511, count: 512)]
    },
    Rule("more bytes than there are offsets") { file, other, _, _, _ in
      [Region(file, start: 0, count: .max), Region(other, start: 0, count: .max)]
    },
  ]

  @Test("EINVAL before anything is read", arguments: rules)
  func refuses(_ rule: Rule) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(100_000, seed: 1)
      let file = try bench.openFile("file", bytes)
      let other = try bench.openFile("other", bytes)
      let read = try bench.openFile("read", bytes, .reading)
      let disk = try bench.open(bench.loop(size: 1 << 20).path)
      let large = try bench.open(bench.loop(size: 1 << 20, sectorSize: 4096).path)
      let client = try bench.client(.threads)
      let regions = rule.regions(file, other, read, disk, large)
      let notified = Notified()
      let error = try refusal {
        try client.copy(from: regions[0], to: Array(regions.dropFirst()), notify: notified.handler)
      }
      #expect(error == "EINVAL")
      client.destroy()
      #expect(notified.all.isEmpty && client.bytesRead == 0 && client.bytesWritten == 0)
    }
  }

  @Test("A disk whose sectors are larger than the client's memory is EINVAL, not a copy that waits for ever", arguments: transports)
  func sectorsLargerThanThePool(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Pattern.bytes(1 << 16, seed: 1), .reading)
      let disk = try bench.open(bench.loop(size: 1 << 20, sectorSize: 1 << 16).path)
      let (small, large) = (try bench.client(transport, pages: 15, subjob: 4096), try bench.client(transport, pages: 16, subjob: 4096))
      let region = Region(disk, start: 0, count: 1 << 16)
      #expect(try refusal { try small.copy(from: Region(source), to: [region]) { _ in } } == "EINVAL")
      #expect(try copyAndWait(large, from: Region(source), to: [region]).isComplete)
    }
  }

  @Test("Regions overlap if and only if they share a byte of one device, by whatever name it was opened")
  func overlaps() throws {
    try withWorkbench { bench in
      let path = try bench.file("file", [])
      try Files.link(path, as: path + ".link")
      let file = try bench.open(path, .reading)
      let link = try bench.open(path + ".link", .reading)
      let other = try bench.openFile("other", [], .reading)
      let disk = try bench.loop(size: 1 << 20)
      try Files.makeNode(bench.disk + "/node", mode: 0o060600, device: disk.number)
      let devices = (try bench.open(disk.path, .reading), try bench.open(bench.disk + "/node", .reading))
      let middle = Region(file, start: 100, count: 50)
      for (start, count, shares) in [
        (0, 100, false), (0, 101, true), (149, 1, true), (150, 1, false), (100, 50, true), (120, 1, true), (0, 1000, true), (0, 0, false),
      ] as [(UInt64, UInt64, Bool)] {
        for device in [file, link] {
          let region = Region(device, start: start, count: count)
          #expect(middle.overlaps(region) == shares && region.overlaps(middle) == shares, "\(count) bytes at \(start)")
        }
        #expect(!middle.overlaps(Region(other, start: start, count: count)))
        #expect(!middle.overlaps(Region(devices.0, start: start, count: count)))
      }
      #expect(Region(devices.0, start: 0, count: 512).overlaps(Region(devices.1, start: 0, count: 512)), "two nodes of one disk")
      #expect(Region(file, start: 3, count: 4).end == 7)
    }
  }

  @Test("Disjoint regions of one disk are source and destinations at once", arguments: transports)
  func disjoint(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let disk = try bench.loop(size: 1 << 20)
      let bytes = try disk.fill(seed: 1)
      let device = try bench.open(disk.path)
      let client = try bench.client(transport)
      let notification = try copyAndWait(
        client, from: Region(device, start: 4096, count: 512),
        to: [Region(device, start: 3584, count: 512), Region(device, start: 4608, count: 512)])
      #expect(notification.isComplete)
      let sector = bytes[4096..<4608]
      let expected = Pattern.patched(Pattern.patched(bytes, at: 3584, with: sector), at: 4608, with: sector)
      #expect(Pattern.difference(try disk.contents(), from: expected) == nil)
    }
  }
}
