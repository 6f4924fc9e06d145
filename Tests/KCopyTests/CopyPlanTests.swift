import FaultKit
import Testing

@testable import KCopy

@Suite("How a region is cut into sub-jobs")
struct CopyPlanTests {
  /// Devices of every kind: two files on disk, two on a tmpfs, disks of 512, 4096 and 16384 bytes a sector.
  static func devices(_ bench: Workbench) throws -> [Device] {
    var devices: [Device] = []
    for number in 0..<2 {
      for inMemory in [false, true] {
        devices.append(try bench.openFile("file\(number)\(inMemory)", [], inMemory: inMemory))
      }
    }
    for sectorSize in [512, 512, 4096, 4096, 16384] {
      devices.append(try bench.open(bench.loop(size: 1 << 20, sectorSize: sectorSize).path))
    }
    return devices
  }

  static func request(_ sides: [Device], _ random: inout SeededGenerator) -> CopyRequest {
    let (source, destinations) = (sides[0], sides.dropFirst())
    let count = UInt64.random(in: 1...(Bool.random(using: &random) ? 20_000 : 4 << 20), using: &random)
    let block = UInt64(source.logicalBlock)
    func region(_ device: Device) -> Region {
      let grains = [UInt64(device.logicalBlock), 4096, 512].filter { $0 % UInt64(device.logicalBlock) == 0 }
      let grain = grains.randomElement(using: &random)!
      return Region(device, start: UInt64.random(in: 0...100_000, using: &random) / grain * grain, count: max(count / block, 1) * block)
    }
    var options = CopyOptions()
    options.fillsTailWithZeroes = true
    return CopyRequest(source: region(source), destinations: destinations.map(region), options: options) { _ in }
  }

  /// The pieces, each below a limit of its own: pages can be scarce at any moment.
  static func pieces(_ plan: CopyPlan, _ limit: () -> Int) -> [Range<UInt64>] {
    var pieces: [Range<UInt64>] = []
    var next: UInt64 = 0
    while next < plan.count, pieces.count < 100_000 {
      let length = plan.piece(at: next, limit: limit())
      pieces.append(next..<next + UInt64(max(length, 1)))
      next += UInt64(max(length, 1))
    }
    return pieces
  }

  @Test(
    "The pieces of random regions cover them once, in order, within the limit, and suit the sectors of every disk",
    arguments: [1, 2, 3, 4] as [UInt64])
  func random(_ seed: UInt64) throws {
    try withWorkbench { bench in
      let devices = try Self.devices(bench)
      var random = SeededGenerator(seed: seed)
      for round in 0..<400 {
        let request = Self.request(Array(devices.shuffled(using: &random).prefix(Int.random(in: 2...5, using: &random))), &random)
        let plan = CopyPlan(request)
        var limits: [Int] = []
        let pieces = Self.pieces(plan) {
          limits.append([16384, 65536, 81920, 1 << 20].randomElement(using: &random)!)
          return limits.last!
        }
        let sentence =
          "seed \(seed), round \(round): \(plan.count) bytes, starts \(request.destinations.map(\.start)) from \(request.source?.start ?? 0)"
        try #require(pieces.first?.lowerBound == 0 && pieces.last?.upperBound == plan.count, "\(sentence)")
        for (piece, next) in zip(pieces, pieces.dropFirst()) { try #require(piece.upperBound == next.lowerBound, "\(sentence)") }
        for (piece, limit) in zip(pieces, limits) { try #require(piece.count <= limit, "\(sentence): \(piece)") }
        let copy = Copy(request, mailbox: try Mailbox())
        let task = CopyTask(copy, request, serial: 1)
        for piece in pieces {
          for (index, side) in request.destinations.enumerated() where side.device.isBlockDevice {
            let count = task.writeCount(index, offset: piece.lowerBound, count: piece.count)
            let isDirect = side.device.local?.description(at: side.start + piece.lowerBound, count: count).isDirect == true
            try #require(isDirect, "\(sentence): \(piece) to destination \(index)")
          }
          let source = try #require(request.source)
          try #require(
            !source.device.isBlockDevice
              || source.device.local?.description(at: source.start + piece.lowerBound, count: piece.count).isDirect == true,
            "\(sentence): \(piece) of the source")
        }
      }
    }
  }

  @Test(
    "Where every side begins at a page, every piece is direct but a tail of less than a page", arguments: [0, 512, 513, 4095] as [UInt64])
  func pageAligned(_ tail: UInt64) throws {
    try withWorkbench { bench in
      let file = try bench.openFile("file", [], inMemory: false)
      let other = try bench.openFile("other", [], inMemory: false)
      let disk = try bench.open(bench.loop(size: 1 << 20).path)
      let count = 300 * 4096 + tail
      var options = CopyOptions()
      options.fillsTailWithZeroes = true
      let request = CopyRequest(
        source: Region(file, start: 8192, count: count),
        destinations: [Region(other, start: 4096, count: count), Region(disk, start: 0, count: count)], options: options
      ) { _ in }
      let plan = CopyPlan(request)
      #expect(plan.head == 0)
      let pieces = Self.pieces(plan) { 1 << 20 }
      for piece in pieces.prefix(2) {
        for side in [request.source].compactMap({ $0 }) + request.destinations {
          #expect(side.device.local?.description(at: side.start + piece.lowerBound, count: piece.count).isDirect == true, "\(piece)")
        }
      }
      #expect(pieces.map(\.count) == [1 << 20, 44 * 4096] + (tail == 0 ? [] : [Int(tail)]))
    }
  }

  @Test("A head goes to the first page of the side that lets most sides be direct, and a disk comes before files")
  func head() throws {
    try withWorkbench { bench in
      let files = try (0..<3).map { try bench.openFile("file\($0)", [], inMemory: false) }
      let disk = try bench.open(bench.loop(size: 1 << 20).path)
      func plan(_ starts: [UInt64], diskAt: UInt64? = nil) -> CopyPlan {
        var regions = zip(files, starts).map { Region($0, start: $1, count: 1 << 20) }
        if let diskAt { regions.append(Region(disk, start: diskAt, count: 1 << 20)) }
        return CopyPlan(CopyRequest(source: regions[0], destinations: Array(regions.dropFirst()), options: CopyOptions()) { _ in })
      }
      #expect(plan([100, 4196]).head == 3996, "both are at 100 of a page")
      #expect(plan([0, 96, 4192]).head == 4000, "two of three")
      #expect(plan([5, 6]).head == 4090, "among equals the destination")
      #expect(plan([1, 1, 1], diskAt: 0).head == 0, "a disk cannot be written by bytes")
      #expect(plan([1], diskAt: 512).head == 3584)
      #expect(plan([512], diskAt: 0).head % 512 == 0)
    }
  }

  @Test("A region that ends before the first page boundary is one piece")
  func short() throws {
    try withWorkbench { bench in
      let file = try bench.openFile("file", [], inMemory: false)
      let other = try bench.openFile("other", [], inMemory: false)
      for (start, count) in [(1, 1), (1, 4095), (4000, 96), (0, 4096), (0, 1)] as [(UInt64, UInt64)] {
        let request = CopyRequest(
          source: Region(file, start: start, count: count), destinations: [Region(other, start: start, count: count)],
          options: CopyOptions()
        ) { _ in }
        #expect(Self.pieces(CopyPlan(request)) { 4096 } == [0..<count], "\(count) bytes at \(start)")
      }
    }
  }
}
