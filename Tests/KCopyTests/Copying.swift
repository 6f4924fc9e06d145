import CSystemShims
import FaultKit
import KCopy
import Locking
import Synchronization

/// What the engine promises holds whatever moves the bytes.
let transports: [Client.Transport] = [.ring, .threads]

/// The notifications of some copies, in the order they came.
final class Notified: Sendable {
  private let notifications = Locked<[KCopy.Notification]>([])
  private let arrived = Semaphore()

  /// What `Client.copy` takes.
  var handler: @Sendable (KCopy.Notification) -> Void {
    { notification in
      self.notifications.withLock { $0.append(notification) }
      self.arrived.signal()
    }
  }

  var all: [KCopy.Notification] { notifications.withLock { $0 } }

  /// Waits for so many more notifications; returns all there are.
  /// - Throws: `Missing` when one of them takes longer than the deadline, so that a lost one fails its test instead of hanging it.
  @discardableResult
  func wait(_ count: Int = 1, within seconds: UInt64 = 60) throws -> [KCopy.Notification] {
    let deadline = kcs_monotonic() + seconds * UInt64(patience) * 1_000_000_000
    for number in 0..<count where !arrived.wait(until: deadline) {
      throw Missing("notification \(number + 1) of \(count) did not come within \(seconds * UInt64(patience)) s")
    }
    return all
  }
}

/// Copies and waits for the notification.
func copyAndWait(
  _ client: Client, from source: Region, to destinations: [Region], options: CopyOptions = CopyOptions()
) throws -> KCopy.Notification {
  let notified = Notified()
  try client.copy(from: source, to: destinations, options: options, notify: notified.handler)
  return try notified.wait()[0]
}

/// The errno that `body` throws, by its name; "" if it throws nothing.
func refusal(_ body: () throws -> Void) throws -> String {
  do {
    try body()
    return ""
  } catch let error as DeviceError {
    return ErrnoName.of(error.errno)
  }
}

extension Region {
  /// All of a device.
  init(_ device: Device) { self.init(device, start: 0, count: device.size) }
}

extension Workbench {
  /// A client that is destroyed at the end; make it after the devices that it copies between.
  func client(_ transport: Client.Transport, pages: Int = 1024, subjob: Int = 1 << 20, slots: Int = 8) throws -> Client {
    var configuration = Client.Configuration()
    configuration.transport = transport
    configuration.pages = pages
    configuration.subjob = subjob
    configuration.slots = slots
    let client = try Client(configuration)
    atEnd { client.destroy() }
    return client
  }

  /// An open device that is closed at the end.
  func open(_ path: String, _ access: Device.Access = .writing(exclusive: true)) throws -> Device {
    let device = try Device(path: path, access: access)
    atEnd { try closeAndWait(device) }
    return device
  }

  /// A file with these bytes, open.
  func openFile(
    _ name: String, _ bytes: [UInt8], inMemory: Bool = true, _ access: Device.Access = .writing(exclusive: true)
  ) throws -> Device {
    try open(file(name, bytes, inMemory: inMemory), access)
  }

  /// A device with faults whose sectors have 512 bytes, or more: then as a loop device on top of it.
  func faultDevice(size: Int, sectorSize: Int) throws -> (fault: FaultDevice, path: String) {
    let fault = try faultDevice(size: size)
    if sectorSize == 512 { return (fault, fault.path) }
    return (fault, keep(try LoopDevice(backing: fault.path, size: size, sectorSize: sectorSize, directIO: true)).path)
  }
}

/// Closes a device that was flushed too: its thread ends.
///
/// - Parameter done: called where the close tells its end.
func closeAndWait(_ device: Device, done: @escaping @Sendable (Int32) -> Void = { _ in }) throws {
  let closed = Semaphore()
  let result = Atomic<Int32>(0)
  device.close { error in
    done(error)
    result.store(error, ordering: .releasing)
    closed.signal()
  }
  guard closed.wait(until: kcs_monotonic() + 30_000_000_000) else { throw Missing("a close that ends") }
  let error = result.load(ordering: .acquiring)
  if error != 0 { throw SystemError(error, "close") }
}

extension FaultDevice {
  /// Holds a kind of request until `body` returns or throws: a gate that stays shut would hang what follows.
  func holding<R>(_ kind: Kind, _ body: () throws -> R) throws -> R {
    try hold(kind)
    let result = Result { try body() }
    try open(kind)
    return try result.get()
  }

  /// Waits until a request of a kind has arrived since there were `before`.
  func awaitRequest(_ kind: Kind, after before: Int = 0) throws {
    try eventually("a request \(kind) at the device") { try count(kind) > before }
  }

  /// How many requests of a kind have arrived.
  func count(_ kind: Kind) throws -> Int { try requests.count { $0.kind == kind } }
}

/// Does on a thread of the test's own what a callback asks for, which comes on a thread without rights.
final class Deputy: Sendable {
  private let asked = Semaphore()
  private let done = Semaphore()

  /// - Parameter body: done once.
  init(_ body: @escaping @Sendable () -> Void) throws {
    try SystemThread("deputy") { [asked, done] in
      asked.wait()
      body()
      done.signal()
    }.detach()
  }

  /// Has it done, and waits for that.
  func act() {
    asked.signal()
    done.wait()
  }
}
