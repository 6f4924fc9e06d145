internal import CSystemShims
internal import Glibc

/// Starting without `-f`: the command returns when the mount answers, and the daemon goes on in a session of its own.
///
/// The fork comes before any thread: a thread that the child inherits by name only would leave its locks taken.
struct Background {
  private let pipe: Int32?

  /// Stays in the foreground.
  static let none = Background(pipe: nil)

  /// Forks; only the child returns.  The parent waits to hear of `isReady`, and exits with 1 when the child ends first.
  static func start() throws(OptionError) -> Background {
    var ends: [Int32] = [0, 0]
    guard unsafe Glibc.pipe(&ends) == 0 else { throw OptionError(description: "pipe: \(unsafe String(cString: strerror(errno)))") }
    let child = kcs_fork()
    guard child >= 0 else { throw OptionError(description: "fork: \(unsafe String(cString: strerror(-child)))") }
    if child > 0 {
      close(ends[1])
      var byte: UInt8 = 0
      let count = unsafe read(ends[0], &byte, 1)
      exit(count == 1 ? 0 : 1)
    }
    close(ends[0])
    return Background(pipe: ends[1])
  }

  /// Tells whoever started us that the mount answers, and lets go of their terminal and directory.
  func isReady() {
    guard let pipe else { return }
    // Not before: systemd's automount, which waits for us, lets through to the mount point only its own process group.
    setsid()
    _ = unsafe chdir("/")
    let null = unsafe kcs_open("/dev/null", O_RDWR, 0)
    for descriptor: Int32 in 0...2 where null >= 0 { dup2(null, descriptor) }
    var byte: UInt8 = 1
    // Whoever started us may have gone, and need not hear of it.
    _ = unsafe write(pipe, &byte, 1)
    close(pipe)
  }
}
