internal import CSystemShims
internal import Glibc
internal import URing

/// Transfers by io_uring; those through the page cache on the threads of their devices, for they may block, and the
/// ring's own threads are shared by all.
struct RingDriver: TransferDriver, ~Copyable {
  private var ring: Ring
  private let wakeUp: WakeUp
  private let transfers: ThreadTransfers
  private var memories = Memories()
  private var isListening = false
  private var taken: [RingCompletion] = []

  private static let submissions: UInt32 = 256
  private static let completions: UInt32 = 4096
  /// Direct writes that allocate blocks of a file may block as well; so many can, beside others that go on.
  private static let blocked: UInt32 = 512
  private static let wakeUpToken = UInt64.max

  init(wakeUp: WakeUp, _ transfers: ThreadTransfers) throws(RingError) {
    ring = try Ring(entries: Self.submissions, completionEntries: Self.completions)
    ring.allowBlockedRequests(Self.blocked)
    self.wakeUp = wakeUp
    self.transfers = transfers
    taken.reserveCapacity(Int(Self.completions))
  }

  /// One completion is kept for the wake-up.
  var capacity: Int { ring.completionEntries - 1 }
  var now: UInt64 { kcs_monotonic() }

  mutating func attach(_ memory: TransferMemory, as arena: Int) {
    memories.attach(memory, as: arena)
    ring.attach(memory, as: arena)
  }

  mutating func detach(_ arena: Int) {
    ring.detach(arena)
    memories.detach(arena)
  }

  mutating func read(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64) {
    let local = local(device)
    guard !readDirectly(local, at: position, into: place, count: count, token: token) else { return }
    transfers.read(local, at: position, into: memories[place.arena], place.offset, count: count, token: token)
  }

  mutating func readBack(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64) {
    let local = local(device)
    guard !readDirectly(local, at: position, into: place, count: count, token: token) else { return }
    transfers.readBack(local, at: position, into: memories[place.arena], place.offset, count: count, token: token)
  }

  private func local(_ device: Device) -> LocalMedium {
    guard let local = device.local else { preconditionFailure("a device of another machine") }
    return local
  }

  /// Reads past the page cache; returns whether it can.
  private mutating func readDirectly(_ local: LocalMedium, at position: UInt64, into place: Place, count: Int, token: UInt64) -> Bool {
    let (descriptor, isDirect) = local.description(at: position, count: count)
    if isDirect { ring.read(descriptor, at: position, into: place.arena, offset: place.offset, count: count, userData: token) }
    return isDirect
  }

  mutating func write(_ device: Device, at position: UInt64, from place: Place, count: Int, token: UInt64) {
    let local = local(device)
    let (descriptor, isDirect) = local.description(at: position, count: count)
    if isDirect {
      ring.write(descriptor, at: position, from: place.arena, offset: place.offset, count: count, userData: token)
    } else {
      transfers.write(local, at: position, from: memories[place.arena], place.offset, count: count, token: token)
    }
  }

  mutating func hash(_ digest: RegionDigest, _ place: Place, count: Int, token: UInt64) {
    transfers.hash(digest, memories[place.arena], place.offset, count: count, token: token)
  }

  mutating func advance(until deadline: UInt64?, into completions: inout [Completion]) {
    if !isListening {
      ring.readWakeUp(wakeUp.descriptor, userData: Self.wakeUpToken)
      isListening = true
    }
    if let deadline {
      let now = deadline == 0 ? 0 : kcs_monotonic()
      if deadline > now { ring.submitAndWait(atMost: deadline - now) } else { ring.submit() }
    } else {
      ring.submitAndWait()
    }
    taken.removeAll(keepingCapacity: true)
    ring.takeCompletions(into: &taken)
    for completion in taken {
      if completion.userData == Self.wakeUpToken {
        isListening = false
      } else {
        completions.append(Completion(token: completion.userData, result: Int64(completion.result)))
      }
    }
    transfers.take(into: &completions)
  }
}
