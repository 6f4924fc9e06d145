import FaultKit
import KCopy
import Locking
import Testing

@Suite("The article's snapshot, as dm-snapshot does it")
struct SnapshotTests {
  static let chunkBytes = 64 << 10
  static let chunkCount = 40
  /// The last chunk is a short one.
  static let size = chunkCount * chunkBytes - 12 << 10
  static let block = 4096

  /// An origin and a store on loop devices, and a snapshot of it.
  struct Stage {
    let originDisk: LoopDevice
    let storeDisk: LoopDevice
    let chunks: Chunks
    let client: Client
    let snapshot: SnapshotOrigin
    let old: [UInt8]

    init(_ bench: Workbench, storeChunks: Int = SnapshotTests.chunkCount) throws {
      originDisk = try bench.loop(size: SnapshotTests.size)
      storeDisk = try bench.loop(size: storeChunks * SnapshotTests.chunkBytes)
      old = try originDisk.fill(seed: 1)
      chunks = Chunks(
        origin: try bench.open(originDisk.path, .reading), store: try bench.open(storeDisk.path),
        bytes: UInt64(SnapshotTests.chunkBytes))
      client = try bench.client()
      snapshot = SnapshotOrigin(chunks, client: client)
    }

    /// What a region holds.
    func bytes(_ region: Region) throws -> [UInt8] {
      try (region.device === chunks.store ? storeDisk : originDisk).contents(region.range)
    }

    /// A chunk of the snapshot; `nil` if it is lost.
    func readSnapshot(_ chunk: Int) throws -> [UInt8]? {
      var result = Result<[UInt8], any Error> { [] }
      let isValid = snapshot.read(UInt64(chunk)) { region in result = Result { try bytes(region) } }
      let found = try result.get()
      return isValid ? found : nil
    }

    /// Waits until the origin may be written, and writes; returns whether the snapshot was there still.
    @discardableResult
    func writeOrigin(_ chunk: Int, at offset: Int = 0, _ bytes: [UInt8]) throws -> Bool {
      let go = Arrivals<Bool>()
      snapshot.prepare(UInt64(chunk)) { place, _ in go.add(place != nil) }
      let isKept = try go.wait()
      try originDisk.fill(bytes, at: chunk * SnapshotTests.chunkBytes + offset)
      return isKept
    }

    func old(_ chunk: Int) -> [UInt8] { Array(old[chunks.original(UInt64(chunk)).range]) }
  }

