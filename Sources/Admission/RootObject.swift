internal import CSystemShims
internal import Glibc
public import KCopy

/// Where the bytes of a device really lie: a partition is part of its disk, a loop device part of its backing file.
///
/// Two regions overlap if and only if their roots are the same object and their places on it do.
public struct RootObject: Sendable, Hashable {
  public let key: DeviceKey
  /// Where the first byte of the device lies on the root, in bytes.
  public let offset: UInt64

  /// Follows a device down to its root.
  public init(of device: Device) { self = Self.descent(from: device.key).root }

  /// The root of a device, and the loop device that the way down ended with: the root is its backing file or device.
  static func descent(from key: DeviceKey) -> (root: RootObject, loop: UInt64?) {
    var root = RootObject(key: key, offset: 0)
    var loop: UInt64?
    // A loop over a partition of a loop is no cycle; more than a few floors don't exist.
    for _ in 0..<16 {
      guard case .block(let number) = root.key else { break }
      let path = Identity.directory(of: number)
      let below: RootObject
      if KernelText.read(path + "/partition") != nil, let disk = disk(ofPartition: path) {
        (below, loop) = (disk, nil)
      } else if KernelText.read(path + "/loop/offset") != nil, let backing = backing(ofLoop: number) {
        (below, loop) = (backing, number)
      } else {
        break
      }
      root = RootObject(key: below.key, offset: root.offset + below.offset)
    }
    return (root, loop)
  }

  private static func disk(ofPartition path: String) -> RootObject? {
    guard let start = KernelText.read(path + "/start").flatMap({ UInt64($0.trimmed) }),
      let disk = KernelText.read(path + "/../dev").map({ $0.trimmed.split(separator: ":").compactMap { UInt32($0) } }), disk.count == 2
    else { return nil }
    return RootObject(key: .block(kcs_device(disk[0], disk[1])), offset: start * 512)
  }

  private static func backing(ofLoop device: UInt64) -> RootObject? {
    // By number, not by a name that somebody else could have made.
    let descriptor = unsafe kcs_open("/dev/block/\(kcs_major(device)):\(kcs_minor(device))", O_RDONLY, 0)
    let loop = descriptor >= 0 ? descriptor : unsafe kcs_open("/dev/loop\(kcs_minor(device))", O_RDONLY, 0)
    guard loop >= 0 else { return nil }
    defer { _ = kcs_close(loop) }
    var facts = kcs_loop_facts()
    guard (try? DeviceKey(descriptor: loop)) == .block(device), unsafe kcs_loop_facts(loop, &facts) == 0 else { return nil }
    let key: DeviceKey = facts.rdevice != 0 ? .block(facts.rdevice) : .file(device: facts.device, inode: facts.inode)
    return RootObject(key: key, offset: facts.offset)
  }

  private init(key: DeviceKey, offset: UInt64) {
    self.key = key
    self.offset = offset
  }
}

extension String {
  fileprivate var trimmed: Substring {
    self[..<(lastIndex { $0 != "\n" && $0 != " " }.map { index(after: $0) } ?? startIndex)]
  }
}
