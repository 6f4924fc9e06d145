internal import Foundation
internal import Glibc

/// A block device with faults that can be changed while it runs: errors at chosen sectors, delays, and a gate that holds transfers.
///
/// nbdkit's eval plugin serves a file, nbdfuse shows it as a file, a loop device with direct I/O makes it a block device; direct,
/// because the page cache would widen an error to its page.
public final class FaultDevice: Resource {
  public let loop: LoopDevice
  private let directory: String
  private let server: ChildProcess
  private let bridge: ChildProcess

  public var path: String { loop.path }

  /// The file under the loop device: a FUSE file system of one file.
  public var file: String { directory + "/export" }

  /// Makes the file hang: whoever opens it, or looks further, waits until `goOn`.
  public func hang() { bridge.signal(SIGSTOP) }

  public func goOn() { bridge.signal(SIGCONT) }

  /// Stops the server: what is under way and all that comes later waits until `thaw`, as with a disk that doesn't answer.
  public func freeze() { server.signal(SIGSTOP) }

  public func thaw() { server.signal(SIGCONT) }

  /// Kills the server: the device is there, and every transfer fails, what is under way too.
  public func die() throws { try server.end() }

  /// - Parameters:
  ///   - logicalBlock: of the loop device, 512 or 4096 bytes.
  ///   - directory: for its files; made here. On a tmpfs it's quick.
  public init(size: Int, logicalBlock: Int = 512, in directory: String) throws {
    try requireRoot()
    for tool in ["nbdkit", "nbdfuse", "fusermount3"] where !Command.isInstalled(tool) {
      throw Missing("\(tool) is not installed: no device with faults (Debian: nbdkit, libnbd-bin, fuse3)")
    }
    self.directory = directory
    try Files.makeDirectory(directory)
    for name in ["faults", "delay", "log", "export", "image", "capacity"] { try Files.write(directory + "/" + name, []) }
    if truncate(directory + "/image", size) != 0 { throw SystemError(errno, "truncate \(directory)/image") }
    try Files.write(directory + "/common.sh", FaultDevice.common)

    let begin = ". \(directory)/common.sh"
    server = try Command(
      "nbdkit",
      [
        "-f", "-U", directory + "/socket", "-P", directory + "/pid", "eval", "get_size=echo \(size)",
        "pread=\(begin); admit r $3 $4; exec dd if=$D/image iflag=skip_bytes,count_bytes skip=$(place $4) count=$3 bs=1M status=none",
        "pwrite=\(begin); admit w $3 $4; dd of=$D/image oflag=seek_bytes seek=$(place $4) conv=notrunc bs=1M status=none && ended W $3 $4",
        "zero=\(begin); admit z $3 $4; fallocate -p -o $(place $4) -l $3 $D/image && ended Z $3 $4", "can_zero=exit 0",
        "flush=\(begin); admit f 1 0; ended F 1 0",
      ], environment: ["D": directory]
    ).start()
    bridge = try FaultDevice.bridge(to: server, in: directory)
    do {
      loop = try LoopDevice(backing: directory + "/export", size: size, sectorSize: logicalBlock, directIO: true)
    } catch {
      _ = try? run("fusermount3", "-u", directory + "/export")
      try? bridge.end()
      try? server.end()
      throw error
    }
  }

  private static func bridge(to server: ChildProcess, in directory: String) throws -> ChildProcess {
    // The socket's name is there before anybody listens behind it; the file with the number comes after.
    try eventually("nbdkit listens: \(server.errorText)") { Files.exists(directory + "/pid") || !server.running }
    if !server.running { throw Missing("nbdkit ended: \(server.errorText)") }
    let bridge = try Command("nbdfuse", ["-o", "allow_other", directory + "/export", "--unix", directory + "/socket"]).start()
    do {
      try eventually("nbdfuse shows the device: \(bridge.errorText)") { try Files.facts(directory + "/export").size > 0 || !bridge.running }
      if !bridge.running { throw Missing("nbdfuse ended: \(bridge.errorText)") }
    } catch {
      try? bridge.end()
      throw error
    }
    return bridge
  }

  /// Every transfer passes `admit KIND COUNT OFFSET`: it is logged, held at the gate, delayed, and refused if it touches a fault.
  /// A fault that strikes a number of times has as many tickets; who makes one is refused.
  private static let common = #"""
    admit() {
      exec 3<&0
      echo "$1 $2 $3" >> "$D/log"
      while [ -e "$D/gate-$1" ]; do sleep 0.01; done
      read -r seconds < "$D/delay" && [ "$1" != f ] && sleep "$seconds"
      first=$(($3 / 512)); last=$((($3 + $2 - 1) / 512))
      while read -r kind from to errno ticket times; do
        if [ "$kind" = "$1" ] && [ "$first" -le "$to" ] && [ "$last" -ge "$from" ] && strikes; then
          # Data that nobody takes would be nbdkit's own error, EIO.
          [ "$1" = w ] && cat <&3 > /dev/null
          echo "$errno a fault of the test" >&2
          exit 1
        fi
      done < "$D/faults"
    }

    strikes() {
      [ "$times" = always ] && return 0
      turn=0
      while [ "$turn" -lt "$times" ]; do
        turn=$((turn + 1))
        (set -C; : > "$D/ticket-$ticket-$turn") 2> /dev/null && return 0
      done
      return 1
    }

