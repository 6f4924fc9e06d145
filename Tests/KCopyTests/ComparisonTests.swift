import FaultKit
import Glibc
import Testing

@testable import KCopy

@Suite("Comparing regions")
struct ComparisonTests {
  /// More than two pieces, and no whole number of them.
  private static let size = (5 << 19) + 8192

  /// One of each: disks with small and large sectors, a file that is read directly, one that is not.
  private enum Side: String, CaseIterable {
    case disk, disk4k, file, inMemory
  }

  private static func open(_ side: Side, _ name: String, _ bytes: [UInt8], _ bench: Workbench) throws -> (device: Device, path: String) {
    switch side {
    case .disk, .disk4k:
      let loop = try bench.loop(size: bytes.count, sectorSize: side == .disk ? 512 : 4096)
      try loop.fill(bytes)
      return (try bench.open(loop.path), loop.path)
    case .file, .inMemory:
      let path = try bench.file(name, bytes, inMemory: side == .inMemory)
      let device = try bench.open(path)
      try #require((device.directAlignment > 0) == (side == .file))
      return (device, path)
    }
  }

  /// From the last to the first: each is found while there are others behind it.
  private static let places = [size - 1, 2_000_001, 1 << 20, (1 << 20) - 8192, (1 << 20) - 8193, 1, 0]

  /// Changes a byte that is no "X", as others do it: through the page cache.
  private static func change(_ path: String, at place: Int) throws {
    try Command("dd", ["of=\(path)", "bs=1", "seek=\(place)", "conv=notrunc", "status=none"], input: [UInt8(ascii: "X")]).run().orThrow()
  }

  @Test("Equal ones have no difference, and one byte is found wherever it is, whatever is compared with what", arguments: 0..<16)
  func pairs(number: Int) throws {
    let (one, other) = (Side.allCases[number / 4], Side.allCases[number % 4])
    try withWorkbench { bench in
      let bytes = Pattern.bytes(Self.size, seed: 1)
      let (first, second) = (try Self.open(one, "first", bytes, bench), try Self.open(other, "second", bytes, bench))
      #expect(try Region(first.device).firstDifference(from: Region(second.device)) == nil, "\(one) \(other)")
      for place in Self.places {
        try #require(bytes[place] != UInt8(ascii: "X"))
        try Self.change(second.path, at: place)
        #expect(try Region(first.device).firstDifference(from: Region(second.device)) == UInt64(place), "\(one) \(other)")
        #expect(try Region(second.device).firstDifference(from: Region(first.device)) == UInt64(place), "\(other) \(one)")
      }
    }
  }

