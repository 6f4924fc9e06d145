import URing

@testable import KCopy

/// The transfers that an engine has given to its driver: looks whether they get into each other's way.
final class TransfersInFlight: @unchecked Sendable {
  let world: SimulatedWorld
  let capacity: Int
  var completions: [Completion] = []
  private var arenas: [Int: TransferMemory] = [:]
  private var transfers: [SimulatedTransfer] = []
  private(set) var bytesRead: UInt64 = 0
  private(set) var bytesWritten: UInt64 = 0
  private var pageUsers: [Int: [UInt16]] = [:]
  /// Pages that transfers in flight use now.
  private(set) var pagesInUse = 0
  /// As many pages as a transfer may at most find in use when it begins.
  var pageLimit = Int.max
  private let devices: [DeviceKey: SimulatedDevice]

  init(world: SimulatedWorld, capacity: Int, devices: [SimulatedDevice]) {
    self.world = world
    self.capacity = capacity
    self.devices = Dictionary(uniqueKeysWithValues: devices.map { ($0.open().key, $0) })
  }

  private var hashing = 0
  private var hashFreeAt: UInt64 = 0

  var isEmpty: Bool { transfers.isEmpty && completions.isEmpty && hashing == 0 }

  func attach(_ memory: TransferMemory, as arena: Int) {
    if arenas[arena] != nil { world.complain("memory \(arena) is attached twice") }
    world.log("memory \(arena): \(memory.bytes / 4096) pages")
    arenas[arena] = memory
    pageUsers[arena] = Array(repeating: 0, count: memory.bytes / 4096)
  }

  func detach(_ arena: Int) {
    if arenas[arena] == nil { world.complain("memory \(arena) is detached and wasn't attached") }
    if transfers.contains(where: { $0.place.arena == arena }) { world.complain("memory \(arena) is detached while a transfer uses it") }
    world.log("memory \(arena) goes")
    arenas[arena] = nil
    pageUsers[arena] = nil
  }

  func begin(_ isRead: Bool, _ device: Device, _ position: UInt64, _ place: Place, _ count: Int, _ token: UInt64, isReadBack: Bool = false)
  {
    guard let medium = devices[device.key], let memory = arenas[place.arena], place.offset >= 0, count > 0,
      place.offset + count <= memory.bytes
    else {
      world.stop("a transfer of \(count) bytes at \(place), position \(position) of \(device.key): no such memory or device")
    }
    let transfer = SimulatedTransfer(
      isRead: isRead, device: medium, position: position, count: count, place: place, token: token, isReadBack: isReadBack, memory: memory)
    world.log(transfer.name)
    check(transfer)
    transfers.append(transfer)
    use(transfer, begins: true)
    if isRead, pagesInUse > pageLimit, transfer.isFirst { world.complain("\(transfer.name): \(pagesInUse) pages in use of \(pageLimit)") }
    if let claim = transfer.claim {
      if isReadBack {
        claim.watch.beginsReadBack(claim, position, count)
      } else {
        claim.watch.begins(claim, position, count, isZeroing: false)
      }
    }
    medium.submit(transfer) { [self] result in end(transfer, result) }
  }

  /// Takes its time, as a thread does.
  func hash(_ digest: RegionDigest, _ place: Place, _ count: Int, _ token: UInt64) {
    guard let memory = arenas[place.arena] else { world.stop("a digest of \(place): no such memory") }
    hashing += 1
    hashFreeAt = max(hashFreeAt, world.now) + UInt64(count) / 4
    world.at(hashFreeAt) { [self] in
      hashing -= 1
      digest.updateNow(memory, place.offset, count: count)
      completions.append(Completion(token: token, result: Int64(count)))
    }
  }

  private func check(_ transfer: SimulatedTransfer) {
    if transfers.count >= capacity { world.complain("\(transfer.name): more than \(capacity) transfers in flight") }
    if transfer.claim == nil { world.complain("\(transfer.name): in no region that a copy may \(transfer.isRead ? "read" : "write")") }
    for other in transfers {
      if other.token == transfer.token { world.complain("\(transfer.name): the token of \(other.name)") }
      if other.sharesMemory(with: transfer), other.isRead || transfer.isRead {
        world.complain("\(transfer.name): shares memory with \(other.name)")
      }
      if !transfer.isRead, !other.isRead, other.device === transfer.device, other.position < transfer.end, transfer.position < other.end {
        world.complain("\(transfer.name): the same place is being written by \(other.name)")
      }
    }
  }

  private func use(_ transfer: SimulatedTransfer, begins: Bool) {
    guard var users = pageUsers[transfer.place.arena] else { return }
    pageUsers[transfer.place.arena] = nil
    for page in transfer.place.offset / 4096...(transfer.memoryEnd - 1) / 4096 {
      if begins {
        if users[page] == 0 { pagesInUse += 1 }
        users[page] += 1
      } else {
        users[page] -= 1
        if users[page] == 0 { pagesInUse -= 1 }
      }
    }
    pageUsers[transfer.place.arena] = users
  }

  private func end(_ transfer: SimulatedTransfer, _ result: Int64) {
    world.log("\(transfer.name): \(result)")
    if !transfer.isUnchanged { world.complain("\(transfer.name): its memory changed under way") }
    transfers.removeAll { $0 === transfer }
    use(transfer, begins: false)
    if result > 0, !transfer.isReadBack {
      if transfer.isRead { bytesRead += UInt64(result) } else { bytesWritten += UInt64(result) }
    }
    if let claim = transfer.claim {
      if transfer.isReadBack {
        claim.watch.endsReadBack(claim, transfer.position, transfer.count, result)
      } else {
        claim.watch.ends(claim, transfer.position, transfer.count, result, isRefused: false)
      }
    }
    completions.append(Completion(token: transfer.token, result: result))
  }
}
