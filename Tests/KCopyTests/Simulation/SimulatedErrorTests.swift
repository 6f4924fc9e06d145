import Glibc
import KCopy
import Testing

@Suite("Errors, on simulated devices")
struct SimulatedErrorTests {
  static let count: UInt64 = 256 << 10

  @Test("One bad sector of the source costs one sector under ignore, and every map lists exactly it", arguments: [512, 4096])
  func badSource(_ block: Int) throws {
    let outcome = try Scenario(Self.count, from: .bad(86016, block: block), to: DeviceSpec(), DeviceSpec()) { $0.errors = .ignore }.run()
    let copy = outcome.copies[0]
    #expect(copy.progress.readError && copy.progress.writeErrors == 0)
    #expect(copy.progress.destinations.map(\.state) == [.failed, .failed])
    for map in copy.notification.maps {
      #expect(map.text == "durable 0-86016, failed 86016-\(86016 + block), durable \(86016 + block)-262144")
    }
    #expect(copy.progress.firstError == TransferError(errno: EIO, step: .read, destination: nil, offset: 90112, length: UInt64(block)))
  }

  @Test("One bad sector of a destination costs that one a sector, and the others nothing", arguments: [512, 4096])
  func badDestination(_ block: Int) throws {
    let outcome = try Scenario(Self.count, to: DeviceSpec(), .bad(0, block: block), DeviceSpec()) { $0.errors = .ignore }.run()
    let copy = outcome.copies[0]
    #expect(!copy.progress.readError && copy.progress.writeErrors == 0b010)
    #expect(copy.progress.destinations.map(\.state) == [.done, .failed, .done])
    #expect(copy.notification.maps[1].text == "failed 0-\(block), durable \(block)-262144")
    #expect(copy.progress.destinations[1].bytesFailed == UInt64(block))
  }

  @Test("Sectors of 512 bytes that can't be read cost no more than that on a destination of 4096", arguments: [0, 1, 2])
  func smallOnLarge(_ retries: Int) throws {
    let outcome = try Scenario(Self.count, from: .bad(512, blocks: 3), to: .with(block: 4096) { _ in }) {
      $0.errors = .ignore
      $0.retries = retries
    }.run()
    #expect(outcome.copies[0].notification.maps[0].text == "durable 0-512, failed 512-2048, durable 2048-262144")
  }

