internal import Glibc

/// What one test makes: devices, files, a daemon. All of it goes at the end, the last made first, also when the test throws.
public final class Workbench {
  /// A directory on the file system of /tmp.
  public let disk: String
  private var resources: [any Resource] = []
  private var memoryPath: String?
  private var count = 0

  fileprivate init() throws {
    let directory = try TemporaryDirectory()
    disk = directory.path
    resources.append(directory)
  }

  /// A directory on a tmpfs of its own, mounted at the first use.
  public var memory: String {
    get throws {
      if let memoryPath { return memoryPath }
      let mount = try keep(Mount(type: "tmpfs", on: disk + "/memory", options: "size=2g,mode=0755"))
      memoryPath = mount.path
      return mount.path
    }
  }

  /// Hands a thing over, to be released at the end.
  @discardableResult public func keep<R: Resource>(_ resource: R) -> R {
    resources.append(resource)
    return resource
  }

  /// Runs at the end.
  public func atEnd(_ body: @escaping () throws -> Void) {
    resources.append(Action(body: body))
  }

  /// A loop device over a file in `memory`, or in `disk`.
  public func loop(size: Int = 4 << 20, sectorSize: Int = 512, readOnly: Bool = false, onDisk: Bool = false) throws -> LoopDevice {
    let backing = onDisk ? fresh("loop", in: disk) : try fresh("loop", in: memory)
    return keep(try LoopDevice(backing: backing, size: size, sectorSize: sectorSize, readOnly: readOnly))
  }

  /// A device with faults, its files in `memory`.
  public func faultDevice(size: Int = 4 << 20, logicalBlock: Int = 512) throws -> FaultDevice {
    keep(try FaultDevice(size: size, logicalBlock: logicalBlock, in: fresh("fault", in: memory)))
  }

  /// A daemon on a mount point of its own.
  public func daemon(options: [String] = [], on mount: String? = nil, launcher: [String] = []) throws -> Daemon {
    var place = disk + "/mnt"
    if let mount { place = mount } else if !Files.exists(place) { try Files.makeDirectory(place) }
    return keep(try Daemon(on: place, options: options, launcher: launcher))
  }

  /// A file with these bytes, in `disk` or in `memory`.
  /// - Returns: its path.
  public func file(_ name: String, _ bytes: [UInt8], inMemory: Bool = false) throws -> String {
    let path = (inMemory ? try memory : disk) + "/" + name
    try Files.write(path, bytes)
    return path
  }

  private func fresh(_ kind: String, in directory: String) -> String {
    count += 1
    return "\(directory)/\(kind)\(count)"
  }

  fileprivate func clear() throws {
    var failures: [any Error] = []
    while let last = resources.popLast() {
      do { try last.release() } catch { failures.append(error) }
    }
    if let first = failures.first { throw first }
  }

  private struct Action: Resource {
    let body: () throws -> Void
    func release() throws { try body() }
  }
}

/// Gives `body` a workbench and clears it afterwards.
/// - Throws: what `body` threw; else what went wrong in clearing, since a leak is a failure too.
public func withWorkbench<R>(_ body: (Workbench) throws -> R) throws -> R {
  let bench = try Workbench()
  let result: R
  do {
    result = try body(bench)
  } catch {
    // The test's own error says more than what clearing up after it met.
    try? bench.clear()
    throw error
  }
  try bench.clear()
  return result
}

/// The same for a body that waits.
nonisolated(nonsending) public func withWorkbench<R>(
  _ body: nonisolated(nonsending) (Workbench) async throws -> R
) async throws -> R {
  let bench = try Workbench()
  let result: R
  do {
    result = try await body(bench)
  } catch {
    try? bench.clear()
    throw error
  }
  try bench.clear()
  return result
}

/// A workbench with a daemon on it.
public func withDaemon<R>(options: [String] = [], _ body: (Workbench, Daemon) throws -> R) throws -> R {
  try withWorkbench { bench in try body(bench, bench.daemon(options: options)) }
}
