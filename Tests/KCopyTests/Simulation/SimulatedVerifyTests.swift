import FaultKit
import Glibc
import KCopy
import Testing

@Suite("Verification, on simulated devices")
struct SimulatedVerifyTests {
  static let count: UInt64 = 256 << 10
  /// A byte of the region, and where its block begins on the device.
  static let byte: UInt64 = 70_000
  static let place: UInt64 = 4096 + byte / 512 * 512

  private func flipping(_ bytes: UInt64...) -> DeviceSpec { .with { $0.flips = bytes.map { 4096 + $0 } } }

  private func verifying(
    _ destinations: DeviceSpec..., from source: DeviceSpec = DeviceSpec(), change: (inout CopyOptions) -> Void = { _ in }
  ) -> Scenario {
    Scenario(Self.count, from: source, toAll: destinations) {
      $0.verifies = true
      change(&$0)
    }
  }

  @Test("Each destination is read back once, after its flush, and the source isn't read again")
  func once() throws {
    let copy = try verifying(DeviceSpec(), DeviceSpec()).run().copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count)
    #expect(copy.readBacks.map(\.bytes) == [Self.count, Self.count])
    #expect(zip(copy.readBacks, copy.destinations).allSatisfy { $0.firstBegunAt > $1.lastMovedAt })
    #expect(!copy.progress.isVerifiedInCache)
  }

  @Test("A byte that changed is an error of that destination, with EILSEQ and its block; the others are verified")
  func flip() throws {
    let progress = try verifying(flipping(Self.byte), DeviceSpec()).run().copies[0].progress
    #expect(progress.writeErrors == 0b01 && !progress.readError && progress.destinations.map(\.state) == [.failed, .done])
    #expect(progress.firstError == TransferError(errno: EILSEQ, step: .verify, destination: 0, offset: Self.place, length: 512))
  }

  @Test("What differs is lacking from then on, and the rest of the destination isn't")
  func lacking() throws {
    let map = try verifying(flipping(Self.byte)).run().copies[0].notification.maps[0]
    let start = Self.place - 4096
    #expect(map.text == "durable 0-\(start), missing \(start)-\(start + 512), durable \(start + 512)-\(Self.count)")
  }

  @Test("A device of false capacity, whose end overwrites its beginning, is found out")
  func falseCapacity() throws {
    let progress = try verifying(.with { $0.trueCapacity = 128 << 10 }, DeviceSpec()).run().copies[0].progress
    #expect(progress.destinations.map(\.state) == [.failed, .done])
    #expect(progress.firstError?.errno == EILSEQ && progress.firstError?.step == .verify)
  }

  @Test("With pause what differs is waited out: resumed, it is written again from the source, flushed and verified")
  func pause() throws {
    let copy = try verifying(flipping(Self.byte, 5)) { $0.errors = .pause }.run().copies[0]
    #expect(copy.notification.isComplete && copy.progress.bytesDurable == Self.count)
    #expect(copy.destinations[0].bytes == Self.count + 1024)
  }

  @Test("With ignore what differs is listed, and the rest is verified")
  func ignore() throws {
    let copy = try verifying(flipping(5, Self.byte), DeviceSpec()) { $0.errors = .ignore }.run().copies[0]
    let start = Self.place - 4096
    #expect(
      copy.notification.maps[0].text
        == "failed 0-512, durable 512-\(start), failed \(start)-\(start + 512), durable \(start + 512)-\(Self.count)")
    #expect(copy.progress.writeErrors == 0b01 && copy.progress.destinations[1].state == .done)
  }

  @Test("With stop the first difference ends the copy, and who isn't verified by then isn't done")
  func stop() throws {
    let copy = try verifying(flipping(5), .paced(.slow)) { $0.errors = .stop }.run().copies[0]
    #expect(copy.progress.writeErrors == 0b01 && copy.progress.destinations.map(\.state) == [.failed, .failed])
  }

  @Test("A block that can't be read back is an error of the verification; with ignore it is listed", arguments: [false, true])
  func unreadable(_ isIgnored: Bool) throws {
    let scenario = verifying(.bad(4096, kind: .read)) { $0.errors = isIgnored ? .ignore : .drop }
    let copy = try scenario.run().copies[0]
    #expect(copy.progress.firstError == TransferError(errno: EIO, step: .verify, destination: 0, offset: 8192, length: 512))
    let status = isIgnored ? "failed" : "missing"
    #expect(copy.notification.maps[0].text == "durable 0-4096, \(status) 4096-4608, durable 4608-\(Self.count)")
    #expect(copy.progress.writeErrors == 1 && !copy.progress.readError)
  }

  @Test("A read-back that fails is tried again as often as it may be")
  func retries() throws {
    let copy = try verifying(.bad(4096, kind: .read, times: 2)) { $0.retries = 2 }.run().copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count)
  }

  @Test("Who is done with writing is verified while others are still being written")
  func independent() throws {
    let copy = try verifying(DeviceSpec(), .paced(.verySlow)).run().copies[0]
    #expect(copy.notification.isComplete && copy.readBacks[0].lastMovedAt < copy.destinations[1].lastMovedAt)
  }

  @Test("What an earlier attempt has left is compared with the source, which is read again for that")
  func withoutChecksums() throws {
    var scenario = verifying(DeviceSpec())
    scenario.copies[0].maps = [RangeMap(count: Self.count, status: .durable)]
    let copy = try scenario.run().copies[0]
    #expect(copy.notification.isComplete && copy.destinations[0].bytes == 0)
    #expect(copy.source.bytes == Self.count && copy.readBacks[0].bytes == Self.count)
  }

  @Test("Zeroes are verified too, without a source")
  func zeroes() throws {
    for zeroing in [DeviceSpec.Zeroing.works, .refuses] {
      let right = try Scenario.zeroes(Self.count, to: .with { $0.zeroing = zeroing }) { $0.verifies = true }.run().copies[0]
      #expect(right.notification.isComplete && right.readBacks[0].bytes == Self.count)
      let wrong = try Scenario.zeroes(
        Self.count,
        to: .with {
          $0.zeroing = zeroing
          $0.flips = [4096 + Self.byte]
        }
      ) { $0.verifies = true }.run().copies[0]
      #expect(wrong.progress.firstError == TransferError(errno: EILSEQ, step: .verify, destination: 0, offset: Self.place, length: 512))
    }
  }

  // MARK: In its middle

  /// Copies for a second, and reads back for another one.
  private func long(_ actions: (at: UInt64, action: Scenario.Action)...) -> Scenario {
    var scenario = verifying(DeviceSpec()) { $0.rate = Self.count }
    scenario.script = actions
    return scenario
  }

  private static let middle = 1_500_000_000 as UInt64

  @Test("A pause holds it up, and it goes on from there")
  func pauseInMiddle() throws {
    let copy = try long((Self.middle, .pause(0)), (10 * Span.second, .resume(0))).run().copies[0]
    #expect(copy.notification.isComplete && copy.source.bytes == Self.count && copy.readBacks[0].bytes == Self.count)
    #expect(copy.notifiedAt > 10 * Span.second)
  }

  @Test("A cancel ends it at once: the destination isn't done")
  func cancelInMiddle() throws {
    let copy = try long((Self.middle, .cancel(0))).run().copies[0]
    #expect(copy.notification.wasCancelled && copy.progress.destinations[0].state == .cancelled)
    #expect(copy.readBacks[0].bytes < Self.count && copy.notifiedAt < Self.middle + Span.second)
  }

  @Test("Suspended, it is taken up by a later copy, which reads the source again where nobody knows a checksum")
  func suspendInMiddle() throws {
    var scenario = long((Self.middle, .suspend(0)))
    var next = scenario.copies[0]
    next.resumes = 0
    scenario.copies.append(next)
    let outcome = try scenario.run()
    let (first, second) = (outcome.copies[0], outcome.copies[1])
    #expect(first.notification.wasSuspended && first.progress.destinations[0].state == .running)
    #expect(second.notification.isComplete && second.destinations[0].bytes == 0)
    #expect(second.source.bytes == Self.count && second.readBacks[0].bytes == Self.count)
  }
}
