internal import ArgumentParser
internal import KCopy

/// Runs one workload through the library and prints what it took, for `mount-scripts/bench`; no mount is involved.
@main
struct KCopyWorkload: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kcopy-workload",
    abstract: "Gives a kcopy client many copies, keeps so many of them in flight, and says what they cost.",
    discussion: """
      Prints one line: seconds, bytes (of the source), jobs, user and system (CPU seconds of all threads), notifications, \
      errors, transport. The status is 0 only if every job was notified once, as complete. What the destinations hold is \
      overwritten.
      """)

  @Option(help: "The block device or file to read; none for --op zero.")
  var source: String?

  @Option(name: .customLong("destination"), help: "A block device or file to overwrite; repeat it for more.")
  var destinations: [String]

  @Option(help: "Bytes of a job: a number, or one with K, M or G.")
  var jobSize: ByteCount

  @Option(help: "Jobs in all. They go round on the devices as often as they have to.")
  var jobs: Int

  @Option(help: "Jobs in flight at once.")
  var depth = 32

  @Option(help: "The places on the source, sequential or random; the destinations are written in ascending order always.")
  var pattern = Workload.Pattern.sequential

  @Option(help: "4096-byte pages of the client.")
  var pages = 4096

  @Option(help: "The largest single transfer.")
  var subjob = ByteCount(1 << 20)

  @Option(help: "Sub-jobs of a job in flight at once.")
  var slots = 8

  @Option(name: .customLong("op"), help: "copy, or zero the destinations.")
  var operation = Workload.Operation.copy

  @Option(
    help: """
      none; end: the last job is given when the others are notified, and flushes the devices for all of them; each: every job \
      flushes its destinations.
      """)
  var sync = Workload.Sync.end

  func validate() throws {
    guard (source == nil) == (operation == .zero) else { throw ValidationError("--source goes with --op copy, and only with it") }
    guard jobs > 0, depth > 0 else { throw ValidationError("--jobs and --depth are 1 at least") }
    guard (1...64).contains(destinations.count) else { throw ValidationError("1 to 64 of --destination are wanted") }
  }

  func run() throws {
    let workload: Workload
    do throws(DeviceError) {
      workload = try Workload(
        source: try source.map { path throws(DeviceError) in try Device(path: path, access: .reading) },
        destinations: try destinations.map { path throws(DeviceError) in try Device(path: path, access: .writing(exclusive: true)) },
        jobSize: jobSize.bytes, jobs: jobs, depth: depth, pattern: pattern, sync: sync, configuration: configuration)
    } catch {
      throw Workload.Failure(description: "\(error.call): \(ErrnoName.of(error.errno))")
    }
    let result = try workload.run()
    print(result)
    guard result.errors == 0, result.notifications == jobs else {
      let trouble = result.trouble ?? "not every job was notified"
      throw Workload.Failure(description: "\(trouble); \(result.notifications) of \(jobs) were notified")
    }
  }

  private var configuration: Client.Configuration {
    var configuration = Client.Configuration()
    configuration.pages = pages
    configuration.subjob = subjob.bytes
    configuration.slots = slots
    return configuration
  }
}

/// A number of bytes on the command line: 4096, 64K, 2M, 1G.
struct ByteCount: ExpressibleByArgument, CustomStringConvertible {
  let bytes: Int

  init(_ bytes: Int) { self.bytes = bytes }

  init?(argument: String) {
    let shift = ["K": 10, "M": 20, "G": 30][argument.suffix(1)] ?? 0
    guard let number = Int(shift == 0 ? argument[...] : argument.dropLast()), number > 0, number <= Int.max >> shift else { return nil }
    bytes = number << shift
  }

  var description: String { "\(bytes)" }
  var defaultValueDescription: String { description }
}

extension Workload.Pattern: ExpressibleByArgument {}
extension Workload.Operation: ExpressibleByArgument {}
extension Workload.Sync: ExpressibleByArgument {}
