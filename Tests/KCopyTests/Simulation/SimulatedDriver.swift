import CSystemShims
import URing

@testable import KCopy

/// A transport that takes no time but the world's: its devices are simulated, and so is its clock.
struct SimulatedDriver: TransferDriver, ~Copyable {
  let transfers: TransfersInFlight
  let wakeUp: WakeUp

  var capacity: Int { transfers.capacity }
  var now: UInt64 { transfers.world.now }

  mutating func attach(_ memory: TransferMemory, as arena: Int) { transfers.attach(memory, as: arena) }
  mutating func detach(_ arena: Int) { transfers.detach(arena) }

  mutating func read(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64) {
    transfers.begin(true, device, position, place, count, token)
  }

  mutating func readBack(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64) {
    transfers.begin(true, device, position, place, count, token, isReadBack: true)
  }

  mutating func write(_ device: Device, at position: UInt64, from place: Place, count: Int, token: UInt64) {
    transfers.begin(false, device, position, place, count, token)
  }

  mutating func hash(_ digest: RegionDigest, _ place: Place, count: Int, token: UInt64) {
    transfers.hash(digest, place, count, token)
  }

  mutating func advance(until deadline: UInt64?, into completions: inout [Completion]) {
    let (transfers, wakeUp) = (transfers, wakeUp)
    // Only what really signalled wakes it: a lost wake-up is a hang here too.
    transfers.world.run(until: deadline) { !transfers.completions.isEmpty || kcs_eventfd_wait_until(wakeUp.descriptor, 0) == 0 }
    completions += transfers.completions
    transfers.completions.removeAll(keepingCapacity: true)
  }
}