  @Test("Bad areas are read for those who have all else, whoever hangs", arguments: [0, 1], [false, true])
  func hung(_ retries: Int, verifies: Bool) throws {
    let hung = DeviceSpec.with { $0.hangs = [.init(kind: .writes, from: 0, until: SimulatedWorld.start + 100 * Span.second)] }
    let scenario = Scenario(4 << 20, from: .bad(3 << 20), to: DeviceSpec(), hung, DeviceSpec(), subjob: 65536, slots: 4) {
      $0.errors = .ignore
      $0.retries = retries
      $0.verifies = verifies
    }
    let copy = try scenario.run().copies[0]
    #expect(copy.notification.maps.allSatisfy { $0.text == "durable 0-3145728, failed 3145728-3146240, durable 3146240-4194304" })
    for destination in [0, 2] { #expect(copy.destinations[destination].lastMovedAt < 10 * Span.second) }
  }

  @Test("Where a region ends inside a destination's block, the rest of the block comes with what was read last")
  func tail() throws {
    let scenario = Scenario(9728, from: .bad(512), to: .with(block: 4096) { _ in }) {
      $0.errors = .ignore
      $0.fillsTailWithZeroes = true
    }
    let copy = try scenario.run().copies[0]
    #expect(copy.progress.writeErrors == 0 && copy.notification.maps[0].text == "durable 0-512, failed 512-1024, durable 1024-9728")
  }

  @Test("A bad block fails in one long read and then by itself, once and for each retry; who has retries reads little around it")
  func narrowing() throws {
    for retries in [0, 1, 3] {
      let outcome = try Scenario(1 << 20, from: .bad(700 << 10), to: DeviceSpec(), subjob: 1 << 20) {
        $0.errors = .ignore
        $0.retries = retries
      }.run()
      #expect(outcome.copies[0].source.mostFailures == 2 + retries)
      // All of the long read, a block at a time: 1 MiB, or 64 KiB where trouble is expected.
      #expect(outcome.copies[0].source.transfers <= (retries == 0 ? 1 + 2048 : 16 + 128 + retries))
    }
  }

  @Test("With drop a destination that fails is dropped, and the others go on to their end")
  func drop() throws {
    let outcome = try Scenario(Self.count, to: .bad(100_352), DeviceSpec()).run()
    let copy = outcome.copies[0]
    #expect(copy.progress.writeErrors == 0b01 && copy.progress.destinations.map(\.state) == [.failed, .done])
    #expect(copy.progress.firstError == TransferError(errno: EIO, step: .write, destination: 0, offset: 104_448, length: 512))
    #expect(copy.source.bytes == Self.count)
  }

  @Test("With drop a read error ends the copy, and what was written is flushed")
  func dropRead() throws {
    let outcome = try Scenario(Self.count, from: .bad(200 << 10), to: DeviceSpec(), slots: 1).run()
    let copy = outcome.copies[0]
    #expect(copy.progress.readError && copy.progress.writeErrors == 0 && copy.progress.destinations[0].state == .failed)
    #expect(copy.progress.destinations[0].bytesDurable == 192 << 10)
    #expect(copy.progress.firstError == TransferError(errno: EIO, step: .read, destination: nil, offset: 4096 + (200 << 10), length: 512))
    #expect(outcome.devices[1].flushes == [0])
  }

  @Test("With stop any error ends the copy: no sub-job starts after it")
  func stop() throws {
    let outcome = try Scenario(Self.count, to: .bad(0), DeviceSpec(), slots: 1) { $0.errors = .stop }.run()
    let copy = outcome.copies[0]
    #expect(copy.progress.writeErrors == 0b01 && copy.progress.destinations.map(\.state) == [.failed, .failed])
    #expect(copy.source.bytes == 65536)
  }

  @Test("With pause an error is waited out: what failed is tried again after the resume, and sets no bit", arguments: [true, false])
  func pause(_ isRead: Bool) throws {
    let bad = DeviceSpec.bad(100_352)
    // Once everything waits for it, the errors go away and it is resumed.
    let outcome = try Scenario(Self.count, from: isRead ? bad : DeviceSpec(), to: isRead ? DeviceSpec() : bad, DeviceSpec()) {
      $0.errors = .pause
    }.run()
    #expect(outcome.copies[0].notification.isComplete)
    #expect(outcome.copies[0].progress.firstError == nil && outcome.copies[0].progress.destinations.map(\.state) == [.done, .done])
  }

  @Test("A copy that an error paused can be cancelled")
  func cancelPaused() throws {
    var scenario = Scenario(Self.count, to: .bad(0)) { $0.errors = .pause }
    scenario.script = [(Span.second, .cancel(0))]
    let copy = try scenario.run().copies[0]
    #expect(copy.notification.wasCancelled && copy.notifiedAt < Span.second + Span.millisecond)
  }

  @Test("A transfer that fails is tried again so many times, and then it counts", arguments: [0, 1, 3])
  func retries(_ retries: Int) throws {
    for (failures, isCured) in [(retries, true), (retries + 40, false)] where failures > 0 {
      let copy = try Scenario(65536, from: .bad(4096, times: failures), to: DeviceSpec()) { $0.retries = retries }.run().copies[0]
      #expect(copy.notification.isComplete == isCured)
      if isCured { #expect(copy.source.transfers == retries + 1) }
    }
  }

  @Test("Under ignore errors that go away while the block is looked for leave no bit", arguments: [0, 1, 3])
  func passing(_ retries: Int) throws {
    for isCured in [true, false] {
      let times = retries + (isCured ? 1 : 2)
      let copy = try Scenario(65536, from: .bad(4096, times: times), to: DeviceSpec()) {
        $0.errors = .ignore
        $0.retries = retries
      }.run().copies[0]
      #expect(copy.notification.isComplete == isCured && copy.source.transfers > 2)
    }
  }

  @Test("A device that is gone isn't asked for each of its blocks", arguments: [ENODEV, ENXIO, ENOMEDIUM, ESHUTDOWN])
  func gone(_ errno: Int32) throws {
    let gone = DeviceSpec.with {
      $0.goneAt = SimulatedWorld.start
      $0.goneErrno = errno
    }
    let copy = try Scenario(65536, from: gone, to: DeviceSpec()) { $0.errors = .ignore }.run().copies[0]
    #expect(copy.progress.readError && copy.progress.firstError?.errno == errno && copy.source.transfers == 1)
    let other = try Scenario(65536, to: gone, DeviceSpec()).run().copies[0]
    #expect(other.progress.writeErrors == 0b01 && other.destinations[0].transfers == 1)
    #expect(other.progress.destinations.map(\.state) == [.failed, .done])
  }

  @Test("A source that has shrunk is a read error, and a destination that has a write error")
  func shrunk() throws {
    let shrunk = DeviceSpec.with { $0.shrinks = (SimulatedWorld.start, 4096 + 10_240) }
    let copy = try Scenario(65536, from: shrunk, to: DeviceSpec()).run().copies[0]
    #expect(copy.progress.readError && copy.progress.firstError?.errno == EIO)
    let other = try Scenario(65536, to: shrunk, DeviceSpec()).run().copies[0]
    #expect(other.progress.writeErrors == 0b01 && other.progress.firstError?.errno == ENOSPC)
    #expect(other.progress.destinations.map(\.state) == [.failed, .done])
  }

  @Test("Short transfers, in any order, and such as are to be tried again give a whole copy, read once")
  func short() throws {
    let source = DeviceSpec.with {
      $0.shortOneIn = 2
      $0.faults = [.init(range: 4096..<400_000, errno: EAGAIN, remaining: 20)]
    }
    let copy = try Scenario(Self.count, from: source, to: .with { $0.shortOneIn = 2 }, DeviceSpec(), subjob: 16384).run().copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count && copy.destinations.map(\.bytes) == [Self.count, Self.count])
  }
}
