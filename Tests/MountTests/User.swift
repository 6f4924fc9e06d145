import FaultKit

/// Somebody else than root, who runs programs.
struct User {
  let uid: Int
  var groups: [Int] = []
  /// Capabilities that their programs have all the same, as setpriv names them.
  var capabilities: [String] = []

  static let alice = User(uid: 1234)
  static let bob = User(uid: 1235)

  func command(_ program: String, _ arguments: [String]) -> Command {
    let groups = groups.isEmpty ? "--clear-groups" : "--groups=" + groups.map(String.init).joined(separator: ",")
    let rights = capabilities.map { "+" + $0 }.joined(separator: ",")
    let raised = capabilities.isEmpty ? [] : ["--inh-caps=" + rights, "--ambient-caps=" + rights]
    return Command("setpriv", ["--reuid=\(uid)", "--regid=\(uid)", groups] + raised + [program] + arguments)
  }

  @discardableResult func run(_ program: String, _ arguments: String...) throws -> Outcome { try command(program, arguments).run() }

  @discardableResult func shell(_ script: String, _ arguments: String...) throws -> Outcome {
    try command("bash", ["-c", script, "bash"] + arguments).run()
  }

  /// Opens a file and writes a record to it.
  static let submission = """
    import errno, os, sys
    def submit(path, record):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try: os.write(fd, record.encode() + b"\\n")
        finally:
            try: os.close(fd)
            except OSError: pass
    def attempt(action, *arguments):
        try: action(*arguments); return "taken"
        except OSError as e: return errno.errorcode[e.errno]
    """

  func submitting(_ record: String, to path: String) -> Command {
    command("python3", ["-I", "-S", "-c", Self.submission + "\nprint(attempt(submit, *sys.argv[1:]))", path, record])
  }

  /// Submits a record: `taken`, or the errno's name.
  func submit(_ record: String, to path: String) throws -> String { try submitting(record, to: path).run().orThrow().line }

  func submit(_ record: String, as name: String = "job", to daemon: Daemon) throws -> String {
    try submit(record, to: daemon.path("jobs/" + name))
  }

  /// The text of the last refusal that the user sees.
  func refusal(_ daemon: Daemon) throws -> String {
    let errors = try run("cat", daemon.path("errors")).orThrow().text.split(separator: "\n")
    return try errors.last.map { try Words($0)["text"] } ?? ""
  }

  /// What a job of theirs came to.
  func result(_ job: Job) throws -> String { try run("cat", job.path + "/result").orThrow().line }
}

extension Workbench {
  /// A file of a user's own, in a directory of theirs.
  func file(of user: User, _ name: String, _ bytes: [UInt8]) throws -> String {
    let path = try home(of: user) + "/" + name
    try Files.write(path, bytes)
    try FaultKit.run("chown", "\(user.uid):\(user.uid)", path).orThrow()
    return path
  }

  /// A directory of a user's own, which others can't look into.
  func home(of user: User) throws -> String {
    let path = disk + "/home\(user.uid)"
    if !Files.exists(path) {
      try Files.makeDirectory(path)
      try FaultKit.run("chown", "\(user.uid):\(user.uid)", path).orThrow()
      try FaultKit.run("chmod", "0700", path).orThrow()
    }
    return path
  }
}

/// Runs a body with a daemon that serves everybody.
func withSharedDaemon<R>(options: [String] = [], _ body: (Workbench, Daemon) throws -> R) throws -> R {
  try withDaemon(options: ["allow_other"] + options, body)
}