  @Test("Regions of files begin and end at any byte, also where the file ends", arguments: [true, false])
  func unaligned(inMemory: Bool) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(3_000_001, seed: 2)
      let first = try bench.openFile("first", bytes, inMemory: inMemory)
      let path = try bench.file("second", [1, 2, 3, 4, 5] + bytes, inMemory: inMemory)
      let second = try bench.open(path, .reading)
      for (start, count) in [(0, 3_000_001), (4095, 1), (4097, 2_000_000), (2_999_999, 2), (17, 0), (3_000_001, 0)] as [(UInt64, UInt64)] {
        let (here, there) = (Region(first, start: start, count: count), Region(second, start: start + 5, count: count))
        #expect(try here.firstDifference(from: there) == nil)
        if count > 0 { #expect(try here.firstDifference(from: Region(second, start: start, count: count)) == 0) }
      }
      // What lies around a region is nobody's business.
      try Files.write(path, Pattern.patched([1, 2, 3, 4, 5] + bytes, at: 999, with: [0, 0]), flags: O_WRONLY)
      let (before, after) = (Region(first, start: 0, count: 994), Region(first, start: 996, count: 100_000))
      #expect(try before.firstDifference(from: Region(second, start: 5, count: 994)) == nil)
      #expect(try after.firstDifference(from: Region(second, start: 1001, count: 100_000)) == nil)
    }
  }

  @Test("Zeroes are zeroes, and the first byte that is not is found", arguments: 0..<4)
  func zeroes(number: Int) throws {
    try withWorkbench { bench in
      let (device, path) = try Self.open(Side.allCases[number], "file", [UInt8](repeating: 0, count: Self.size), bench)
      #expect(try Region(device).firstNonZero() == nil)
      for place in Self.places {
        try Self.change(path, at: place)
        #expect(try Region(device).firstNonZero() == UInt64(place))
      }
    }
  }

  @Test("What the page cache has is not taken for what the device has", arguments: [true, false])
  func pastTheCache(isFile: Bool) throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice(size: 1 << 20)
      // The file under the loop device is on a file system of FUSE, which has no direct transfers.
      let device = try bench.open(isFile ? fault.file : fault.path, .reading)
      #expect(device.directAlignment > 0 || isFile)
      for round in 1...3 {
        let before = try fault.requests.filter { $0.kind == .read }.count
        if round == 2 { _ = try Files.read(isFile ? fault.file : fault.path) }
        let cached = try fault.requests.filter { $0.kind == .read }.count
        #expect(try Region(device).firstNonZero() == nil)
        let read = try fault.requests.filter { $0.kind == .read }
        #expect(cached >= before && read.dropFirst(cached).reduce(0) { $0 + $1.bytes } >= 1 << 20)
      }
    }
  }

  @Test("A sector that cannot be read is an error, on either side, unless a difference comes before its piece")
  func unreadable() throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice(size: 3 << 20)
      try fault.setFaults([.read(5000...5000)])
      let (device, zeroes) = (try bench.open(fault.path), try bench.openFile("zeroes", [UInt8](repeating: 0, count: 3 << 20)))
      #expect(try refusal { _ = try Region(device).firstNonZero() } == "EIO")
      #expect(try refusal { _ = try Region(device).firstDifference(from: Region(zeroes)) } == "EIO")
      #expect(try refusal { _ = try Region(zeroes).firstDifference(from: Region(device)) } == "EIO")
      let pattern = try bench.openFile("pattern", Pattern.bytes(3 << 20, seed: 3))
      #expect(try Region(device).firstDifference(from: Region(pattern)) == 0)
    }
  }

  @Test("A file that ends within its region is an error, and no zeroes", arguments: [true, false])
  func ends(inMemory: Bool) throws {
    try withWorkbench { bench in
      let device = try bench.openFile("file", [UInt8](repeating: 0, count: 5000), inMemory: inMemory)
      #expect(try Region(device, start: 0, count: 5000).firstNonZero() == nil)
      for (start, count) in [(0, 5001), (4096, 4096), (5000, 1), (1 << 30, 512)] as [(UInt64, UInt64)] {
        #expect(try refusal { _ = try Region(device, start: start, count: count).firstNonZero() } == "EIO")
      }
    }
  }

  @Test("Two lengths, parts of sectors and places that no device has are refused")
  func refused() throws {
    try withWorkbench { bench in
      let (disk, file) = (try bench.open(try bench.loop().path), try bench.openFile("file", [1, 2, 3]))
      func refused(_ device: Device, _ start: UInt64, _ count: UInt64) throws -> String {
        try refusal { _ = try Region(device, start: start, count: count).firstNonZero() }
      }
      #expect(try refused(disk, 1, 512) == "EINVAL" && refused(disk, 512, 513) == "EINVAL")
      #expect(try refused(file, .max, 1) == "EINVAL" && refused(file, 1, .max) == "EINVAL")
      #expect(try refusal { _ = try Region(file).firstDifference(from: Region(file, start: 0, count: 2)) } == "EINVAL")
      #expect(try Region(file, start: 0, count: 1).firstDifference(from: Region(file, start: 1, count: 1)) == 0)
    }
  }
}
