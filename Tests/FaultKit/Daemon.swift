internal import Foundation
internal import Glibc
internal import Synchronization

/// A running `kcopyfs MOUNTPOINT -f`, with `state=none` unless an option says otherwise.
public final class Daemon: Resource, Sendable {
  /// The mount point.
  public let mount: String
  public let process: ChildProcess
  private let released = Mutex(false)

  /// Starts it, and waits until its `version` answers.
  /// - Parameters:
  ///   - mount: a directory.
  ///   - options: of `-o`.
  ///   - launcher: a program with its arguments that starts it, `prlimit` for one.
  ///   - lifetime: after which it's killed, so that a daemon that answers nothing fails its test (ENOTCONN) instead of hanging it.
  public init(on mount: String, options: [String] = [], launcher: [String] = [], lifetime: Duration = .seconds(90)) throws {
    try requireRoot()
    if !Files.exists("/dev/fuse") { throw Missing("there is no /dev/fuse: nothing can be mounted") }
    self.mount = mount
    let state = options.contains { $0.hasPrefix("state=") } ? [] : ["state=none"]
    let command = launcher + [try Daemon.binary(), mount, "-f", "-o", (state + options).joined(separator: ",")]
    process = try Command(command[0], Array(command.dropFirst())).start()
    kill(after: lifetime)
    do {
      try eventually(within: .seconds(20), "\(mount)/version answers") { [process] in
        if !process.running { throw Missing("kcopyfs ended: \(try process.wait())") }
        return (try? Files.text(mount + "/version"))?.isEmpty == false
      }
    } catch {
      // The first error tells more than what goes wrong in clearing up.
      try? process.end()
      _ = try? run("umount", "-l", mount)
      throw error
    }
  }

  /// The program under test: `KCOPYFS_BINARY`, or the one that was built beside the tests.
  public static func binary() throws -> String {
    if let path = ProcessInfo.processInfo.environment["KCOPYFS_BINARY"] { return path }
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let path = tests.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/kcopyfs"
    if !Files.exists(path) { throw Missing("there is no \(path); KCOPYFS_BINARY can name the program to test") }
    return path
  }

  /// The program with arguments of the test's own, not started.
  public static func command(_ arguments: [String]) throws -> Command {
    Command(try binary(), arguments)
  }

  /// A path in the mount.
  public func path(_ name: String) -> String { mount + "/" + name }

  /// Whether the mount point is in the mount table.
  public var mounted: Bool {
    get throws { try Files.text("/proc/self/mountinfo").split(separator: "\n").contains { $0.contains(" \(mount) ") } }
  }

  /// SIGKILL; what is mounted stays behind, dead.
  public func kill() throws {
    try process.end()
  }

  /// Takes it that the daemon ended as the test wanted: `release` only checks that nothing is left.
  public func expectEnd(within deadline: Duration = .seconds(10)) throws -> Outcome {
    let outcome = try process.wait(within: deadline)
    try eventually("\(mount) is no longer mounted") { try !mounted }
    return outcome
  }

  /// SIGTERM, exit status 0 within 10 s, and no mount left; else it's killed, detached and reported with its stderr.
  public func release() throws {
    let again = released.withLock { old in
      defer { old = true }
      return old
    }
    if again { return }
    let wasRunning = process.running
    process.signal(SIGTERM)
    let outcome = Result { try process.wait(within: .seconds(10)) }
    let left = try mounted
    if left { try run("umount", "-l", mount).orThrow() }
    let ending = try outcome.get()
    if wasRunning && !ending.succeeded { throw Missing("kcopyfs did not end well by SIGTERM: \(ending)") }
    if wasRunning && left { throw Missing("kcopyfs ended and left \(mount) mounted: \(ending)") }
  }

  private func kill(after lifetime: Duration) {
    DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(Int(lifetime.components.seconds) * patience)) { [weak self] in
      self?.process.signal(SIGKILL)
    }
  }
}
