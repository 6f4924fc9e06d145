import CSystemShims
import FaultKit
import Glibc
import Locking
import Synchronization
import Testing

@testable import KCopy

/// A file that was made for a copy has a name that may not be on the medium.  In place of a directory these tests give the
/// descriptor of a disk with faults: it sees that it is flushed, and can fail.
@Suite("Flushing the name of a new file")
struct NewNameTests {
  @Test("The first flush that succeeds takes the directory along, and later ones don't")
  func once() throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice()
      let device = try Self.openNew(bench, directory: try Self.descriptor(fault))
      let before = try fault.count(.flush)
      for _ in 0..<3 { #expect(try Self.flush(device) == 0 && fault.count(.flush) == before + 1) }
    }
  }

  @Test("A directory that can't be flushed fails the flush, and is tried again with the next")
  func failing() throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice()
      let device = try Self.openNew(bench, directory: try Self.descriptor(fault))
      try fault.setFaults([.flush])
      #expect(try Self.flush(device) == EIO && Self.flush(device) == EIO)
      try fault.setFaults([])
      #expect(try Self.flush(device) == 0)
      let count = try fault.count(.flush)
      #expect(try Self.flush(device) == 0 && fault.count(.flush) == count)
    }
  }

  @Test("A directory that comes later is taken along by the flush after that, again if the name came again")
  func later() throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice()
      let device = try Self.openNew(bench, directory: nil)
      let before = try fault.count(.flush)
      #expect(try Self.flush(device) == 0 && fault.count(.flush) == before)
      for round in 1...3 {
        for _ in 0..<2 { device.syncsToo(directory: try Self.descriptor(fault)) }
        for _ in 0..<2 { #expect(try Self.flush(device) == 0 && fault.count(.flush) == before + round) }
      }
    }
  }

  @Test("One that comes while a flush is under way is not taken for flushed")
  func meanwhile() throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice()
      let device = try Self.openNew(bench, directory: try Self.descriptor(fault))
      let before = try fault.count(.flush)
      let flush = try fault.holding(.flush) {
        let flush = Flush(device)
        try fault.awaitRequest(.flush, after: before)
        device.syncsToo(directory: try Self.descriptor(fault))
        return flush
      }
      #expect(try flush.wait() == 0 && fault.count(.flush) == before + 1)
      #expect(try Self.flush(device) == 0 && fault.count(.flush) == before + 2)
    }
  }

  @Test("However often a directory comes, one descriptor of it is open, and none when the device is closed")
  func descriptors() throws {
    try withWorkbench { bench in
      func open() throws -> Int {
        try Files.names(in: "/proc/self/fd").count { Files.target("/proc/self/fd/\($0)") == bench.disk }
      }
      let device = try Device(path: try bench.file("file", []), access: .writing(exclusive: true))
      for _ in 0..<100 { device.syncsToo(directory: try #require(Self.open(bench.disk, O_RDONLY | O_DIRECTORY))) }
      #expect(try open() == 1)
      #expect(try Self.flush(device) == 0)
      try closeAndWait(device)
      #expect(try open() == 0)
    }
  }

  private static func open(_ path: String, _ flags: Int32) -> Int32? {
    let descriptor = kcs_open(path, flags, 0)
    return descriptor < 0 ? nil : descriptor
  }

  private static func descriptor(_ fault: FaultDevice) throws -> Int32 { try #require(open(fault.path, O_RDONLY)) }

  /// A file that is open for writing, with something in place of its directory.
  private static func openNew(_ bench: Workbench, directory: Int32?) throws -> Device {
    let file = try #require(open(try bench.file("new", []), kcs_O_PATH))
    defer { _ = kcs_close(file) }
    let device = try Device(descriptor: file, access: .writing(exclusive: true), directory: directory)
    bench.atEnd { try closeAndWait(device) }
    return device
  }

  private static func flush(_ device: Device) throws -> Int32 { try Flush(device).wait() }
}

/// A flush that is under way.
private final class Flush: Sendable {
  private let result = Atomic<Int32>(0)
  private let ended = Semaphore()

  init(_ device: Device) {
    device.flush {
      self.result.store($0, ordering: .releasing)
      self.ended.signal()
    }
  }

  /// 0, or its errno.
  func wait() throws -> Int32 {
    guard ended.wait(until: kcs_monotonic() + 30_000_000_000) else { throw Missing("a flush that ends") }
    return result.load(ordering: .acquiring)
  }
}
