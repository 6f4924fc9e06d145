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

/// Descriptors of this process that lead to a place: what a test left open, whatever other tests do.
func openDescriptors(below path: String) throws -> [String] {
  try Files.names(in: "/proc/self/fd").compactMap { KernelText.link("/proc/self/fd/\($0)") }.filter { $0.hasPrefix(path) }
}
