internal import Glibc

/// A loop device over a part of a file or device that somebody else made, with partitions if it is told to.
public final class OffsetLoop: Resource {
  /// `/dev/loopN`.
  public let path: String
  private let backing: String
  private var partitions: [Int] = []

  /// - Parameters:
  ///   - offset: where it begins, in bytes.
  ///   - arguments: more of losetup(8).
  public init(_ backing: String, offset: Int = 0, arguments: [String] = []) throws {
    self.backing = backing
    path = try Command("losetup", ["-f", "--show", "-o", "\(offset)"] + arguments + [backing]).run().orThrow().line
  }

  /// Makes a partition of it, which the kernel is told of without a table on the disk; it goes with the device.
  ///
  /// - Parameters:
  ///   - start: its first sector, of 512 bytes.
  ///   - bench: gets a node of it.
  /// - Returns: the path of the node.
  public func partition(_ number: Int, start: Int, sectors: Int, in bench: Workbench) throws -> String {
    try run("addpart", path, "\(number)", "\(start)", "\(sectors)").orThrow()
    partitions.append(number)
    let name = String(path.dropFirst("/dev/".count))
    let numbers = try Files.text("/sys/block/\(name)/\(name)p\(number)/dev").split(whereSeparator: { ":\n".contains($0) })
    let node = bench.disk + "/\(name)p\(number)"
    try run("mknod", node, "b", String(numbers[0]), String(numbers[1])).orThrow()
    return node
  }

  /// Detaches, and waits until that is done: whoever still holds the device puts it off.
  public func release() throws {
    for number in partitions.reversed() { try run("delpart", path, "\(number)").orThrow() }
    try run("losetup", "-d", path).orThrow()
    let file = "/sys/block/\(path.dropFirst("/dev/".count))/loop/backing_file"
    try eventually("\(path) is detached") { (try? Files.text(file)) != backing + "\n" }
  }
}
