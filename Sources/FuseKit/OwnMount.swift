internal import CSystemShims
internal import Glibc
internal import Locking

/// System calls into a session's own mount, so that the kernel sees what the session changes by itself.
///
/// They wait for the session's threads, and so are made on a thread of their own.  That thread shares no descriptor with the
/// others: were the process killed while it waits, the last /dev/fuse would otherwise never be closed, for this thread
/// would hold it, and wait for its closing.
public final class OwnMount: Sendable {
  /// The root of the mount, for the length of a piece of work.
  public struct Root: Sendable {
    fileprivate let descriptor: Int32

    /// Sets the time of the last change to now: IN_MODIFY for who watches the file or its directory.
    ///
    /// - Parameter path: below the root. What isn't there any more need not be touched.
    public func touch(_ path: String) { _ = kcs_touch_at(descriptor, path) }

    /// - Parameter path: below the root.
    public func removeDirectory(_ path: String) { _ = kcs_remove_directory_at(descriptor, path) }
  }

  private struct State {
    var waiting: [@Sendable (Root) -> Void] = []
    var thread: Int32 = 0
    /// `st_dev` of the mount, when it has been seen.
    var device: UInt64?
    /// Whether the root may be kept open, as one that keeps nobody from unmounting.
    var standsApart = false
  }

  private let mountPoint: String
  private let state = Locked(State())
  private let work = Semaphore()
  private let started = Semaphore()

  /// - Parameter mountPoint: where the session is mounted and serves.
  /// - Throws: the errno of pthread_create(3).
  public init(at mountPoint: String) throws(FuseError) {
    self.mountPoint = mountPoint
    var thread: UInt64 = 0
    let context = Unmanaged.passRetained(self)
    let result = kcs_thread_start(&thread, ownMountBody, context.toOpaque())
    guard result == 0 else {
      context.release()
      throw FuseError(errno: -result, text: "cannot start a thread")
    }
    _ = kcs_thread_detach(thread)
    started.wait()
  }

  /// The thread whose requests these are.
  public var thread: Int32 { state.withLock { $0.thread } }

  /// Does the body on the thread, after those that were given before. From any thread; it never waits.
  public func perform(_ body: @escaping @Sendable (Root) -> Void) {
    let isFirst = state.withLock { state in
      state.waiting.append(body)
      return state.waiting.count == 1
    }
    if isFirst { work.signal() }
  }

  /// Works from now on in a mount of its own of the same file system: where a path is walked in the one that others see,
  /// their umount(8) finds it busy.  Not everybody may make one; then all stays as it is.
  ///
  /// Whoever asks for it has to say when the mount has gone: the session doesn't end as long as there is another.
  public func standApart() { state.withLock { $0.standsApart = true } }

  /// Gives up the mount of its own, and returns when that is done, or the thread is kept by a call.
  public func letGo() {
    let isDone = state.withLock { state in
      defer { state.standsApart = false }
      return !state.standsApart
    }
    if isDone { return }
    let done = Semaphore()
    perform { _ in done.signal() }
    // It waits for the session, which may have ended; then that kept nobody.
    done.wait(until: kcs_monotonic() + 1_000_000_000)
  }

  fileprivate func run() {
    kcs_name_thread("fuse-own")
    let isApart = kcs_unshare_descriptors() == 0
    state.withLock { $0.thread = kcs_gettid() }
    started.signal()
    var clone: Root?
    while true {
      work.wait()
      let bodies = state.withLock { state in
        defer { state.waiting = [] }
        return state.waiting
      }
      // With the others' descriptors it must not wait for them.
      guard isApart else { continue }
      if !state.withLock({ $0.standsApart }), let own = clone.take() { _ = kcs_close(own.descriptor) }
      if clone == nil, state.withLock({ $0.standsApart }) { clone = open(kcs_clone_mount(mountPoint)) }
      if let clone {
        for body in bodies { body(clone) }
      } else {
        // Kept open it would keep the mount from going.
        let root = open(kcs_open(mountPoint, kcs_O_PATH | O_DIRECTORY, 0))
        for body in bodies { body(root ?? Root(descriptor: -1)) }
        if let root { _ = kcs_close(root.descriptor) }
      }
    }
  }

  /// The mount's root, if that is still what stands at the mount point.
  private func open(_ descriptor: Int32) -> Root? {
    guard descriptor >= 0 else { return nil }
    var facts = kcs_file_facts()
    let isKnown =
      kcs_file_facts(descriptor, &facts) == 0
      && state.withLock { state in
        if state.device == nil { state.device = facts.device }
        return state.device == facts.device
      }
    if isKnown { return Root(descriptor: descriptor) }
    _ = kcs_close(descriptor)
    return nil
  }
}

private func ownMountBody(_ context: UnsafeMutableRawPointer?) {
  Unmanaged<OwnMount>.fromOpaque(context!).takeRetainedValue().run()
}
