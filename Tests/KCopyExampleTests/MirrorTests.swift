import FaultKit
import KCopy
import Locking
import Testing

@Suite("The article's mirror, as dm-mirror does it")
struct MirrorTests {
  static let regionBytes = 2 << 20
  /// Four regions and a half.
  static let size = 9 << 20

  /// What a resync came to.
  struct Outcome: Equatable, Sendable {
    var live: [Int]
    var lost: Set<Int>
  }

  /// A primary and its legs, and a resync that hasn't begun.
  struct Stage {
    let outcomes = Arrivals<Outcome>()
    let client: Client
    let resync: MirrorResync

    init(_ bench: Workbench, primary: String, legs: [String]) throws {
      let mirror = Mirror(primary: try bench.open(primary, .reading), legs: try legs.map { try bench.open($0) })
      client = try bench.client()
      resync = MirrorResync(mirror, client: client) { [outcomes] in outcomes.add(Outcome(live: $0, lost: $1)) }
    }
  }

  @Test("While others write to the primary, every leg becomes what it is in the end, and the primary is read once for all")
  func inSync() throws {
    try withWorkbench { bench in
      let primary = try bench.loop(size: Self.size)
      try primary.fill(seed: 1)
      let legs = try (0..<3).map { _ in try bench.loop(size: Self.size) }
      let stage = try Stage(bench, primary: primary.path, legs: legs.map(\.path))
      stage.resync.proceed()
      try atOnce(3) { writer in
        var random = SeededGenerator(seed: UInt64(writer))
        for number in 0..<40 {
          let offset = Int.random(in: 0..<Self.size / 4096, using: &random) * 4096
          let result = Arrivals<Result<Void, any Error>>()
          stage.resync.write(to: offset / Self.regionBytes) {
            result.add(Result { try primary.fill(Pattern.bytes(4096, seed: UInt64(writer * 100 + number)), at: offset) })
          }
          try result.wait().get()
        }
      }
      let written = try primary.contents()
      try eventually("the legs are in sync") { try legs.allSatisfy { try $0.contents() == written } }
      try eventually("it is told") { stage.outcomes.all.last == Outcome(live: [0, 1, 2], lost: []) }
      #expect(stage.client.bytesRead >= Self.size)
      #expect(stage.client.bytesWritten == 3 * stage.client.bytesRead)
    }
  }

  @Test("A region that is written to while it is being copied is copied again")
  func dirtied() throws {
    try withWorkbench { bench in
      let size = 2 * Self.regionBytes
      let primary = try bench.loop(size: size)
      let before = try primary.fill(seed: 1)
      let leg = try bench.faultDevice(size: size)
      let stage = try Stage(bench, primary: primary.path, legs: [leg.path])
      try leg.hold(.write)
      stage.resync.proceed()
      try eventually("both regions are read") { stage.client.bytesRead == size }
      let patch = Pattern.bytes(4096, seed: 2)
      stage.resync.write(to: 0) {
        do { try primary.fill(patch, at: 8192) } catch { Issue.record(error) }
      }
      pause(.milliseconds(100))
      #expect(stage.client.bytesRead == size && stage.outcomes.all.isEmpty, "its first copy has not ended")
      try leg.open(.write)
      #expect(try stage.outcomes.wait() == Outcome(live: [0], lost: []))
      #expect(Pattern.difference(try leg.loop.contents(), from: Pattern.patched(before, at: 8192, with: patch)) == nil)
      #expect(stage.client.bytesRead == size + Self.regionBytes)
      #expect(stage.outcomes.all.count == 1)
    }
  }

  @Test("A region is copied when nobody writes to it any more, and the others meanwhile")
  func writers() throws {
    try withWorkbench { bench in
      let primary = try bench.loop(size: Self.size)
      let leg = try bench.loop(size: Self.size)
      let stage = try Stage(bench, primary: primary.path, legs: [leg.path])
      let others = Self.size - Self.regionBytes
      stage.resync.write(to: 1) {
        stage.resync.proceed()
        do {
          try eventually("the others are copied") { stage.client.bytesWritten == others }
          pause(.milliseconds(100))
          #expect(stage.client.bytesRead == others && stage.outcomes.all.isEmpty)
          try primary.fill(seed: 5)
        } catch { Issue.record(error) }
      }
      try stage.outcomes.wait()
      let region = Self.regionBytes..<2 * Self.regionBytes
      #expect(try leg.contents(region) == primary.contents(region))
    }
  }

