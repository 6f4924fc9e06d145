internal import Crypto
internal import Locking
internal import Synchronization
internal import URing

/// The SHA-256 of a region that arrives in ascending pieces, on a thread of its own: a client's thread has all copies to serve.
final class RegionDigest: Sendable {
  private let hasher = Locked(SHA256())
  private let threads = BlockingThreads("kcopy-hash", most: 1)

  deinit { threads.finish() }

  /// Takes in the next piece, and then calls `done`: on the digest's thread, or here where there is none to be had.
  func update(_ memory: TransferMemory, _ offset: Int, count: Int, _ done: @escaping @Sendable () -> Void) {
    let work: @Sendable () -> Void = { [hasher = self] in
      hasher.updateNow(memory, offset, count: count)
      done()
    }
    // A thread that there is takes it, so where there is none nothing is under way that came before.
    if !threads.perform(work) { work() }
  }

  func updateNow(_ memory: TransferMemory, _ offset: Int, count: Int) {
    hasher.withLock { hasher in
      unsafe memory.withUnsafeBytes(offset, count: count) { unsafe hasher.update(bufferPointer: $0) }
    }
  }

  /// The digest of all that was taken in, as 64 lower-case digits.
  var text: String {
    hasher.withLock { hasher in
      hasher.finalize().reduce(into: "") { text, byte in
        let digits = String(byte, radix: 16)
        text += byte < 16 ? "0" + digits : digits
      }
    }
  }
}