    place() { read -r capacity < "$D/capacity" && echo $(($1 % capacity)) || echo "$1"; }

    ended() { echo "$1 $2 $3" >> "$D/log"; }

    """#

  /// A fault, until the faults are set anew. Sectors are of 512 bytes.
  public struct Fault: Sendable {
    private let kind: Kind
    private let sectors: ClosedRange<Int>
    private var times: Int?
    private var error = "EIO"

    /// Requests that touch the sectors fail: the next `times` of them, or all; `error` is EPERM, EIO, ENOMEM, EINVAL or ENOSPC.
    public static func read(_ sectors: ClosedRange<Int>, times: Int? = nil, error: String = "EIO") -> Fault {
      Fault(kind: .read, sectors: sectors, times: times, error: error)
    }

    public static func write(_ sectors: ClosedRange<Int>, times: Int? = nil, error: String = "EIO") -> Fault {
      Fault(kind: .write, sectors: sectors, times: times, error: error)
    }

    public static func zero(_ sectors: ClosedRange<Int>, times: Int? = nil, error: String = "EIO") -> Fault {
      Fault(kind: .zero, sectors: sectors, times: times, error: error)
    }

    public static let flush = Fault(kind: .flush, sectors: 0...0)

    public static func flush(times: Int) -> Fault { Fault(kind: .flush, sectors: 0...0, times: times) }

    var line: String {
      let ticket = UInt64.random(in: 0 ... .max)
      let count = times.map { "\($0)" } ?? "always"
      return "\(kind.rawValue) \(sectors.lowerBound) \(sectors.upperBound) \(error) \(ticket) \(count)\n"
    }
  }

  /// Replaces all faults. A transfer under way sees the old ones or the new ones, never half of them.
  public func setFaults(_ faults: [Fault]) throws {
    try replace("faults", with: faults.map(\.line).joined())
  }

  /// Delays each request of reading or writing (of up to 1 MiB here) by so many seconds.
  public func setDelay(_ seconds: Double) throws {
    try replace("delay", with: seconds == 0 ? "" : "\(seconds)\n")
  }

  /// Holds so many bytes in truth, a multiple of 1 MiB: what is behind that is written to the beginning, and read from there.
  public func setCapacity(_ bytes: Int) throws { try replace("capacity", with: "\(bytes)\n") }

  /// Changes a byte of what it holds, behind everybody's back.
  public func flip(at offset: Int) throws {
    let image = try OpenFile(directory + "/image", O_RDWR)
    try image.seek(to: offset)
    let byte = try image.read(1)
    try image.seek(to: offset)
    try image.writeAll(byte.map { $0 ^ 0x10 })
    try image.close()
  }

  /// The kinds of request that the gate can hold.
  public enum Kind: String, Sendable, CaseIterable {
    case read = "r"
    case write = "w"
    /// The device's own zeroing, WRITE_ZEROES.
    case zero = "z"
    case flush = "f"
  }

  /// Holds all requests of a kind from now on, until `open`.
  public func hold(_ kind: Kind) throws {
    try Files.write(directory + "/gate-" + kind.rawValue, [])
  }

  public func open(_ kind: Kind) throws {
    try Files.unlink(directory + "/gate-" + kind.rawValue)
  }

  /// A request that arrived; those that were held or refused too.
  public struct Request: Sendable {
    public let kind: Kind
    public let bytes: Int
    public let offset: Int
  }

  /// The requests so far, in the order of their arrival.
  public var requests: [Request] {
    get throws { try events.compactMap { if case .arrived(let request) = $0 { request } else { nil } } }
  }

  /// What happened at the device.
  public enum Event: Sendable {
    case arrived(Request)
    /// A write, zeroing or flush that succeeded, before anybody was told.
    case ended(Request)
  }

  /// What happened so far, in its order.
  public var events: [Event] {
    get throws {
      try Files.text(directory + "/log").split(separator: "\n").compactMap { line in
        let words = line.split(separator: " ")
        guard words.count == 3, let kind = Kind(rawValue: words[0].lowercased()), let bytes = Int(words[1]), let offset = Int(words[2])
        else { return nil }
        let request = Request(kind: kind, bytes: kind == .flush ? 0 : bytes, offset: offset)
        return words[0] == kind.rawValue ? .arrived(request) : .ended(request)
      }
    }
  }

  private func replace(_ name: String, with text: String) throws {
    let path = directory + "/" + name
    try Files.write(path + ".new", text)
    if rename(path + ".new", path) != 0 { throw SystemError(errno, "rename \(path)") }
  }

  /// Opens the gates and takes the three layers down; each is tried whatever became of the one before.
  public func release() throws {
    goOn()
    thaw()
    for kind in Kind.allCases where Files.exists(directory + "/gate-" + kind.rawValue) { try open(kind) }
    try setFaults([])
    try setDelay(0)
    var failures: [any Error] = []
    for step in [loop.release, leaveMount, stopServer] {
      do { try step() } catch { failures.append(error) }
    }
    if let first = failures.first { throw first }
  }

  private func leaveMount() throws {
    let outcome = try run("fusermount3", "-u", directory + "/export")
    if !outcome.succeeded { try run("umount", "-l", directory + "/export").orThrow() }
    try bridge.wait(within: .seconds(120))
  }

  private func stopServer() throws {
    server.signal(SIGTERM)
    try server.wait(within: .seconds(120))
  }
}
