import FaultKit
import KCopy
import Testing

@Suite("A copy")
struct CopyTests {
  /// Where the regions start, on which file system, and what moves the bytes.
  struct Shape: Sendable, CustomTestStringConvertible {
    var from: Int
    var to: Int
    var inMemory: Bool
    var transport: Client.Transport
    var testDescription: String { "from \(from) to \(to) on \(inMemory ? "tmpfs" : "disk") by \(transport)" }

    static let all: [Shape] = [true, false].flatMap { inMemory in
      transports.flatMap { transport in
        [(0, 0), (512, 512), (1, 1), (4096, 8192), (511, 1023), (100, 4196), (0, 513)].map { from, to in
          Shape(from: from, to: to, inMemory: inMemory, transport: transport)
        }
      }
    }
  }

  static let size = 3 << 20
  static let original = Pattern.bytes(size, seed: 1)
  static let before = Pattern.bytes(size, seed: 2)

  @Test("A copy of a file changes the bytes of the region and leaves those around it alone", arguments: Shape.all)
  func copiesExactly(_ shape: Shape) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.original, inMemory: shape.inMemory, .reading)
      let first = try bench.openFile("first", Self.before, inMemory: shape.inMemory)
      let second = try bench.openFile("second", Self.before, inMemory: shape.inMemory)
      let client = try bench.client(shape.transport, subjob: 256 << 10)
      var expected = (first: Self.before, second: Self.before)
      var total = 0
      for count in [1, 511, 4096, 4097, 1 << 20, 2 << 20 | 77] {
        let notification = try copyAndWait(
          client, from: Region(source, start: UInt64(shape.from), count: UInt64(count)),
          to: [Region(first, start: UInt64(shape.to), count: UInt64(count)), Region(second, start: 7, count: UInt64(count))])
        total += count
        #expect(notification.isComplete && notification.progress.bytesDone == count && notification.progress.bytesDurable == count)
        #expect(notification.progress.destinations.map(\.state) == [.done, .done])
        #expect(notification.progress.destinations.map(\.bytesDone) == [UInt64(count), UInt64(count)])
        #expect(notification.progress.destinations.map(\.bytesDurable) == [UInt64(count), UInt64(count)])
        #expect(client.bytesRead == total, "the source is read once")
        #expect(client.bytesWritten == 2 * total)
        #expect(client.pagesFree == client.configuration.pages)
        let patch = Self.original[shape.from..<shape.from + count]
        expected.first = Pattern.patched(expected.first, at: shape.to, with: patch)
        expected.second = Pattern.patched(expected.second, at: 7, with: patch)
        let folder = shape.inMemory ? try bench.memory : bench.disk
        #expect(Pattern.difference(try Files.read(folder + "/first"), from: expected.first) == nil, "\(count) bytes")
        #expect(Pattern.difference(try Files.read(folder + "/second"), from: expected.second) == nil, "\(count) bytes")
      }
    }
  }

  @Test("A copy without flushes is complete and says that nothing of it is durable", arguments: transports)
  func unflushed(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.original, .reading)
      let disk = try bench.loop(size: Self.size)
      let destination = try bench.open(disk.path)
      let client = try bench.client(transport)
      let before = try disk.counters.flushes
      var options = CopyOptions()
      options.flushes = false
      let notification = try copyAndWait(client, from: Region(source), to: [Region(destination)], options: options)
      #expect(notification.isComplete)
      #expect(notification.progress.destinations[0].state == .done)
      #expect(notification.progress.bytesDone == Self.size && notification.progress.bytesDurable == 0)
      #expect(try disk.counters.flushes == before)
      #expect(Pattern.difference(try disk.contents(), from: Self.original) == nil)
    }
  }

  @Test("A disk is read once for three disks, and each of them is flushed once", arguments: transports)
  func readsOnce(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.loop(size: Self.size)
      try source.fill(Self.original)
      let disks = try (0..<3).map { _ in try bench.loop(size: Self.size) }
      let from = try bench.open(source.path, .reading)
      let destinations = try disks.map { Region(try bench.open($0.path)) }
      let client = try bench.client(transport)
      let before = (source: try source.counters, disks: try disks.map { try $0.counters })
      let notification = try copyAndWait(client, from: Region(from), to: destinations)
      #expect(notification.isComplete)
      #expect(try source.counters.bytesRead - before.source.bytesRead == Self.size)
      #expect(client.bytesRead == Self.size)
      for (disk, old) in zip(disks, before.disks) {
        let new = try disk.counters
        #expect(new.bytesWritten - old.bytesWritten == Self.size)
        #expect(new.flushes - old.flushes == 1)
        #expect(Pattern.difference(try disk.contents(), from: Self.original) == nil)
      }
    }
  }

  @Test("A copy goes to 1, 2, 63 or 64 destinations", arguments: transports, [1, 2, 63, 64])
  func destinations(_ transport: Client.Transport, _ count: Int) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(300_000, seed: 3)
      let source = try bench.openFile("source", bytes, .reading)
      let destinations = try (0..<count).map { try bench.openFile("destination\($0)", []) }
      let client = try bench.client(transport, pages: 64, subjob: 64 << 10)
      let notification = try copyAndWait(
        client, from: Region(source), to: destinations.map { Region($0, start: 0, count: source.size) })
      #expect(notification.isComplete)
      #expect(notification.progress.destinations.map(\.state) == Array(repeating: .done, count: count))
      for index in 0..<count {
        #expect(Pattern.difference(try Files.read(bench.memory + "/destination\(index)"), from: bytes) == nil, "destination \(index)")
      }
      #expect(client.bytesRead == source.size)
    }
  }
}
