import FaultKit
import Glibc
import KCopy
import Locking

@testable import Admission

/// What opens for a test: its files, the admission, and itself as the caller.
struct Stage {
  let bench: Workbench
  let admission: Admission
  let table = DeviceTable()
  let caller: Caller

  init(_ bench: Workbench) throws {
    self.bench = bench
    admission = Admission(table: table)
    guard let caller = Caller(uid: geteuid(), gid: getegid(), pid: getpid()) else { throw Missing("this process is not seen") }
    self.caller = caller
  }

  func source(_ path: String) throws(Objection) -> Endpoint { try admission.openSource(path, for: caller) }

  func destination(_ path: String, creates: Bool = false) throws(Objection) -> Endpoint {
    try admission.openDestination(path, creates: creates, for: caller)
  }

  /// Gives endpoints back and waits until they are closed.
  func close(_ endpoints: Endpoint...) {
    for endpoint in endpoints {
      let closed = Semaphore()
      admission.close(endpoint) { _ in closed.signal() }
      closed.wait()
    }
  }

  /// Why a path is not opened, as a source or as a destination; `nil` when it is.
  func objection(toSource path: String) throws -> Objection? {
    do throws(Objection) {
      let endpoint = try source(path)
      admission.undo(endpoint)
      return nil
    } catch {
      return error
    }
  }

  func objection(toDestination path: String, creates: Bool = false) throws -> Objection? {
    do throws(Objection) {
      let endpoint = try destination(path, creates: creates)
      admission.undo(endpoint)
      return nil
    } catch {
      return error
    }
  }
}

extension Stage {
  /// Waits until a destination is free: a child that another test is starting may hold a copy of what was closed here until its exec.
  func becomesFree(_ path: String) throws {
    try eventually("\(path) is free") {
      guard let objection = try objection(toDestination: path) else { return true }
      if objection.errno != EBUSY { throw objection }
      return false
    }
  }
}

func withStage<R>(_ body: (Stage) throws -> R) throws -> R {
  try withWorkbench { bench in try body(Stage(bench)) }
}

/// A loop device with an offset into its file, which FaultKit's have not.
struct OffsetLoop: Resource {
  let path: String
  private let backing: String

  init(_ backing: String, offset: Int, arguments: [String] = []) throws {
    self.backing = backing
    path = try Command("losetup", ["-f", "--show", "-o", "\(offset)"] + arguments + [backing]).run().orThrow().line
  }

  /// A partition of it, which the kernel is told of without a table on the disk; it goes with the device.
  ///
  /// - Parameters:
  ///   - start: its first sector, of 512 bytes.
  func partition(_ number: Int, start: Int, sectors: Int, in bench: Workbench) throws -> String {
    try run("addpart", path, "\(number)", "\(start)", "\(sectors)").orThrow()
    bench.atEnd { [path] in try run("delpart", path, "\(number)").orThrow() }
    let name = String(path.dropFirst("/dev/".count))
    let numbers = try Files.text("/sys/block/\(name)/\(name)p\(number)/dev").split(whereSeparator: { ":\n".contains($0) })
    let node = bench.disk + "/\(name)p\(number)"
    try run("mknod", node, "b", String(numbers[0]), String(numbers[1])).orThrow()
    return node
  }

  /// Detaches, and waits until that is done: whoever still holds the device puts it off.
  func release() throws {
    try run("losetup", "-d", path).orThrow()
    let file = "/sys/block/\(path.dropFirst("/dev/".count))/loop/backing_file"
    try eventually("\(path) is detached") { (try? Files.text(file)) != backing + "\n" }
  }
}

/// Descriptors of this process that lead to a place: what a test left open, whatever other tests do.
func openDescriptors(below path: String) throws -> [String] {
  try Files.names(in: "/proc/self/fd").compactMap { KernelText.link("/proc/self/fd/\($0)") }.filter { $0.hasPrefix(path) }
}
