internal import CSystemShims
internal import Glibc
internal import KCopy
internal import Locking

/// What sysfs tells of block devices, by their numbers and directories.
enum BlockDevice {
  /// The number that a file of the form `7:0` has.
  static func number(_ path: String) -> UInt64? {
    guard let numbers = KernelText.read(path)?.trimmed.split(separator: ":").compactMap({ UInt32($0) }), numbers.count == 2 else {
      return nil
    }
    return kcs_device(numbers[0], numbers[1])
  }

  static func isPartition(_ number: UInt64) -> Bool { KernelText.read(Identity.directory(of: number) + "/partition") != nil }

  /// A device and what the kernel doesn't give away beside it: the partitions of a disk, or the disk of a partition.
  static func family(of device: UInt64) -> [UInt64] {
    let path = Identity.directory(of: device)
    if isPartition(device) { return [device] + (number(path + "/../dev").map { [$0] } ?? []) }
    let parts = KernelText.names(in: path).sorted().filter { KernelText.read("\(path)/\($0)/partition") != nil }
    return [device] + parts.compactMap { number("\(path)/\($0)/dev") }
  }

  /// The path of its node, as the kernel has it; else its number.
  static func name(of number: UInt64) -> String {
    let lines = (KernelText.read(Identity.directory(of: number) + "/uevent") ?? "").split(separator: "\n")
    let name = lines.first { $0.hasPrefix("DEVNAME=") }?.dropFirst("DEVNAME=".count)
    return name.map { "/dev/\($0)" } ?? "\(kcs_major(number)):\(kcs_minor(number))"
  }

  /// Whether somebody has it, or the disk that it is on, for themselves; `nil` when it has no node here.
  ///
  /// An exclusive open is the only question that the kernel answers.  Two that ask at once would each be told of the other.
  static func isHeld(_ number: UInt64) -> Bool? {
    asking.withLock { _ in
      let descriptor = unsafe kcs_open(name(of: number), O_RDONLY | O_EXCL | O_NONBLOCK, 0)
      guard descriptor >= 0 else { return descriptor == -EBUSY ? true : nil }
      defer { _ = kcs_close(descriptor) }
      return (try? DeviceKey(descriptor: descriptor)) == .block(number) ? false : nil
    }
  }

  private static let asking = Locked<Void>(())
}
