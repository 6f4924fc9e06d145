internal import Glibc
internal import URing

/// Transfers by io_uring.
struct RingDriver: TransferDriver, ~Copyable {
  private var ring: Ring
  private let wakeUp: WakeUp
  private var isListening = false
  private var taken: [RingCompletion] = []

  private static let submissions: UInt32 = 256
  private static let completions: UInt32 = 4096
  private static let wakeUpToken = UInt64.max

  init(memory: TransferMemory, wakeUp: WakeUp) throws(RingError) {
    var ring = try Ring(entries: Self.submissions, completionEntries: Self.completions)
    do throws(RingError) {
      try ring.register(memory)
    } catch {
      // Under a small limit of locked memory transfers work as well, only each looks its pages up.
      guard error.errno == ENOMEM || error.errno == EPERM else { throw error }
    }
    self.ring = ring
    self.wakeUp = wakeUp
    taken.reserveCapacity(Int(Self.completions))
  }

  /// One completion is kept for the wake-up.
  var capacity: Int { ring.completionEntries - 1 }

  mutating func read(_ descriptor: Int32, at position: UInt64, into offset: Int, count: Int, token: UInt64) {
    ring.read(descriptor, at: position, into: offset, count: count, userData: token)
  }

  mutating func write(_ descriptor: Int32, at position: UInt64, from offset: Int, count: Int, token: UInt64) {
    ring.write(descriptor, at: position, from: offset, count: count, userData: token)
  }

  mutating func advance(blocking: Bool, into completions: inout [Completion]) {
    if !isListening {
      ring.readWakeUp(wakeUp.descriptor, userData: Self.wakeUpToken)
      isListening = true
    }
    if blocking { ring.submitAndWait() } else { ring.submit() }
    taken.removeAll(keepingCapacity: true)
    ring.takeCompletions(into: &taken)
    for completion in taken {
      if completion.userData == Self.wakeUpToken {
        isListening = false
      } else {
        completions.append(Completion(token: completion.userData, result: Int64(completion.result)))
      }
    }
  }
}
