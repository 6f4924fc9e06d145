internal import CSystemShims
internal import URing

/// Transfers by `pread(2)` and `pwrite(2)` on the threads of the devices: for machines that refuse io_uring.
struct ThreadDriver: TransferDriver, ~Copyable {
  private let transfers: ThreadTransfers
  private let wakeUp: WakeUp
  private var memories = Memories()

  init(wakeUp: WakeUp, _ transfers: ThreadTransfers) {
    self.wakeUp = wakeUp
    self.transfers = transfers
  }

  var capacity: Int { 4096 }
  var now: UInt64 { kcs_monotonic() }

  mutating func attach(_ memory: TransferMemory, as arena: Int) { memories.attach(memory, as: arena) }
  mutating func detach(_ arena: Int) { memories.detach(arena) }

  mutating func read(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64) {
    guard let local = device.local else { preconditionFailure("a device of another machine") }
    transfers.read(local, at: position, into: memories[place.arena], place.offset, count: count, token: token)
  }

  mutating func readBack(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64) {
    guard let local = device.local else { preconditionFailure("a device of another machine") }
    transfers.readBack(local, at: position, into: memories[place.arena], place.offset, count: count, token: token)
  }

  mutating func write(_ device: Device, at position: UInt64, from place: Place, count: Int, token: UInt64) {
    guard let local = device.local else { preconditionFailure("a device of another machine") }
    transfers.write(local, at: position, from: memories[place.arena], place.offset, count: count, token: token)
  }

  mutating func hash(_ digest: RegionDigest, _ place: Place, count: Int, token: UInt64) {
    transfers.hash(digest, memories[place.arena], place.offset, count: count, token: token)
  }

  mutating func advance(until deadline: UInt64?, into completions: inout [Completion]) {
    if transfers.isEmpty {
      if let deadline { wakeUp.wait(until: deadline) } else { wakeUp.wait() }
    }
    transfers.take(into: &completions)
  }
}
