internal import CSystemShims
internal import CopyJobs
internal import FuseKit
internal import Glibc
internal import JobFS
internal import Journal
internal import KCopy

/// The life of one mount: from its state to a clean end.
struct Daemon {
  let mountPoint: String
  /// The first column of /proc/mounts: `mount -a` finds by it that its line of fstab is mounted already.
  let source: String
  let options: MountOptions

  /// What cannot be gone on after, in words for the terminal.
  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }

  private static let fuseMagic = 0x6573_5546
  private static let endings = [SIGTERM, SIGINT, SIGHUP]
  /// Of the ten seconds that a stop may take, what is left to devices.
  private static let patience: UInt64 = 8

  /// Mounts, serves until a signal or an umount, and takes the mount away.
  ///
  /// - Parameters:
  ///   - ready: called when the mount answers.
  ///   - stopping: called when no new work is taken any more.
  func run(ready: () -> Void, stopping: () -> Void) throws(Failure) {
    try prepareProcess()
    let jobs = try makeJobs()
    let files: JobFileSystem
    do throws(DeviceError) {
      files = try JobFileSystem(serving: jobs, keep: options.keep)
    } catch {
      throw Failure("\(error.call): \(ErrnoName.of(error.errno))")
    }
    let session: Session
    let own: OwnMount
    do throws(FuseError) {
      let extra = options.allowsOthers ? ["allow_other"] : []
      session = try Session(
        serving: files, at: mountPoint, source: source, type: "kcopyfs",
        options: extra + ["nosuid", "nodev", "noexec"])
      try session.start()
      own = try OwnMount(at: mountPoint)
      files.attach(own)
    } catch {
      throw Failure("\(mountPoint): \(error.text)")
    }
    // An umount from outside ends us as SIGTERM does, one with -l too.
    session.whenEnded { kill(getpid(), SIGTERM) }
    do throws(DeviceError) {
      if let watch = MountWatch(mountPoint) {
        own.standApart()
        try watch.whenDetached {
          own.letGo()
          kill(getpid(), SIGTERM)
        }
      }
    } catch {
      throw Failure("\(error.call): \(ErrnoName.of(error.errno))")
    }
    do throws(Refusal) {
      try jobs.setMount(mountPoint)
    } catch {
      session.stop()
      throw Failure(error.text)
    }
    do throws(DeviceError) {
      try jobs.goOn()
    } catch {
      session.stop()
      throw Failure("\(error.call): \(ErrnoName.of(error.errno))")
    }
    ready()
    waitForEnd()
    stopping()
    let left = jobs.stop(within: Self.patience)
    session.stop()
    jobs.release()
    if left > 0 { Self.say("\(left) jobs still have something in flight on a device that doesn't answer") }
  }

  private func prepareProcess() throws(Failure) {
    kcs_spare_address_space()
    try ProcessRights.reduce()
    // Before any thread, so that all inherit it: signals are this thread's business.
    _ = unsafe kcs_block_signals(Self.endings, Int32(Self.endings.count))
    for signal in [SIGPIPE, SIGXFSZ] { _ = kcs_ignore_signal(signal) }
    var limit = rlimit()
    if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
      limit.rlim_cur = limit.rlim_max
      _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
    try detachDeadMount()
  }

  /// A daemon that was killed leaves a mount that answers ENOTCONN to whoever opens it; only such a one is taken away.
  private func detachDeadMount() throws(Failure) {
    // An open, for what stat says can still be remembered by the kernel.
    var directory = unsafe kcs_open(mountPoint, O_RDONLY | O_DIRECTORY, 0)
    // It has ended just now, in the middle of this question.
    if directory == -ECONNABORTED { directory = unsafe kcs_open(mountPoint, O_RDONLY | O_DIRECTORY, 0) }
    guard directory < 0 else {
      defer { close(directory) }
      var system = statfs()
      var root = stat()
      // The root of a FUSE file system, of whatever program: a mount over it would hide it.
      if unsafe fstatfs(directory, &system) == 0, system.f_type == Self.fuseMagic, unsafe fstat(directory, &root) == 0, root.st_ino == 1 {
        throw Failure("\(mountPoint) is served by another daemon already")
      }
      return
    }
    guard directory == -ENOTCONN else { throw Failure("\(mountPoint): \(unsafe String(cString: strerror(-directory)))") }
    let result = unsafe kcs_detach_mount(mountPoint)
    guard result == 0 else {
      throw Failure("\(mountPoint): the mount of a daemon that is gone: \(unsafe String(cString: strerror(-result)))")
    }
    Self.say("\(mountPoint): took away the mount of a daemon that is gone")
  }

  private func makeJobs() throws(Failure) -> JobService {
    let directory: String?
    do throws(OptionError) {
      directory = try options.directory(for: mountPoint)
    } catch {
      throw Failure(error.description)
    }
    do {
      // The state is its owner's alone; files that copies make get the umask of those who ask for them.
      umask(0o077)
      let journal = try Journal(directory: directory)
      umask(0)
      var shape = JobService.Configuration()
      shape.pages = options.pages
      shape.mostJobs = options.mostJobs
      shape.mostJobsPerUid = options.mostJobsPerUid
      shape.servesOtherRoots = options.servesOtherRoots
      let jobs = try JobService(journal: journal, shape)
      jobs.followTrouble { trouble in
        Self.say(
          trouble.map { "no job is accepted, and none ends, until the journal can be written: \($0)" } ?? "the journal is written again")
      }
      return jobs
    } catch let error as JournalError {
      throw Failure(error.text)
    } catch let error as DeviceError {
      throw Failure("\(error.call): \(ErrnoName.of(error.errno))")
    } catch {
      throw Failure("\(error)")
    }
  }

  private func waitForEnd() {
    while true {
      let signal = unsafe kcs_wait_signal(Self.endings, Int32(Self.endings.count))
      if signal == SIGTERM || signal == SIGINT || signal < 0 { return }
    }
  }

  /// A line on the terminal, or in the log of whoever started us, whatever names it holds.
  static func say(_ text: String) {
    let line = Array("kcopyfs: \(Words.printable(text.utf8, limit: .max))\n".utf8)
    _ = unsafe write(2, line, line.count)
  }
}
