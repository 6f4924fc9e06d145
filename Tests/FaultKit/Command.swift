internal import Foundation
internal import Glibc

/// A program to run: arguments, what its stdin holds, variables added to the environment, and the time it may take.
public struct Command: Sendable {
  public var program: String
  public var arguments: [String]
  public var environment: [String: String]
  public var input: [UInt8]
  public var deadline: Duration

  public init(
    _ program: String, _ arguments: [String] = [], environment: [String: String] = [:], input: [UInt8] = [],
    deadline: Duration = .seconds(60)
  ) {
    self.program = program
    self.arguments = arguments
    self.environment = environment
    self.input = input
    self.deadline = deadline
  }

  /// Runs to the end.
  /// - Throws: `Missing` when there is no such program or the deadline passes (it's killed then).
  public func run() throws -> Outcome {
    try start().wait(within: deadline)
  }

  /// Starts it and returns at once.
  public func start() throws -> ChildProcess {
    let path = try Command.path(of: program)
    let inputFile = try unlinkedFile(holding: input)
    defer { close(inputFile) }
    let outputFile = try unlinkedFile(holding: [])
    let errorFile = try unlinkedFile(holding: [])

    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, inputFile, 0)
    posix_spawn_file_actions_adddup2(&actions, outputFile, 1)
    posix_spawn_file_actions_adddup2(&actions, errorFile, 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setpgroup(&attributes, 0)
    // A test run from a background job has SIGINT ignored, and so would its children.
    var standard = sigset_t()
    sigemptyset(&standard)
    for number in [SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGUSR1] { sigaddset(&standard, number) }
    posix_spawnattr_setsigdefault(&attributes, &standard)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    let variables = Command.inherited.merging(environment) { $1 }.map { "\($0.key)=\($0.value)" }
    let commandLine = ([program] + arguments).joined(separator: " ")
    var pid: pid_t = 0
    let error = withCStrings([path] + arguments) { argv in
      withCStrings(variables) { posix_spawn(&pid, path, &actions, &attributes, argv, $0) }
    }
    if error != 0 {
      close(outputFile)
      close(errorFile)
      throw SystemError(error, "posix_spawn \(commandLine)")
    }
    return ChildProcess(pid: pid, commandLine: commandLine, outputFile: outputFile, errorFile: errorFile)
  }

  /// The distribution's programs come before whatever else PATH has: a wrapper around python3 costs a tenth of a second a call.
  private static let searchPath = "/usr/sbin:/usr/bin:/sbin:/bin:" + (ProcessInfo.processInfo.environment["PATH"] ?? "")

  private static let inherited: [String: String] = {
    var variables = ProcessInfo.processInfo.environment
    variables["PATH"] = searchPath
    variables["LC_ALL"] = "C.UTF-8"
    variables["SWIFT_BACKTRACE"] = "enable=no"
    return variables
  }()

  /// Whether a program of that name is installed.
  public static func isInstalled(_ program: String) -> Bool { (try? path(of: program)) != nil }

  private static func path(of program: String) throws -> String {
    if program.contains("/") { return program }
    for folder in searchPath.split(separator: ":") where access("\(folder)/\(program)", X_OK) == 0 { return "\(folder)/\(program)" }
    throw Missing("the program \(program) is not installed")
  }
}

/// Runs a program to its end, whatever its exit status.
public func run(_ program: String, _ arguments: String..., input: String = "") throws -> Outcome {
  try Command(program, arguments, input: Array(input.utf8)).run()
}

/// Runs a script with a shell (`bash`, `dash`, `zsh`, or `busybox` for its sh).
public func shell(_ script: String, with shell: String = "bash", environment: [String: String] = [:]) throws -> Outcome {
  try shellCommand(script, with: shell, environment: environment).run()
}

/// The command that `shell` runs, to be started.
public func shellCommand(_ script: String, with shell: String = "bash", environment: [String: String] = [:]) -> Command {
  Command(shell, (shell == "busybox" ? ["sh"] : []) + ["-c", script], environment: environment)
}

/// Runs a Python 3 script; its arguments are `sys.argv[1:]`.
public func python(_ script: String, _ arguments: String...) throws -> Outcome {
  try pythonCommand(script, arguments).run()
}

/// The command that `python` runs, to be started.
public func pythonCommand(_ script: String, _ arguments: [String]) -> Command {
  Command("python3", ["-I", "-S", "-u", "-c", script] + arguments)
}

private func unlinkedFile(holding bytes: [UInt8]) throws -> Int32 {
  // Close-on-exec from the start: another test may be starting a child in this moment.
  let path = "/tmp/kcopyfs-test.\(UInt64.random(in: 0 ... .max))"
  let file = try checked(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_APPEND, 0o600), "open \(path)")
  unlink(path)
  var rest = bytes[...]
  while !rest.isEmpty {
    let written = rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
    if written < 0 { throw SystemError(errno, "write to a file in /tmp") }
    rest = rest.dropFirst(written)
  }
  lseek(file, 0, SEEK_SET)
  return file
}

private func withCStrings<R>(_ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R) -> R {
  let copies: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  defer { for copy in copies { free(copy) } }
  return body(copies + [nil])
}
