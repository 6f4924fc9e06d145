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
    let floors = floors(from: key, backing: backing)
    guard let last = floors.last, last.isUnderLoop, case .block(let loop) = floors.dropLast().last?.place.key else {
      return (floors.last?.place ?? RootObject(key: key, offset: 0), nil)
    }
    return (last.place, loop)
  }

  /// Where the first byte of a device lies on one of the objects that it is made of.
  struct Floor {
    let place: RootObject
    /// Whether it is the backing file or device of the floor above; else that one's disk.
    let isUnderLoop: Bool
  }

  /// The way down from a device, itself first and its root last.
  ///
  /// - Parameter backing: where the first byte of a loop device lies on what is under it; `nil` for one that can't be asked.
  static func floors(from key: DeviceKey, backing: (UInt64) -> RootObject?) -> [Floor] {
    var floors: [Floor] = []
    var floor = Floor(place: RootObject(key: key, offset: 0), isUnderLoop: false)
    // A loop over a partition of a loop is no cycle; more than a few floors don't exist.
    while floors.count < 16 {
      floors.append(floor)
      guard case .block(let number) = floor.place.key else { break }
      let path = Identity.directory(of: number)
      let offset = floor.place.offset
      if KernelText.read(path + "/partition") != nil, let disk = disk(ofPartition: path) {
        floor = Floor(place: RootObject(key: disk.key, offset: offset + disk.offset), isUnderLoop: false)
      } else if KernelText.read(path + "/loop/offset") != nil, let file = backing(number) {
        floor = Floor(place: RootObject(key: file.key, offset: offset + file.offset), isUnderLoop: true)
      } else {
        break
      }
    }
    return floors
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
    guard (try? DeviceKey(descriptor: loop)) == .block(device) else { return nil }
    return backing(ofLoop: loop)
  }

  /// Where the first byte of an open loop device lies; waits for the file system of its backing file.
  static func backing(ofLoop descriptor: Int32) -> RootObject? {
    var facts = kcs_loop_facts()
    guard unsafe kcs_loop_facts(descriptor, &facts) == 0 else { return nil }
    let key: DeviceKey = facts.rdevice != 0 ? .block(facts.rdevice) : .file(device: facts.device, inode: facts.inode)
    return RootObject(key: key, offset: facts.offset)
  }

  init(key: DeviceKey, offset: UInt64) {
    self.key = key
    self.offset = offset
  }
}

extension String {
  /// Without the newline at its end.
  var trimmed: Substring {
    self[..<(lastIndex { $0 != "\n" && $0 != " " }.map { index(after: $0) } ?? startIndex)]
  }
}
