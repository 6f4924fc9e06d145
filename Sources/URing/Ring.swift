internal import CSystemShims
internal import CUring

/// Why a ring could not be made: io_uring refused, or memory that may not be locked.
public struct RingError: Error, Sendable {
  /// The errno of the system call that failed.
  public let errno: Int32
  /// What was tried, "io_uring_setup" or "register buffers".
  public let call: StaticString
}

/// One completed request.
public struct RingCompletion: Sendable {
  /// The value that the request was prepared with.
  public let userData: UInt64
  /// What the system call would have returned: a count of bytes, or the negative errno.
  public let result: Int32
}

/// An io_uring of one thread: prepare, submit and wait, take completions.
///
/// It belongs to the thread that made it (`IORING_SETUP_SINGLE_ISSUER`), and the kernel runs its work only while that
/// thread waits (`IORING_SETUP_DEFER_TASKRUN`), where the kernel knows both; Linux 6.1 does.  Who prepares requests
/// keeps fewer of them in flight than `completionEntries`, so that the completion queue never overflows.
public struct Ring: ~Copyable {
  private let ring: UnsafeMutablePointer<io_uring>
  /// The memories of transfers, by the number that they were attached as; those registered with the kernel have a buffer
  /// of the same number.
  private var memories: [(memory: TransferMemory, isRegistered: Bool)?] = []
  private let wakeCounter: UnsafeMutablePointer<UInt64>

  /// How many requests may be in flight at once.
  public let completionEntries: Int

  /// Makes a ring on the calling thread.
  ///
  /// - Parameters:
  ///   - entries: requests that can be prepared before they are handed to the kernel, a power of two.
  ///   - completionEntries: requests in flight, a power of two.
  /// - Throws: `RingError`; EPERM or ENOSYS where io_uring is switched off, ENOMEM under a small limit of locked memory.
  public init(entries: UInt32, completionEntries: UInt32) throws(RingError) {
    let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
    ring.initialize(to: io_uring())
    let wanted = [IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0]
    var result: Int32 = 0
    for flags in wanted {
      var parameters = io_uring_params()
      parameters.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP
      parameters.cq_entries = completionEntries
      result = io_uring_queue_init_params(entries, ring, &parameters)
      // EINVAL: a kernel that doesn't know the flags; any other errno would come again.
      if result != -EINVAL { break }
    }
    if result < 0 {
      ring.deallocate()
      throw RingError(errno: -result, call: "io_uring_setup")
    }
    self.ring = ring
    self.completionEntries = Int(ring.pointee.cq.ring_entries)
    wakeCounter = .allocate(capacity: 1)
    wakeCounter.initialize(to: 0)
  }

  deinit {
    io_uring_queue_exit(ring)
    ring.deallocate()
    wakeCounter.deallocate()
  }

  /// The memories that can be registered at once; more of them work as well, unregistered.
  private static var tableEntries: Int { 256 }
  private var hasTable: Bool?

  /// Makes a memory that transfers may use, under a number; registered, so that the kernel need not look up its pages for
  /// each transfer, unless the limit of locked memory forbids.
  ///
  /// - Parameter memory: at most 1 GiB of it, which is what a registered buffer holds.
  public mutating func attach(_ memory: TransferMemory, as number: Int) {
    while memories.count <= number { memories.append(nil) }
    if hasTable == nil { hasTable = io_uring_register_buffers_sparse(ring, UInt32(Self.tableEntries)) == 0 }
    let isRegistered = hasTable == true && number < Self.tableEntries && setBuffer(number, memory)
    memories[number] = (memory, isRegistered)
  }

  /// Lets go of a memory that no transfer uses any more.
  public mutating func detach(_ number: Int) {
    if memories[number]?.isRegistered == true { _ = setBuffer(number, nil) }
    memories[number] = nil
  }

  /// Whether transfers of a memory are spared the look at its pages.
  public func isRegistered(_ number: Int) -> Bool { number < memories.count && memories[number]?.isRegistered == true }

  private func setBuffer(_ number: Int, _ memory: TransferMemory?) -> Bool {
    var vector = iovec()
    if let memory { vector = iovec(iov_base: memory.address(of: 0, count: memory.bytes), iov_len: memory.bytes) }
    var tag: UInt64 = 0
    return io_uring_register_buffers_update_tag(ring, UInt32(number), &vector, &tag, 1) == 1
  }

