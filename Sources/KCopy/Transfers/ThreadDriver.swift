internal import Locking
internal import URing

/// Transfers by `pread(2)` and `pwrite(2)` on a few threads: for machines that refuse io_uring.
struct ThreadDriver: TransferDriver, ~Copyable {
  private struct Request: Sendable {
    var isRead: Bool
    var descriptor: Int32
    var position: UInt64
    var offset: Int
    var count: Int
    var token: UInt64
  }

  /// What the client's thread and the workers share.
  private final class Exchange: Sendable {
    struct State {
      var requests: [Request] = []
      var next = 0
      var completions: [(token: UInt64, result: Int64)] = []
    }

    let memory: TransferMemory
    let state = Locked(State())
    /// Signalled once per request, and once per worker to end them.
    let work: Semaphore
    /// The mailbox's own wake-up: a completion and a command end the same wait.
    let wakeUp: WakeUp

    init(memory: TransferMemory, work: Semaphore, wakeUp: WakeUp) {
      self.memory = memory
      self.work = work
      self.wakeUp = wakeUp
    }

    /// A worker's life; the signal for which there is no request ends it.
    func serve() {
      while true {
        work.wait()
        let request: Request? = state.withLock { state in
          guard state.next < state.requests.count else { return nil }
          defer {
            state.next += 1
            if state.next == state.requests.count {
              state.requests.removeAll(keepingCapacity: true)
              state.next = 0
            }
          }
          return state.requests[state.next]
        }
        guard let request else { return }
        let result =
          request.isRead
          ? memory.read(from: request.descriptor, at: request.position, into: request.offset, count: request.count)
          : memory.write(to: request.descriptor, at: request.position, from: request.offset, count: request.count)
        state.withLock { $0.completions.append((request.token, result)) }
        wakeUp.signal()
      }
    }
  }

  private let exchange: Exchange
  private let workers: [SystemThread]

  private static let threads = 8

  init(memory: TransferMemory, wakeUp: WakeUp) throws(DeviceError) {
    let exchange = Exchange(memory: memory, work: Semaphore(), wakeUp: wakeUp)
    var workers: [SystemThread] = []
    do throws(DeviceError) {
      for _ in 0..<Self.threads { workers.append(try SystemThread("kcopy-transfer") { exchange.serve() }) }
    } catch {
      // Fewer threads are slower, none is no driver.
      guard !workers.isEmpty else { throw error }
    }
    self.exchange = exchange
    self.workers = workers
  }

  deinit {
    for _ in workers { exchange.work.signal() }
    for worker in workers { worker.join() }
  }

  var capacity: Int { 4096 }

  mutating func read(_ descriptor: Int32, at position: UInt64, into offset: Int, count: Int, token: UInt64) {
    give(Request(isRead: true, descriptor: descriptor, position: position, offset: offset, count: count, token: token))
  }

  mutating func write(_ descriptor: Int32, at position: UInt64, from offset: Int, count: Int, token: UInt64) {
    give(Request(isRead: false, descriptor: descriptor, position: position, offset: offset, count: count, token: token))
  }

  private func give(_ request: Request) {
    exchange.state.withLock { $0.requests.append(request) }
    exchange.work.signal()
  }

  mutating func advance(blocking: Bool, into completions: inout [Completion]) {
    let hasSome = exchange.state.withLock { !$0.completions.isEmpty }
    if blocking, !hasSome { exchange.wakeUp.wait() }
    exchange.state.withLock { state in
      for completion in state.completions { completions.append(Completion(token: completion.token, result: completion.result)) }
      state.completions.removeAll(keepingCapacity: true)
    }
  }
}
