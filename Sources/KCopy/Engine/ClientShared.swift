internal import CSystemShims
internal import Locking
internal import Synchronization

/// What a client's thread and the rest of the program both see.
final class ClientShared: Sendable {
  let pagesFree: Atomic<Int>
  let pagesPeak = Atomic(0)
  let bytesRead = Atomic<UInt64>(0)
  let bytesWritten = Atomic<UInt64>(0)
  private let threadID = Atomic<Int32>(0)
  private let usesRing = Atomic(false)
  private let started = Semaphore()
  private let failure = Locked<DeviceError?>(nil)

  init(pages: Int) { pagesFree = Atomic(pages) }

  /// Tells the maker of the client that its thread runs, or why it doesn't; called on that thread.
  func start(_ transport: Client.Transport, error: DeviceError?) {
    usesRing.store(transport == .ring, ordering: .relaxed)
    threadID.store(kcs_gettid(), ordering: .relaxed)
    failure.withLock { $0 = error }
    started.signal()
  }

  /// Waits for `start`; returns its error.
  func awaitStart() -> DeviceError? {
    started.wait()
    return failure.withLock { $0 }
  }

  var transport: Client.Transport { usesRing.load(ordering: .relaxed) ? .ring : .threads }
  var isOnThread: Bool { threadID.load(ordering: .relaxed) == kcs_gettid() }
}
