internal import ArgumentParser
internal import Glibc

@main
struct KCopyFS: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kcopyfs",
    abstract: "Mounts a directory in which each copy between disks or files is a directory.",
    discussion: """
      echo 'from=/dev/sda to=/dev/sdb to=/dev/sdc' > MOUNTPOINT/jobs/nightly
      cat MOUNTPOINT/jobs/nightly/result

      Options of -o: state=DIR|none, pages=N, max_jobs=N, max_jobs_per_uid=N, keep=SECONDS, ns=refuse|caller, allow_other. MOUNTPOINT/README has the rest.
      """,
    version: "0.1.0")

  @Argument(help: "The directory to mount on; mount(8) puts its source, which is only shown in the table of mounts, before it.")
  var mountPoint: [String]

  @Flag(name: [.customShort("f"), .long], help: "Stay in the foreground.")
  var foreground = false

  @Option(name: .customShort("o"), help: "Mount options, separated by commas.")
  var options: [String] = []

  func validate() throws {
    guard (1...2).contains(mountPoint.count) else { throw ValidationError("one mount point is wanted") }
  }

  func run() throws {
    // What goes on behind the command is not the service that its caller may be.
    let manager = foreground ? ServiceManager.fromEnvironment() : nil
    do {
      let options = try MountOptions(options)
      let path = try Self.absolute(mountPoint[mountPoint.count - 1])
      let background = foreground ? Background.none : try Background.start()
      try Daemon(mountPoint: path, source: mountPoint.count == 2 ? mountPoint[0] : "kcopyfs", options: options).run {
        background.isReady()
        manager?.isReady("serving \(path)")
      } stopping: {
        manager?.isStopping("ending the copies on \(path)")
      }
    } catch {
      Daemon.say("\(error)")
      manager?.hasFailed("\(error)")
      throw ExitCode.failure
    }
  }

  /// The path without links, even when a dead mount stands at its end, which nothing can be asked about.
  private static func absolute(_ path: String) throws(OptionError) -> String {
    if let resolved = unsafe realpath(path, nil) {
      defer { unsafe free(resolved) }
      return unsafe String(cString: resolved)
    }
    guard errno == ENOTCONN else { throw OptionError(description: "\(path): \(unsafe String(cString: strerror(errno)))") }
    let parts = path.split(separator: "/")
    let parent = (path.hasPrefix("/") ? "/" : "./") + parts.dropLast().joined(separator: "/")
    guard let name = parts.last, name != "..", let resolved = unsafe realpath(parent, nil) else {
      throw OptionError(description: "\(path): \(unsafe String(cString: strerror(errno)))")
    }
    defer { unsafe free(resolved) }
    let above = unsafe String(cString: resolved)
    return above == "/" ? "/\(name)" : "\(above)/\(name)"
  }
}