  @Test("No more than four regions are in flight")
  func bounded() throws {
    try withWorkbench { bench in
      let primary = try bench.loop(size: 2 * Self.size)
      let leg = try bench.faultDevice(size: 2 * Self.size)
      let stage = try Stage(bench, primary: primary.path, legs: [leg.path])
      try leg.hold(.write)
      stage.resync.proceed()
      try eventually("four regions are read") { stage.client.bytesRead == 4 * Self.regionBytes }
      pause(.milliseconds(100))
      #expect(stage.client.bytesRead == 4 * Self.regionBytes)
      try leg.open(.write)
      try stage.outcomes.wait()
    }
  }

  @Test("A leg that fails drops out: the others get everything, and it is written to no more")
  func failedLeg() throws {
    try withWorkbench { bench in
      let primary = try bench.loop(size: 2 * Self.size)
      let bytes = try primary.fill(seed: 1)
      let legs = try (0..<2).map { _ in try bench.loop(size: 2 * Self.size) }
      let broken = try bench.faultDevice(size: 2 * Self.size)
      try broken.setFaults([.write(9...9)])
      let stage = try Stage(bench, primary: primary.path, legs: [legs[0].path, broken.path, legs[1].path])
      stage.resync.proceed()
      #expect(try stage.outcomes.wait() == Outcome(live: [0, 2], lost: []))
      for leg in legs { #expect(Pattern.difference(try leg.contents(), from: bytes) == nil) }
      let requests = try broken.requests.count
      stage.resync.write(to: 8) {
        do { try primary.fill(Pattern.bytes(4096, seed: 3), at: 8 * Self.regionBytes) } catch { Issue.record(error) }
      }
      #expect(try stage.outcomes.wait() == Outcome(live: [0, 2], lost: []))
      for leg in legs { #expect(try leg.contents() == primary.contents()) }
      #expect(try broken.requests.count == requests)
    }
  }

  @Test("Without a leg that lives there is nothing more to do")
  func noLeg() throws {
    try withWorkbench { bench in
      let primary = try bench.loop(size: Self.size)
      let broken = try bench.faultDevice(size: Self.size)
      try broken.setFaults([.write(0...Self.size / 512)])
      let stage = try Stage(bench, primary: primary.path, legs: [broken.path])
      stage.resync.proceed()
      #expect(try stage.outcomes.wait() == Outcome(live: [], lost: []))
    }
  }

  @Test("A region that the primary can't read is told, the others are in sync, and a write brings it back")
  func unreadable() throws {
    try withWorkbench { bench in
      let primary = try bench.faultDevice(size: Self.size)
      try primary.loop.fill(seed: 1)
      let leg = try bench.loop(size: Self.size)
      let sector = 2 * Self.regionBytes / 512 + 77
      try primary.setFaults([.read(sector...sector)])
      let stage = try Stage(bench, primary: primary.path, legs: [leg.path])
      stage.resync.proceed()
      #expect(try stage.outcomes.wait() == Outcome(live: [0], lost: [2]))
      try primary.setFaults([])
      let bytes = try primary.loop.contents()
      for region in [0, 1, 3] {
        let range = region * Self.regionBytes..<(region + 1) * Self.regionBytes
        #expect(try leg.contents(range) == Array(bytes[range]))
      }
      stage.resync.write(to: 2) {}
      #expect(try stage.outcomes.wait() == Outcome(live: [0], lost: []))
      #expect(Pattern.difference(try leg.contents(), from: bytes) == nil)
    }
  }

  @Test("Copies that the client refuses leave all regions out of sync, and that is told")
  func refused() throws {
    try withWorkbench { bench in
      let primary = try bench.loop(size: Self.size)
      let leg = try bench.loop(size: Self.size)
      let stage = try Stage(bench, primary: primary.path, legs: [leg.path])
      stage.client.destroy()
      stage.resync.proceed()
      #expect(try stage.outcomes.wait() == Outcome(live: [0], lost: [0, 1, 2, 3, 4]))
    }
  }
}
