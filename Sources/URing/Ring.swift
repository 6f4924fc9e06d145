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
  private var memory: TransferMemory?
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

  /// Registers the memory of all transfers, so that the kernel need not look up its pages for each.
  ///
  /// Only this memory can be transferred; it is kept until the ring goes.
  ///
  /// - Throws: `RingError` with ENOMEM where the limit of locked memory is lower; transfers then work, unregistered.
  public mutating func register(_ memory: TransferMemory) throws(RingError) {
    self.memory = memory
    // A registered buffer holds 1 GiB at most: more memory is several buffers.
    var vectors: [iovec] = []
    var offset = 0
    while offset < memory.bytes {
      let count = min(memory.bytes - offset, Self.bufferLimit)
      vectors.append(iovec(iov_base: memory.address(of: offset, count: count), iov_len: count))
      offset += count
    }
    let result = io_uring_register_buffers(ring, vectors, UInt32(vectors.count))
    guard result >= 0 else { throw RingError(errno: -result, call: "register buffers") }
    isRegistered = true
  }

  private var isRegistered = false
  private static var bufferLimit: Int { 1 << 30 }

  /// The next free entry; hands the prepared ones to the kernel when there is none.
  private mutating func entry() -> UnsafeMutablePointer<io_uring_sqe> {
    while true {
      if let entry = io_uring_get_sqe(ring) { return entry }
      submit()
    }
  }

  /// Prepares a read of `count` bytes at `position` of a file into the memory at `offset`.
  public mutating func read(_ descriptor: Int32, at position: UInt64, into offset: Int, count: Int, userData: UInt64) {
    guard let memory else { preconditionFailure("a ring without memory") }
    let address = memory.address(of: offset, count: count)
    let entry = entry()
    if isRegistered, let buffer = Self.buffer(of: offset, count: count) {
      io_uring_prep_read_fixed(entry, descriptor, address, UInt32(count), position, buffer)
    } else {
      io_uring_prep_read(entry, descriptor, address, UInt32(count), position)
    }
    io_uring_sqe_set_data64(entry, userData)
  }

  /// Prepares a write of `count` bytes of the memory at `offset` to `position` of a file.
  public mutating func write(_ descriptor: Int32, at position: UInt64, from offset: Int, count: Int, userData: UInt64) {
    guard let memory else { preconditionFailure("a ring without memory") }
    let address = memory.address(of: offset, count: count)
    let entry = entry()
    if isRegistered, let buffer = Self.buffer(of: offset, count: count) {
      io_uring_prep_write_fixed(entry, descriptor, address, UInt32(count), position, buffer)
    } else {
      io_uring_prep_write(entry, descriptor, address, UInt32(count), position)
    }
    io_uring_sqe_set_data64(entry, userData)
  }

  /// The registered buffer that holds a part of the memory; none when the part lies across two of them.
  private static func buffer(of offset: Int, count: Int) -> Int32? {
    let first = offset / bufferLimit
    return (offset + count - 1) / bufferLimit == first ? Int32(first) : nil
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
  public mutating func submitAndWait() {
    enter { io_uring_submit_and_wait($0, 1) }
  }

  /// Three different cases beside success:
  /// 1. a signal, or the kernel short of memory for a moment: what was not taken is still prepared, try again;
  /// 2. the completion queue is full: return, so that the caller takes completions, which makes room;
  /// 3. any other errno is a request that this file made wrongly, and nothing after it could be trusted.
  private func enter(_ call: (UnsafeMutablePointer<io_uring>) -> Int32) {
    while true {
      let result = call(ring)
      if result >= 0 || result == -EBUSY { return }
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
