import CSystemShims
import FaultKit
import KCopy
import Locking
import Testing

/// What a test of real devices runs on: what moves the bytes, and the logical block of the devices.
struct Rig: Sendable, CustomTestStringConvertible {
  var transport: Client.Transport
  var block: Int
  var testDescription: String { "\(block)-byte sectors, by \(transport)" }

  /// Both of both.
  static let all = transports.flatMap { transport in [512, 4096].map { Rig(transport: transport, block: $0) } }
  /// Each of both once, where the two have nothing to do with one another.
  static let few = [Rig(transport: .ring, block: 512), Rig(transport: .threads, block: 4096)]

  static let subjob = 64 << 10

  /// A client of as many pages as its copies can use, and sub-jobs of 64 KiB.
  func client(_ bench: Workbench, slots: Int = 1, pages: Int = 1024) throws -> Client {
    try bench.client(transport, pages: pages, subjob: Self.subjob, slots: slots)
  }

  /// 512-byte sectors of the logical blocks with these numbers.
  func sectors(_ blocks: ClosedRange<Int>) -> ClosedRange<Int> {
    blocks.lowerBound * block / 512...((blocks.upperBound + 1) * block / 512 - 1)
  }

  func sectors(_ number: Int) -> ClosedRange<Int> { sectors(number...number) }
}

extension RangeMap {
  /// The extents of a status, as ranges of bytes.
  func ranges(_ status: Status) -> [Range<Int>] {
    extents.filter { $0.status == status }.map { Int($0.start)..<Int($0.end) }
  }
}

extension Workbench {
  /// A loop device full of a pattern, and what is in it.
  func filledLoop(size: Int, sectorSize: Int, seed: UInt64) throws -> (loop: LoopDevice, bytes: [UInt8]) {
    let loop = try loop(size: size, sectorSize: sectorSize)
    return (loop, try loop.fill(seed: seed))
  }

  /// A device with faults, none set yet, full of a pattern, and what is in it.
  func filledFaultDevice(size: Int, rig: Rig, seed: UInt64) throws -> (fault: FaultDevice, bytes: [UInt8]) {
    let fault = try faultDevice(size: size, logicalBlock: rig.block)
    return (fault, try fault.loop.fill(seed: seed))
  }
}

/// Options of a copy with an error mode.
func options(_ errors: CopyOptions.ErrorMode, retries: Int = 0) -> CopyOptions {
  var options = CopyOptions()
  options.errors = errors
  options.retries = retries
  return options
}

/// Zeroes regions and waits for the notification.
func zeroAndWait(_ client: Client, _ regions: [Region], options: CopyOptions = CopyOptions()) throws -> KCopy.Notification {
  let notified = Notified()
  try client.zero(regions, options: options, notify: notified.handler)
  return try notified.wait()[0]
}

extension Device {
  /// Keeps a flush of the handle in flight until `body` returns or throws: by a passenger that does not get off.
  ///
  /// Not by a gate at the device: the loop driver holds writes behind a flush.
  func holdingFlush<R>(_ body: () throws -> R) throws -> R {
    let (arrived, gate) = (Semaphore(), Semaphore())
    flush { _ in
      arrived.signal()
      gate.wait()
    }
    defer { gate.signal() }
    guard arrived.wait(until: kcs_monotonic() + 30_000_000_000) else { throw Missing("a flush that ends") }
    return try body()
  }
}

extension FaultDevice {
  /// Doesn't answer until `body` returns or throws.
  func frozen<R>(_ body: () throws -> R) throws -> R {
    freeze()
    defer { thaw() }
    return try body()
  }
}
