import Glibc
import Testing
import URing

@Suite("Memory for transfers")
struct TransferMemoryTests {
  static let bytes = 8 * 4096

  @Test("Reads and writes move the bytes of their places, as pread and pwrite do")
  func moves() throws {
    let memory = try #require(TransferMemory(bytes: Self.bytes))
    #expect(memory.bytes == Self.bytes)
    let (source, destination) = (try ScratchFile(20_000, seed: 1), try ScratchFile(0, seed: 0))
    #expect(memory.read(from: source.descriptor, at: 5_000, into: 100, count: 15_000) == 15_000)
    #expect(memory.read(from: source.descriptor, at: 19_000, into: 0, count: 5_000) == 1_000, "to the end")
    #expect(memory.read(from: source.descriptor, at: 20_000, into: 0, count: 1) == 0)
    #expect(memory.read(from: -1, at: 0, into: 0, count: 1) == Int64(-EBADF))
    #expect(memory.write(to: -1, at: 0, from: 0, count: 1) == Int64(-EBADF))
    memory.zero(2_000, count: 3_000)
    #expect(memory.write(to: destination.descriptor, at: 0, from: 1_000, count: 14_100) == 14_100)
    var expected = Array(ScratchFile.pattern(20_000, seed: 1)[5_900..<20_000])
    expected.replaceSubrange(1_000..<4_000, with: repeatElement(0, count: 3_000))
    #expect(try destination.bytes(14_100) == expected)
  }

  @Test("All of the memory is zeroes at first, and its last byte is of it")
  func bounds() throws {
    let memory = try #require(TransferMemory(bytes: Self.bytes))
    let file = try ScratchFile(0, seed: 0)
    #expect(memory.write(to: file.descriptor, at: 0, from: 0, count: Self.bytes) == Int64(Self.bytes))
    #expect(try file.bytes(Self.bytes).allSatisfy { $0 == 0 })
    memory.zero(Self.bytes - 1, count: 1)
    memory.zero(Self.bytes, count: 0)
  }

  @Test("Memory that nobody has is nil")
  func none() {
    #expect(TransferMemory(bytes: 1 << 60) == nil)
  }

  @Test(
    "A transfer outside of the memory ends the program",
    arguments: [(bytes, 1), (-1, 1), (0, bytes + 1), (bytes - 1, 2), (0, -1), (Int.max, 1), (1, Int.max), (Int.min, 1), (bytes + 1, 0)])
  func outside(_ offset: Int, _ count: Int) async {
    await #expect(processExitsWith: .failure) { [offset, count] in
      guard let memory = TransferMemory(bytes: TransferMemoryTests.bytes) else { exit(0) }
      memory.zero(offset, count: count)
      exit(0)
    }
  }

  @Test("So does one of a ring", arguments: [(bytes, 1), (-1, 1), (0, bytes + 1), (Int.max, 1)])
  func outsideOfRing(_ offset: Int, _ count: Int) async {
    await #expect(processExitsWith: .failure) { [offset, count] in
      guard let memory = TransferMemory(bytes: TransferMemoryTests.bytes) else { exit(0) }
      var ring = try Ring(entries: 8, completionEntries: 8)
      ring.attach(memory, as: 0)
      ring.write(1, at: 0, from: 0, offset: offset, count: count, userData: 0)
      exit(0)
    }
  }

  @Test("Memory that is no whole number of pages ends the program", arguments: [0, 1, 4095, -4096])
  func noPages(_ bytes: Int) async {
    await #expect(processExitsWith: .failure) { [bytes] in
      _ = TransferMemory(bytes: bytes)
      exit(0)
    }
  }
}
