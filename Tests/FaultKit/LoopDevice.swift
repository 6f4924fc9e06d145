internal import Foundation
internal import Glibc

/// A loop block device over a file of its own, and reads and writes of its contents past the page cache.
public final class LoopDevice: Resource, Sendable {
  /// `/dev/loopN`.
  public let path: String
  /// The file under it.
  public let backing: String
  /// Bytes.
  public let size: Int

  /// - Parameters:
  ///   - backing: made with `size` bytes if it isn't there.
  ///   - sectorSize: the logical block in bytes, 512 or 4096.
  ///   - directIO: whether the loop driver itself passes the backing file's page cache by; needed for faults at single sectors.
  public init(backing: String, size: Int, sectorSize: Int = 512, directIO: Bool = false, readOnly: Bool = false) throws {
    try requireRoot()
    if !FileManager.default.fileExists(atPath: "/dev/loop-control") { throw Missing("there is no /dev/loop-control: no loop devices here") }
    if !Files.exists(backing) {
      try Files.write(backing, [])
      if truncate(backing, size) != 0 { throw SystemError(errno, "truncate \(backing)") }
    }
    var arguments = ["-f", "--show", "-b", "\(sectorSize)", "--direct-io=\(directIO ? "on" : "off")"]
    if readOnly { arguments.append("-r") }
    path = try Command("losetup", arguments + [backing]).run().orThrow().line
    self.backing = backing
    self.size = size
  }

  private var folder: String { "/sys/block/" + path.dropFirst("/dev/".count) }

  public func contents() throws -> [UInt8] { try DirectTransfer.read(path, count: size) }
  public func contents(_ range: Range<Int>) throws -> [UInt8] {
    try DirectTransfer.read(path, count: range.count, offset: range.lowerBound)
  }

  /// Writes whole logical blocks and flushes.
  public func fill(_ bytes: [UInt8], at offset: Int = 0) throws { try DirectTransfer.write(path, bytes, offset: offset) }

  /// Fills the whole device with a pattern.
  /// - Returns: the bytes.
  @discardableResult public func fill(seed: UInt64) throws -> [UInt8] {
    let bytes = Pattern.bytes(size, seed: seed)
    try fill(bytes)
    return bytes
  }

  /// `st_rdev` of the node.
  public var number: UInt64 { get throws { try Files.facts(path).deviceNumber } }

  /// What the block layer has counted since the device was attached (Documentation/block/stat.rst).
  public struct Counters: Sendable {
    public let bytesRead: Int
    public let bytesWritten: Int
    public let flushes: Int
    /// Milliseconds for which the device had something to do (`io_ticks`).
    public let busy: Int
  }

  public var counters: Counters {
    get throws {
      let fields = try Files.text(folder + "/stat").split { $0 == " " || $0 == "\n" }.compactMap { Int($0) }
      if fields.count < 16 { throw Missing("\(folder)/stat has no count of flushes") }
      return Counters(bytesRead: fields[2] * 512, bytesWritten: fields[6] * 512, flushes: fields[15], busy: fields[9])
    }
  }

  /// Waits until nobody holds it: the last writes of a process land after its end.
  public func awaitFree() throws {
    try eventually("nobody has \(path) to himself") {
      try errnoName { try OpenFile(path, O_RDWR | O_EXCL).close() } != "EBUSY"
    }
  }

  /// Cuts the file under it to so many bytes, and tells the loop driver (`LOOP_SET_CAPACITY`); `size` stays what it was.
  public func shrink(to bytes: Int) throws {
    if truncate(backing, bytes) != 0 { throw SystemError(errno, "truncate \(backing)") }
    try run("losetup", "-c", path).orThrow()
  }

  /// Detaches; fails if something still holds the device, since the kernel would only detach it later.
  public func release() throws {
    try run("losetup", "-d", path).orThrow()
    // The number may have been given to somebody else's file since.
    try eventually("nobody holds \(path) any more") {
      let now = (try? Files.text(folder + "/loop/backing_file")) ?? ""
      return now.split(separator: "\n").first.map { $0 != backing } ?? true
    }
  }
}
