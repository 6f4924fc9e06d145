import Glibc

@testable import KCopy
@testable import URing

/// A transfer between a simulated device and the client's memory, from its submission to its completion.
final class SimulatedTransfer {
  let isRead: Bool
  /// Whether it reads what a destination holds.
  let isReadBack: Bool
  let device: SimulatedDevice
  let position: UInt64
  let count: Int
  let place: Place
  let token: UInt64
  /// Whose it is; `nil`: nobody's, which has been complained of.
  let claim: SimulatedDevice.Claim?
  private let memory: TransferMemory
  private let bytes: UnsafeMutableRawPointer
  /// How often the device had lost its cache when it was submitted.
  private let losses: Int
  /// What a write was given when it was submitted.
  private let sent: UnsafeMutableRawPointer?

  init(
    isRead: Bool, device: SimulatedDevice, position: UInt64, count: Int, place: Place, token: UInt64, isReadBack: Bool,
    memory: TransferMemory
  ) {
    self.isRead = isRead
    self.isReadBack = isReadBack
    self.device = device
    self.position = position
    self.count = count
    self.place = place
    self.token = token
    self.memory = memory
    losses = device.losses
    claim = device.claim(at: position, count: count, isRead: isRead, isReadBack: isReadBack)
    bytes = memory.withBytes(place.offset, count: count) { $0.baseAddress! }
    if isRead {
      // Until it has completed there is nothing to be found there.
      memset(bytes, 0xdb, count)
      sent = nil
    } else {
      sent = malloc(count)
      memcpy(sent!, bytes, count)
    }
  }

  deinit { free(sent) }

  var end: UInt64 { position + UInt64(count) }
  var memoryEnd: Int { place.offset + count }

  /// Whether both use a byte of the same memory.
  func sharesMemory(with other: SimulatedTransfer) -> Bool {
    place.arena == other.place.arena && place.offset < other.memoryEnd && other.place.offset < memoryEnd
  }

  /// Whether the memory of a write is what it was when it was submitted.
  var isUnchanged: Bool { sent.map { memcmp($0, bytes, count) == 0 } ?? true }

  /// Moves the first bytes, as the device has them now or will have them.
  func move(_ moved: Int) {
    if isRead {
      device.copy(to: bytes, from: position, moved)
    } else {
      device.copy(from: bytes, to: position, moved, isLost: losses != device.losses)
    }
  }

  /// Whether nothing of its place was asked for before: it isn't the rest of another, nor tries again.
  var isFirst: Bool {
    guard !isReadBack else { return false }
    guard let claim else { return true }
    let side = claim.destination.map { claim.watch.destinations[$0] } ?? claim.watch.source
    return !side.touched[Int((position - claim.range.lowerBound) / SideWatch.unit)]
  }

  /// For the log.
  var name: String {
    "\(isReadBack ? "read back" : isRead ? "read" : "write") device \(device.number) at \(position)+\(count) memory \(place.arena):\(place.offset)"
      + (claim.map { " copy \($0.watch.index)" + ($0.destination.map { " destination \($0)" } ?? "") } ?? "")
  }
}
