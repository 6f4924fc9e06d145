import CSystemShims
import Glibc
import Testing

/// A program, with the signals as a shell in the foreground would give them to it.
final class Child {
  struct End {
    /// That ended it, or 0.
    var signal: Int32
    var code: Int32
    /// What it wrote to its standard output.
    var output: String
  }

  let pid: pid_t
  private let output: UnsafeMutablePointer<FILE>
  private var status: Int32?

  init(_ arguments: [String]) throws {
    let output = try #require(tmpfile())
    self.output = output
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigaddset(&signals, SIGINT)
    sigaddset(&signals, SIGTERM)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, fileno(output), 1)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var words = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var pid: pid_t = 0
    let error = posix_spawn(&pid, arguments[0], &actions, &attributes, &words, environ)
    self.pid = pid
    if error != 0 { status = 0 }
    try #require(error == 0)
  }

  /// A program that reads a file so many times, and writes a line for each: what came, or `errno N`. SIGUSR1 only
  /// interrupts its reads.
  static func reading(_ path: String, times: Int = 1) throws -> Child {
    let script = """
      $SIG{USR1} = sub {}; open F, "<", $ARGV[0] or die;
      for (1..$ARGV[1]) { $out .= (defined sysread(F, $b, 4096) ? $b : "errno " . ($!+0)) . "\\n" }
      $SIG{USR1} = "IGNORE"; print $out
      """
    return try Child(["/usr/bin/perl", "-e", script, path, String(times)])
  }

  deinit {
    if status == nil {
      kill(pid, SIGKILL)
      waitpid(pid, nil, 0)
    }
    fclose(output)
  }

  var hasEnded: Bool {
    if status != nil { return true }
    var status: Int32 = 0
    guard waitpid(pid, &status, WNOHANG) == pid else { return false }
    self.status = status
    return true
  }

  /// Whether it sleeps in the kernel until a file system in user space answers.
  var awaitsAnswer: Bool {
    guard let file = fopen("/proc/\(pid)/wchan", "r") else { return false }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    return getline(&line, &capacity, file) > 0 && String(cString: line!).contains("request_wait_answer")
  }

  /// How it ended; nil if it still runs after the deadline.
  func wait() -> End? {
    guard eventually({ hasEnded }), let status else { return nil }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = max(0, kcs_pread(fileno(output), &bytes, UInt64(bytes.count), 0))
    return End(signal: status & 0x7f, code: status >> 8 & 0xff, output: String(decoding: bytes[..<Int(count)], as: UTF8.self))
  }
}
