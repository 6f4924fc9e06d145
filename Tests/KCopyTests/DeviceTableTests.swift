import CSystemShims
import FaultKit
import Glibc
import KCopy
import Locking
import Synchronization
import Testing

/// Each in a process of its own: a process that another test starts holds all of our descriptors until its exec, and so
/// a device that we have closed.
@Suite("The table of devices")
struct DeviceTableTests {
  /// The accesses that were asked for, and the handles opened for them.
  final class Opens: Sendable {
    let path: String
    private let asked = Locked<[Device.Access]>([])

    init(_ path: String) { self.path = path }

    var accesses: [Device.Access] { asked.withLock { $0 } }

    func open(_ access: Device.Access) throws(DeviceError) -> Device {
      asked.withLock { $0.append(access) }
      return try Device(path: path, access: access)
    }
  }

  /// Gives a share back; waits until that is done.
  static func release(_ device: Device, to table: DeviceTable) throws {
    let done = Semaphore()
    let result = Atomic<Int32>(-1)
    table.release(
      device,
      done: { error in
        result.store(error, ordering: .releasing)
        done.signal()
      })
    guard done.wait(until: kcs_monotonic() + 30_000_000_000) else { throw Missing("a release that ends") }
    #expect(result.load(ordering: .acquiring) == 0)
  }

  /// The open of somebody without a right.
  static func refuse(_ access: Device.Access) throws(DeviceError) -> Device { throw DeviceError(errno: EACCES, call: "open") }

  /// What somebody else's exclusive open says; "" for success.
  static func thirdParty(_ path: String) throws -> String {
    try refusal { try Device(path: path, access: .writing(exclusive: true)).closeNow() }
  }

