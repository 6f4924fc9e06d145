import FaultKit
import KCopy
import Testing

@Suite("Copies between places of all kinds")
struct RandomCopyTests {
  /// A place to copy from and to: what is open, and what it ought to hold.
  final class Place {
    let name: String
    let device: Device
    var bytes: [UInt8]
    /// What is there now; of a disk, past the page cache.
    let contents: () throws -> [UInt8]

    init(_ name: String, _ device: Device, _ bytes: [UInt8], contents: @escaping () throws -> [UInt8]) {
      self.name = name
      self.device = device
      self.bytes = bytes
      self.contents = contents
    }
  }

  static let size = 1 << 20

  /// Two files that are written directly, two that are not, two disks of each size of sector.
  static func places(_ bench: Workbench, sectorSizes: [Int]) throws -> [Place] {
    var places: [Place] = []
    for number in 0..<2 {
      for inMemory in [true, false] {
        let bytes = Pattern.bytes(size, seed: UInt64(places.count))
        let name = inMemory ? "tmpfs\(number)" : "disk\(number)"
        let path = try bench.file(name, bytes, inMemory: inMemory)
        places.append(Place(name, try bench.open(path), bytes) { try Files.read(path) })
      }
      for sectorSize in sectorSizes {
        let disk = try bench.loop(size: size, sectorSize: sectorSize)
        let bytes = try disk.fill(seed: UInt64(places.count))
        places.append(Place("loop\(sectorSize).\(number)", try bench.open(disk.path), bytes) { try disk.contents() })
      }
    }
    return places
  }

  /// A start in a place that its sectors and the length allow, more often than not near a boundary.
  static func start(in place: Place, count: Int, _ random: inout SeededGenerator) -> Int {
    let block = place.device.logicalBlock
    let room = (Self.size - (count + block - 1) / block * block) / block * block
    let boundary = [block, 512, 4096, 1].filter { $0 % block == 0 }.randomElement(using: &random) ?? block
    return Int.random(in: 0...room, using: &random) / boundary * boundary
  }

  /// One copy between random places, checked against the model.
  static func step(_ places: [Place], _ client: Client, _ random: inout SeededGenerator) throws {
    let chosen = places.shuffled(using: &random).prefix(Int.random(in: 2...4, using: &random))
    let (source, destinations) = (chosen[0], chosen.dropFirst())
    var count = [1, 700, 4096, 70_000, 400_000].randomElement(using: &random) ?? 1
    count += Int.random(in: 0...9000, using: &random)
    // Only the source's sectors bind the length: the last sector of a destination is filled up.
    count = max(count / source.device.logicalBlock, 1) * source.device.logicalBlock
    let from = start(in: source, count: count, &random)
    let starts = destinations.map { start(in: $0, count: count, &random) }
    let sentence =
      "\(count) bytes of \(source.name) at \(from) to " + zip(destinations, starts).map { "\($0.name) at \($1)" }.joined(separator: ", ")
    var options = CopyOptions()
    options.flushes = Bool.random(using: &random)
    options.verifies = options.flushes && Bool.random(using: &random)
    options.fillsTailWithZeroes = true
    let notification = try copyAndWait(
      client, from: Region(source.device, start: UInt64(from), count: UInt64(count)),
      to: zip(destinations, starts).map { Region($0.device, start: UInt64($1), count: UInt64(count)) }, options: options)
    try #require(notification.isComplete, "\(sentence): \(notification.progress)")
    for (place, start) in zip(destinations, starts) {
      let block = place.device.logicalBlock
      let padding = [UInt8](repeating: 0, count: (block - count % block) % block)
      place.bytes = Pattern.patched(place.bytes, at: start, with: source.bytes[from..<from + count] + padding)
    }
    for place in chosen {
      try #require(Pattern.difference(try place.contents(), from: place.bytes) == nil, "\(place.name) after \(sentence)")
    }
  }

  @Test(
    "Random copies between files and disks of 512 and 4096 bytes a sector leave what a model says", arguments: transports,
    [1, 2] as [UInt64])
  func pages(_ transport: Client.Transport, _ seed: UInt64) throws {
    try withWorkbench { bench in
      var random = SeededGenerator(seed: seed)
      let places = try Self.places(bench, sectorSizes: [512, 4096])
      let large = try bench.client(transport)
      let small = try bench.client(transport, pages: 40, subjob: 128 << 10, slots: 3)
      let least = try bench.client(transport, pages: 1, subjob: 4096, slots: 2)
      for step in 0..<120 { try Self.step(places, step % 20 == 0 ? least : step % 2 == 0 ? large : small, &random) }
    }
  }

  @Test(
    "Random copies to and from disks whose sectors are larger than a page do so too", arguments: transports, [3, 4] as [UInt64])
  func largeSectors(_ transport: Client.Transport, _ seed: UInt64) throws {
    try withWorkbench { bench in
      var random = SeededGenerator(seed: seed)
      let places = try Self.places(bench, sectorSizes: [512, 16384, 65536])
      let large = try bench.client(transport)
      let small = try bench.client(transport, pages: 40, subjob: 128 << 10, slots: 3)
      for step in 0..<120 { try Self.step(places, step % 2 == 0 ? large : small, &random) }
    }
  }
}
