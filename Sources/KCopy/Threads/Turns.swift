internal import Locking

/// A thread for what must not be done where it is found, one piece after the other.
///
/// The end of one thing may be the turn of the next: ended where they are found, ten thousand in a row would be as many calls deep,
/// and on the thread of the engine.
public final class Turns: Sendable {
  private let due = Locked<[@Sendable () -> Void]>([])
  private let work = Semaphore()

  /// - Throws: `DeviceError` at the limit of threads.
  public init(_ name: String) throws(DeviceError) {
    try SystemThread(name) { [self] in run() }.detach()
  }

  /// Does something when what was given before it is done.
  public func perform(_ body: @escaping @Sendable () -> Void) {
    due.withLock { $0.append(body) }
    work.signal()
  }

  private func run() {
    while true {
      work.wait()
      let bodies = due.withLock { due in
        defer { due = [] }
        return due
      }
      for body in bodies { body() }
    }
  }
}