  @Test("The first share opens exclusively, the next proves its right by a plain open, the last release closes")
  func shares() async {
    await #expect(processExitsWith: .success) {
      try withWorkbench { bench in
        let file = try bench.file("file", [])
        for path in [try bench.loop(size: 1 << 20).path, file] {
          let table = DeviceTable()
          let opens = Opens(path)
          let key = try Device(path: path, access: .reading).identified()
          let first = try table.share(key, open: opens.open)
          #expect(first.access == .writing(exclusive: true) && opens.accesses == [.writing(exclusive: true)])
          let second = try table.share(key, open: opens.open)
          #expect(second === first && opens.accesses == [.writing(exclusive: true), .writing(exclusive: false)])
          #expect(try DeviceTableTests.thirdParty(path) == "EBUSY")
          try DeviceTableTests.release(first, to: table)
          #expect(try DeviceTableTests.thirdParty(path) == "EBUSY", "the second share still holds it")
          let free = Atomic(-1)
          let done = Semaphore()
          let look = try Deputy { free.store((try? DeviceTableTests.thirdParty(path)) == "" ? 1 : 0, ordering: .releasing) }
          table.release(
            second,
            done: { _ in
              look.act()
              done.signal()
            })
          done.wait()
          #expect(free.load(ordering: .acquiring) == 1, "when it is done the device is free")
          let again = try table.share(key, open: opens.open)
          #expect(again !== first && opens.accesses.last == .writing(exclusive: true))
          try DeviceTableTests.release(again, to: table)
        }
      }
    }
  }

  @Test("An open that fails leaves nothing behind: the next share opens anew")
  func failingOpen() async {
    await #expect(processExitsWith: .success) {
      try withWorkbench { bench in
        let path = try bench.loop(size: 1 << 20).path
        let key = try Device(path: path, access: .reading).identified()
        let table = DeviceTable()
        let opens = Opens(path)
        #expect(try refusal { _ = try table.share(key, open: DeviceTableTests.refuse) } == "EACCES")
        let holder = try Device(path: path, access: .writing(exclusive: true))
        #expect(try refusal { _ = try table.share(key, open: opens.open) } == "EBUSY")
        holder.closeNow()
        let device = try table.share(key, open: opens.open)
        #expect(try refusal { _ = try table.share(key, open: DeviceTableTests.refuse) } == "EACCES")
        try DeviceTableTests.release(device, to: table)
        #expect(try DeviceTableTests.thirdParty(path) == "", "the share without a right was given back")
      }
    }
  }

  @Test("A share that comes while the device is being closed waits for that, and opens anew")
  func waitsForClose() async {
    await #expect(processExitsWith: .success) {
      try withWorkbench { bench in
        let fault = try bench.faultDevice(size: 1 << 20)
        let table = DeviceTable()
        let opens = Opens(fault.path)
        let device = try table.share(try Device(path: fault.path, access: .reading).identified(), open: opens.open)
        let client = try bench.client(.threads)
        let source = try bench.openFile("source", Pattern.bytes(4096, seed: 1), .reading)
        let notified = Notified()
        let closed = Atomic(false)
        let shared = Semaphore()
        let order = Locked<[String]>([])
        try fault.holding(.flush) {
          // The close comes behind the flush on the device's thread.
          try client.copy(from: Region(source), to: [Region(device, start: 0, count: 4096)], notify: notified.handler)
          // A flush that comes before the write is none of the copy's.
          try eventually("the copy's flush is held") {
            let kinds = try fault.requests.map(\.kind)
            return kinds.lastIndex(of: .write).map { kinds[$0...].contains(.flush) } ?? false
          }
          table.release(
            device,
            done: { _ in
              order.withLock { $0.append("closed") }
              closed.store(true, ordering: .releasing)
            })
          try SystemThread("sharer") {
            let again = try? table.share(device.key, open: opens.open)
            order.withLock { $0.append(again == nil ? "refused" : again === device ? "the old one" : "shared") }
            if let again { table.release(again, done: { _ in shared.signal() }) } else { shared.signal() }
          }.detach()
          pause(.milliseconds(150))
          #expect(order.withLock { $0 }.isEmpty && opens.accesses.count == 1, "nothing is opened while it is being closed")
        }
        #expect(shared.wait(until: kcs_monotonic() + 30_000_000_000))
        #expect(order.withLock { $0.sorted() } == ["closed", "shared"])
        #expect(opens.accesses == [.writing(exclusive: true), .writing(exclusive: true)])
        #expect(try notified.wait()[0].isComplete)
      }
    }
  }

  @Test("Shares and releases from many threads: none is refused, and in the end the device is free")
  func manyThreads() async {
    await #expect(processExitsWith: .success) {
      try withWorkbench { bench in
        let disks = try (0..<2).map { _ in try bench.loop(size: 1 << 20) }
        let keys = try disks.map { try Device(path: $0.path, access: .reading).identified() }
        let table = DeviceTable()
        let opens = disks.map { Opens($0.path) }
        let refusals = Locked<[String]>([])
        let threads = try (0..<8).map { number in
          try SystemThread("sharer") {
            var random = SeededGenerator(seed: UInt64(number))
            for _ in 0..<60 {
              let index = Int.random(in: 0...1, using: &random)
              do throws(DeviceError) {
                let device = try table.share(keys[index], open: opens[index].open)
                if device.key != keys[index] { refusals.withLock { $0.append("another device") } }
                if Bool.random(using: &random) { usleep(UInt32.random(in: 0...300, using: &random)) }
                let done = Semaphore()
                table.release(device, done: { _ in done.signal() })
                if Bool.random(using: &random) { done.wait() }
              } catch {
                refusals.withLock { $0.append("\(ErrnoName.of(error.errno)) \(error.call)") }
              }
            }
          }
        }
        for thread in threads { thread.join() }
        #expect(refusals.withLock { $0 }.isEmpty)
        #expect(opens.map(\.accesses.count).reduce(0, +) == 480)
        for disk in disks { try eventually("\(disk.path) is free") { try DeviceTableTests.thirdParty(disk.path) == "" } }
      }
    }
  }
}

extension Device {
  /// The key of a device that was only opened to be known.
  fileprivate func identified() throws -> DeviceKey {
    let result = closeNow()
    if result != 0 { throw SystemError(result, "close") }
    return key
  }
}
