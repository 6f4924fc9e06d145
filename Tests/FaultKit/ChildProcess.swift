internal import Glibc
internal import Synchronization

/// How a process ended.
public enum Ending: Equatable, Sendable, CustomStringConvertible {
  case exit(Int32)
  case signal(Int32)

  public var description: String {
    switch self {
    case .exit(let status): "exit status \(status)"
    case .signal(let number): "signal \(number)"
    }
  }
}

/// What a process left behind.
public struct Outcome: Sendable, CustomStringConvertible {
  public let ending: Ending
  public let output: [UInt8]
  public let errorOutput: [UInt8]
  let commandLine: String

  public var succeeded: Bool { ending == .exit(0) }
  public var text: String { String(decoding: output, as: UTF8.self) }
  public var errorText: String { String(decoding: errorOutput, as: UTF8.self) }
  /// The output without its last newline, as `$(...)` has it.
  public var line: String { text.hasSuffix("\n") ? String(text.dropLast()) : text }
  public var description: String { "`\(commandLine)`: \(ending); stdout: \(text); stderr: \(errorText)" }

  /// - Throws: `Missing` with the command, its ending and its stderr unless it exited with 0.
  @discardableResult public func orThrow() throws -> Outcome {
    if !succeeded { throw Missing(description) }
    return self
  }
}

/// A running process, the leader of a process group of its own.
///
/// Its output goes to unlinked files, not pipes: nothing has to be drained, it can be looked at while the process runs, and a
/// grandchild that outlives it (a crash reporter) can't keep a reader waiting.
public final class ChildProcess: Sendable {
  public let pid: Int32
  private let commandLine: String
  private let outputFile: Int32
  private let errorFile: Int32
  private let ending = Mutex<Ending?>(nil)

  init(pid: Int32, commandLine: String, outputFile: Int32, errorFile: Int32) {
    self.pid = pid
    self.commandLine = commandLine
    self.outputFile = outputFile
    self.errorFile = errorFile
  }

  deinit {
    if running { try? end(within: .seconds(5)) }
    close(outputFile)
    close(errorFile)
  }

  public var running: Bool { reap() == nil }
  public var output: [UInt8] { contents(of: outputFile) }
  public var text: String { String(decoding: output, as: UTF8.self) }
  public var errorText: String { String(decoding: contents(of: errorFile), as: UTF8.self) }

  #if arch(x86_64)
    private static let (readCall, writeCall) = ("0", "1")
  #else
    private static let (readCall, writeCall) = ("63", "64")
  #endif

  /// Waits until the process, or so many of its threads, are in a `read(2)` of a file.
  public func awaitRead(of path: String, byThreads count: Int = 1, within deadline: Duration = .seconds(10)) throws {
    try eventually(within: deadline, "process \(pid) waits in a read of \(path)") {
      if !running { throw Missing("`\(commandLine)` has ended: \(errorText)") }
      return threads(in: Self.readCall, of: path) >= count
    }
  }

  /// Waits until the process is in a `write(2)` of a file.
  public func awaitWrite(of path: String, within deadline: Duration = .seconds(10)) throws {
    try eventually(within: deadline, "process \(pid) waits in a write of \(path)") {
      if !running { throw Missing("`\(commandLine)` has ended: \(errorText)") }
      return threads(in: Self.writeCall, of: path) > 0
    }
  }

  private func threads(in number: String, of path: String) -> Int {
    let tasks = (try? Files.names(in: "/proc/\(pid)/task")) ?? []
    return tasks.count { task in
      // The call's number and its first argument, or "running".
      guard let call = try? Files.text("/proc/\(pid)/task/\(task)/syscall").split(separator: " "), call.count > 1, call[0] == number,
        let descriptor = Int(call[1].dropFirst(2), radix: 16)
      else { return false }
      return Files.target("/proc/\(pid)/fd/\(descriptor)") == path
    }
  }

  /// Sends a signal to the process alone; nothing if it has ended.
  public func signal(_ number: Int32) {
    ending.withLock { if $0 == nil { _ = kill(pid, number) } }
  }

  /// Waits for the end.
  /// - Throws: `Missing` if the deadline passes; the process group is killed then.
  @discardableResult public func wait(within deadline: Duration = .seconds(240)) throws -> Outcome {
    let limit = ContinuousClock.now + deadline * patience
    while true {
      if let ending = reap() {
        return Outcome(ending: ending, output: output, errorOutput: contents(of: errorFile), commandLine: commandLine)
      }
      if ContinuousClock.now >= limit { break }
      usleep(1000)
    }
    let soFar = "stdout: \(text); stderr: \(errorText)"
    try end(within: .seconds(5))
    throw Missing("`\(commandLine)` did not end within \(deadline * patience); \(soFar)")
  }

  /// Kills the process group and waits for its leader.
  /// - Throws: `Missing` if even SIGKILL doesn't end it (state D).
  public func end(within deadline: Duration = .seconds(5)) throws {
    ending.withLock { if $0 == nil { _ = kill(-pid, SIGKILL) } }
    try eventually(within: deadline, "`\(commandLine)` ends by SIGKILL") { !running }
  }

  private func reap() -> Ending? {
    ending.withLock { ending in
      if ending != nil { return ending }
      var status: Int32 = 0
      if waitpid(pid, &status, WNOHANG) == pid {
        let signal = status & 0x7f
        ending = signal == 0 ? .exit((status >> 8) & 0xff) : .signal(signal)
      }
      return ending
    }
  }

  private func contents(of file: Int32) -> [UInt8] {
    var facts = stat()
    guard fstat(file, &facts) == 0, facts.st_size > 0 else { return [] }
    return [UInt8](unsafeUninitializedCapacity: Int(facts.st_size)) { buffer, count in
      count = max(0, pread(file, buffer.baseAddress, buffer.count, 0))
    }
  }
}
