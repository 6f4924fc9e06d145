import CSystemShims
import FaultKit
import KCopy
import Locking

/// What comes later, from other threads: waited for, with a deadline, so that a lost one fails its test instead of hanging it.
final class Arrivals<Element: Sendable>: Sendable {
  private let elements = Locked<[Element]>([])
  private let arrived = Semaphore()

  func add(_ element: Element) {
    elements.withLock { $0.append(element) }
    arrived.signal()
  }

  var all: [Element] { elements.withLock { $0 } }

  /// Waits for one more; returns the last.
  @discardableResult
  func wait(within seconds: UInt64 = 60) throws -> Element {
    guard arrived.wait(until: kcs_monotonic() + seconds * 1_000_000_000), let last = all.last else {
      throw Missing("nothing came within \(seconds) s")
    }
    return last
  }
}

/// Runs a body so many times at once; what one of them throws is thrown at the end.
func atOnce(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
  let failures = Locked<[any Error]>([])
  let threads = try (0..<count).map { number in
    try SystemThread("test-\(number)") {
      do { try body(number) } catch { failures.withLock { $0.append(error) } }
    }
  }
  for thread in threads { thread.join() }
  if let first = failures.withLock({ $0.first }) { throw first }
}

extension Workbench {
  /// An open device that is closed at the end.
  func open(_ path: String, _ access: Device.Access = .writing(exclusive: true)) throws -> Device {
    let device = try Device(path: path, access: access)
    atEnd {
      let closed = Arrivals<Int32>()
      device.close(closed.add)
      let error = try closed.wait()
      if error != 0 { throw SystemError(error, "close \(path)") }
    }
    return device
  }

  /// A client that is destroyed at the end; make it after the devices that it copies between.
  func client() throws -> Client {
    let client = try Client()
    atEnd { client.destroy() }
    return client
  }
}

extension Region {
  var range: Range<Int> { Int(start)..<Int(end) }
}
