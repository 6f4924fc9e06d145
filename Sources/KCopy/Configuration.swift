internal import Glibc

extension Client {
  /// What moves the bytes of a client.
  public enum Transport: String, Sendable {
    /// io_uring, with registered memory.
    case ring
    /// `pread(2)` and `pwrite(2)` on a few threads, where io_uring is refused.
    case threads
  }

  /// The shape of a client.  All of it but `transport` can be changed while copies run: see `Client.update`.
  public struct Configuration: Sendable, Equatable {
    /// 4096-byte pages set aside for the copies of the client, at least those of one sub-job: `num_pages` of
    /// `kcopyd_client_create` as `Documentation/admin-guide/device-mapper/kcopyd.rst` has it.
    public var pages = 4096
    /// The largest single transfer, in bytes; a multiple of 4096, at most 1 GiB: kcopyd's `kcopyd_subjob_size_kb`, per client.
    public var subjob = 1 << 20
    /// Sub-jobs of one copy in flight at once, 1 to 4096: `SPLIT_COUNT` of `drivers/md/dm-kcopyd.c`.
    public var slots = 8
    /// The percentage of the time that the client keeps a device busy, 1 to 100: kcopyd's throttle, by a clock of
    /// nanoseconds.  No read starts while one of its devices is over it; what is under way goes on.
    public var throttle = 100
    /// Bytes of the regions per second, of all copies together, at least 1; `nil`: as fast as it goes.
    public var rate: UInt64?
    /// `nil`: io_uring if the kernel lets us, else threads.
    public var transport: Transport?

    /// 16 MiB of pages, sub-jobs of 1 MiB, 8 slots, no throttle and no rate.
    public init() {}

    /// - Throws: EINVAL for a shape that no client can have.
    func check() throws(DeviceError) {
      guard (PagePool.pageBytes...1 << 30).contains(subjob), subjob % PagePool.pageBytes == 0 else {
        throw DeviceError(errno: EINVAL, call: "length of a sub-job")
      }
      guard pages >= subjob / PagePool.pageBytes else { throw DeviceError(errno: EINVAL, call: "pages for a client") }
      guard (1...4096).contains(slots) else { throw DeviceError(errno: EINVAL, call: "slots of a copy") }
      guard (1...100).contains(throttle) else { throw DeviceError(errno: EINVAL, call: "throttle of a client") }
      guard rate != 0 else { throw DeviceError(errno: EINVAL, call: "rate of a client") }
    }
  }
}
