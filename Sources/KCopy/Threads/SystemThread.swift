internal import CSystemShims
internal import Locking

/// A POSIX thread of our own that runs one body: for what may block, and for what must stay on one thread.
///
/// Not Dispatch and not Swift's task pool: those have as many threads as the machine has cores, and one device that
/// hangs would take them all.
public final class SystemThread: Sendable {
  private let handle: UInt64

  private final class Start {
    let name: String
    let body: @Sendable () -> Void
    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Starts a thread; the kernel shows it under `name`, cut to 15 characters.
  ///
  /// - Throws: `DeviceError` with EAGAIN when the limit of threads is reached.
  public init(_ name: String, _ body: @escaping @Sendable () -> Void) throws(DeviceError) {
    let start = unsafe Unmanaged.passRetained(Start(name: name, body: body))
    var handle: UInt64 = 0
    let result = unsafe kcs_thread_start(&handle, Self.entry, start.toOpaque())
    guard result == 0 else {
      unsafe start.release()
      throw DeviceError(errno: -result, call: DeviceError.threadCall)
    }
    self.handle = handle
  }

  /// The same for a thread of the engine, which has given up its rights before the body runs.
  ///
  /// - Throws: `DeviceError`, as `ThreadRights.giveUp()` too; then the body doesn't run.
  convenience init(withoutRights name: String, _ body: @escaping @Sendable () -> Void) throws(DeviceError) {
    guard ThreadRights.areToBeGivenUp else {
      try self.init(name, body)
      return
    }
    let failure = Locked<DeviceError?>(nil)
    let isDecided = Semaphore()
    try self.init(name) {
      do throws(DeviceError) {
        try ThreadRights.giveUp()
      } catch {
        failure.withLock { $0 = error }
        isDecided.signal()
        return
      }
      isDecided.signal()
      body()
    }
    isDecided.wait()
    if let error = failure.withLock({ $0 }) {
      join()
      throw error
    }
  }

  private static let entry: @convention(c) @Sendable (UnsafeMutableRawPointer?) -> Void = { context in
    guard let context = unsafe context else { return }
    let start = unsafe Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
    rename(start.name)
    start.body()
  }

  /// Has the kernel show the calling thread under another name.
  static func rename(_ name: String) { unsafe kcs_name_thread(name) }

  /// Waits for the body's end; once only, and never from the thread itself.
  public func join() {
    _ = kcs_thread_join(handle)
  }

  /// Lets the thread end by itself.
  public func detach() {
    _ = kcs_thread_detach(handle)
  }
}
