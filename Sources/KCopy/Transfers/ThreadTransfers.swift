internal import Locking
internal import URing

/// Transfers on the threads of their devices: those through the page cache, which may block, and all of them where
/// io_uring is refused.
final class ThreadTransfers: Sendable {
  private let completions = Locked<[Completion]>([])
  /// The mailbox's own: a completion and a command end the same wait.
  private let wakeUp: WakeUp
  /// For devices that need a thread when there is none to be had: their transfers wait for each other.  A source has none before its
  /// first transfer, and by then its copy was accepted.
  private let lastResort = BlockingThreads("kcopy-transfer", most: 1)

  /// - Throws: `DeviceError` with EAGAIN when the limit of threads is reached.
  init(wakeUp: WakeUp) throws(DeviceError) {
    self.wakeUp = wakeUp
    try lastResort.startOne()
  }

  deinit { lastResort.finish() }

  var isEmpty: Bool { completions.withLock { $0.isEmpty } }

  func read(_ device: LocalMedium, at position: UInt64, into memory: TransferMemory, _ offset: Int, count: Int, token: UInt64) {
    let descriptor = device.description(at: position, count: count).descriptor
    perform(device) { Completion(token: token, result: memory.read(from: descriptor, at: position, into: offset, count: count)) }
  }

  func readBack(_ device: LocalMedium, at position: UInt64, into memory: TransferMemory, _ offset: Int, count: Int, token: UInt64) {
    perform(device) {
      device.passingCache(at: position, count: count) { descriptor, isCached in
        Completion(
          token: token, result: memory.read(from: descriptor, at: position, into: offset, count: count), isFromCache: isCached)
      }
    }
  }

  func write(_ device: LocalMedium, at position: UInt64, from memory: TransferMemory, _ offset: Int, count: Int, token: UInt64) {
    let descriptor = device.description(at: position, count: count).descriptor
    perform(device) { Completion(token: token, result: memory.write(to: descriptor, at: position, from: offset, count: count)) }
  }

  func hash(_ digest: RegionDigest, _ memory: TransferMemory, _ offset: Int, count: Int, token: UInt64) {
    digest.update(memory, offset, count: count) { self.complete(Completion(token: token, result: Int64(count))) }
  }

  private func perform(_ device: LocalMedium, _ transfer: @escaping @Sendable () -> Completion) {
    let work: @Sendable () -> Void = { self.complete(transfer()) }
    if !device.perform(work) { _ = lastResort.perform(work) }
  }

  private func complete(_ completion: Completion) {
    let isFirst = completions.withLock { completions in
      completions.append(completion)
      return completions.count == 1
    }
    if isFirst { wakeUp.signal() }
  }

  /// Appends what has completed.
  func take(into list: inout [Completion]) {
    completions.withLock { completions in
      list.append(contentsOf: completions)
      completions.removeAll(keepingCapacity: true)
    }
  }
}

/// The memories of a client by their numbers.
struct Memories {
  private var byNumber: [TransferMemory?] = []

  subscript(number: Int) -> TransferMemory {
    guard let memory = byNumber[number] else { preconditionFailure("a transfer without memory") }
    return memory
  }

  mutating func attach(_ memory: TransferMemory, as number: Int) {
    while byNumber.count <= number { byNumber.append(nil) }
    byNumber[number] = memory
  }

  mutating func detach(_ number: Int) { byNumber[number] = nil }
}