  @Test("Whoever writes to the origin, and however often, the snapshot stays what the origin was, and each chunk is copied once")
  func stomped() throws {
    try withWorkbench { bench in
      let stage = try Stage(bench)
      let writers = 4
      // Each writer has blocks of its own in every chunk, so the origin's end is known and chunks are shared.
      let writes = (0..<writers).map { writer in
        var random = SeededGenerator(seed: UInt64(writer) + 7)
        return (0..<60).map { number in
          let chunk = Int.random(in: 0..<Self.chunkCount - 4, using: &random)
          let block = Int.random(in: 0..<3, using: &random) * writers + writer
          return (chunk: chunk, offset: block * Self.block, bytes: Pattern.bytes(Self.block, seed: UInt64(writer * 1000 + number)))
        }
      }
      try atOnce(writers + 1) { number in
        if number < writers {
          for write in writes[number] {
            guard try stage.writeOrigin(write.chunk, at: write.offset, write.bytes) else { throw Missing("the snapshot") }
          }
        } else {
          var random = SeededGenerator(seed: 99)
          for _ in 0..<200 {
            let chunk = Int.random(in: 0..<Self.chunkCount, using: &random)
            guard try stage.readSnapshot(chunk) == stage.old(chunk) else { throw Missing("the old data of chunk \(chunk)") }
          }
        }
      }
      var expected = stage.old
      for write in writes.joined() {
        expected = Pattern.patched(expected, at: write.chunk * Self.chunkBytes + write.offset, with: write.bytes)
      }
      #expect(Pattern.difference(try stage.originDisk.contents(), from: expected) == nil)
      for chunk in 0..<Self.chunkCount { #expect(try stage.readSnapshot(chunk) == stage.old(chunk), "chunk \(chunk)") }
      #expect(stage.client.bytesRead == UInt64(Set(writes.joined().map(\.chunk)).count * Self.chunkBytes))
    }
  }

  @Test("Writes to a chunk that is being copied wait for it, all of them, and no copy is made twice")
  func sameChunk() throws {
    try withWorkbench { bench in
      let stage = try Stage(bench)
      let last = Self.chunkCount - 1
      let patch = Pattern.bytes(Self.block, seed: 5)
      try atOnce(8) { number in try stage.writeOrigin(last, at: number * Self.block, patch) }
      #expect(try stage.readSnapshot(last) == stage.old(last))
      #expect(stage.client.bytesRead == stage.chunks.original(UInt64(last)).count, "the last chunk is shorter")
    }
  }

  @Test("A reader whose chunk of the origin is written meanwhile gets the old data")
  func overtaken() throws {
    try withWorkbench { bench in
      let stage = try Stage(bench)
      var found: [Result<[UInt8], any Error>] = []
      let isValid = stage.snapshot.read(5) { region in
        found.append(
          Result {
            if region.device === stage.chunks.origin { try stage.writeOrigin(5, stage.old(6)) }
            return try stage.bytes(region)
          })
      }
      #expect(isValid)
      #expect(try found.map { try $0.get() } == [stage.old(6), stage.old(5)], "the last read holds")
    }
  }

  @Test("A write to a whole chunk of the snapshot copies nothing, and is committed in its turn")
  func overwritten() throws {
    try withWorkbench { bench in
      let stage = try Stage(bench)
      let new = Pattern.bytes(Self.chunkBytes, seed: 2)
      let written = Arrivals<@Sendable (Bool) -> Void>()
      let events = Arrivals<String>()
      stage.snapshot.prepare(3, isWhole: true) { place, done in
        guard let place else { return events.add("lost") }
        do { try stage.storeDisk.fill(new, at: Int(place.start)) } catch { events.add("\(error)") }
        written.add(done)
      }
      stage.snapshot.prepare(3) { place, _ in events.add("the same chunk at \(place?.start ?? .max)") }
      stage.snapshot.prepare(9) { place, _ in events.add("the next at \(place?.start ?? .max)") }
      try eventually("the next chunk is copied") { stage.client.bytesWritten == Self.chunkBytes }
      pause(.milliseconds(100))
      #expect(events.all.isEmpty, "the exception before has not ended")
      #expect(try stage.readSnapshot(3) == stage.old(3), "nor does it count")
      try written.wait()(true)
      try events.wait()
      try events.wait()
      #expect(events.all == ["the same chunk at 0", "the next at \(Self.chunkBytes)"])
      #expect(stage.client.bytesRead == Self.chunkBytes, "of the one that was not overwritten")
      #expect(try stage.readSnapshot(3) == new)
      #expect(try stage.originDisk.contents() == stage.old)
    }
  }

  @Test("A write to a part of a chunk of the snapshot goes to the store, beside the old data")
  func partOfSnapshot() throws {
    try withWorkbench { bench in
      let stage = try Stage(bench)
      let patch = Pattern.bytes(Self.block, seed: 3)
      let places = Arrivals<UInt64?>()
      stage.snapshot.prepare(7) { place, _ in places.add(place?.start) }
      let place = try #require(try places.wait())
      try stage.storeDisk.fill(patch, at: Int(place) + Self.block)
      #expect(try stage.readSnapshot(7) == Pattern.patched(stage.old(7), at: Self.block, with: patch))
      try stage.writeOrigin(7, patch)
      #expect(stage.client.bytesRead == Self.chunkBytes)
    }
  }

  @Test("A failed write of a whole chunk, and a client that takes no more copies, lose the snapshot, and no write to the origin")
  func refused() throws {
    try withWorkbench { bench in
      let stage = try Stage(bench)
      stage.snapshot.prepare(1, isWhole: true) { _, done in done(false) }
      try eventually("the snapshot is lost") { try stage.readSnapshot(1) == nil }
      #expect(try stage.writeOrigin(1, stage.old(2)) == false)

      let other = SnapshotOrigin(stage.chunks, client: stage.client)
      stage.client.destroy()
      let places = Arrivals<UInt64?>()
      other.prepare(1) { place, _ in places.add(place?.start) }
      #expect(try places.wait() == nil)
    }
  }

  @Test("A full store loses the snapshot, and no write to the origin")
  func full() throws {
    try withWorkbench { bench in
      let stage = try Stage(bench, storeChunks: 2)
      for chunk in 0..<2 { #expect(try stage.writeOrigin(chunk, stage.old(9))) }
      #expect(try stage.readSnapshot(0) == stage.old(0))
      #expect(try stage.writeOrigin(2, stage.old(9)) == false)
      #expect(try stage.readSnapshot(0) == nil)
      #expect(try stage.originDisk.contents(2 * Self.chunkBytes..<3 * Self.chunkBytes) == stage.old(9))
    }
  }

  @Test("A copy that fails, of reading or of writing, loses the snapshot, and no write to the origin", arguments: [true, false])
  func broken(_ reads: Bool) throws {
    try withWorkbench { bench in
      let count = 4 * Self.chunkBytes
      let fault = try bench.faultDevice(size: count)
      let good = try bench.loop(size: count)
      try good.fill(seed: 4)
      let (from, to) = reads ? (fault.path, good.path) : (good.path, fault.path)
      let chunks = Chunks(origin: try bench.open(from, .reading), store: try bench.open(to), bytes: UInt64(Self.chunkBytes))
      let snapshot = SnapshotOrigin(chunks, client: try bench.client())
      let sector = Self.chunkBytes / 512 + 9
      try fault.setFaults([reads ? .read(sector...sector) : .write(sector...sector)])
      for (chunk, isKept) in [(UInt64(0), true), (1, false), (2, false)] {
        let places = Arrivals<Bool>()
        snapshot.prepare(chunk) { place, _ in places.add(place != nil) }
        #expect(try places.wait() == isKept)
        #expect(snapshot.read(chunk) { _ in } == isKept)
      }
    }
  }
}