  /// Lets as many requests as wanted block at once in the kernel's own threads, which serve what cannot be done without
  /// waiting, a write into a hole of a file say: by default a few that hang stop all others.
  public mutating func allowBlockedRequests(_ count: UInt32) {
    var limits: [UInt32] = [count, 0]
    // A kernel that doesn't know it keeps its own limit.
    _ = io_uring_register_iowq_max_workers(ring, &limits)
  }

  /// The next free entry; hands the prepared ones to the kernel when there is none.
  private mutating func entry() -> UnsafeMutablePointer<io_uring_sqe> {
    while true {
      if let entry = io_uring_get_sqe(ring) { return entry }
      submit()
    }
  }

  /// Prepares a read of `count` bytes at `position` of a file into an attached memory at `offset`.
  public mutating func read(
    _ descriptor: Int32, at position: UInt64, into number: Int, offset: Int, count: Int, userData: UInt64
  ) {
    guard let memory = memories[number] else { preconditionFailure("a transfer without memory") }
    let address = memory.memory.address(of: offset, count: count)
    let entry = entry()
    if memory.isRegistered {
      io_uring_prep_read_fixed(entry, descriptor, address, UInt32(count), position, Int32(number))
    } else {
      io_uring_prep_read(entry, descriptor, address, UInt32(count), position)
    }
    io_uring_sqe_set_data64(entry, userData)
  }

  /// Prepares a write of `count` bytes of an attached memory at `offset` to `position` of a file.
  public mutating func write(
    _ descriptor: Int32, at position: UInt64, from number: Int, offset: Int, count: Int, userData: UInt64
  ) {
    guard let memory = memories[number] else { preconditionFailure("a transfer without memory") }
    let address = memory.memory.address(of: offset, count: count)
    let entry = entry()
    if memory.isRegistered {
      io_uring_prep_write_fixed(entry, descriptor, address, UInt32(count), position, Int32(number))
    } else {
      io_uring_prep_write(entry, descriptor, address, UInt32(count), position)
    }
    io_uring_sqe_set_data64(entry, userData)
  }

  /// Prepares to be woken: completes once the event descriptor is signalled.
  public mutating func readWakeUp(_ eventDescriptor: Int32, userData: UInt64) {
    let entry = entry()
    io_uring_prep_read(entry, eventDescriptor, wakeCounter, 8, 0)
    io_uring_sqe_set_data64(entry, userData)
  }

  /// Hands the prepared requests to the kernel.
  public mutating func submit() {
    enter { io_uring_submit($0) }
  }

  /// Hands the prepared requests to the kernel and waits until at least one request has completed.
  ///
  /// - Parameter nanoseconds: how long at most; `nil`: without end.
  public mutating func submitAndWait(atMost nanoseconds: UInt64? = nil) {
    guard let nanoseconds else { return enter { io_uring_submit_and_wait($0, 1) } }
    var timeout = __kernel_timespec()
    timeout.tv_sec = Int64(nanoseconds / 1_000_000_000)
    timeout.tv_nsec = Int64(nanoseconds % 1_000_000_000)
    enter {
      var completion: UnsafeMutablePointer<io_uring_cqe>?
      return io_uring_submit_and_wait_timeout($0, &completion, 1, &timeout, nil)
    }
  }

  /// Four different cases beside success:
  /// 1. a signal, or the kernel short of memory for a moment: what was not taken is still prepared, try again;
  /// 2. the completion queue is full: return, so that the caller takes completions, which makes room;
  /// 3. the time is over;
  /// 4. any other errno is a request that this file made wrongly, and nothing after it could be trusted.
  private func enter(_ call: (UnsafeMutablePointer<io_uring>) -> Int32) {
    while true {
      let result = call(ring)
      if result >= 0 || result == -EBUSY || result == -ETIME { return }
      guard result == -EINTR || result == -EAGAIN || result == -ENOMEM else {
        fatalError("io_uring_enter: \(String(cString: kcs_errno_name(-result)))")
      }
    }
  }

  /// Takes the completions that are there, without waiting.
  public mutating func takeCompletions(into list: inout [RingCompletion]) {
    while true {
      var completion: UnsafeMutablePointer<io_uring_cqe>?
      guard io_uring_peek_cqe(ring, &completion) == 0, let completion else { return }
      list.append(RingCompletion(userData: completion.pointee.user_data, result: completion.pointee.res))
      io_uring_cqe_seen(ring, completion)
    }
  }
}
