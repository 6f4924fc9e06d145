internal import CSystemShims
internal import Glibc
internal import KCopy

/// Programs that have a device open or a lock on a file: who is to blame for EBUSY, as far as it can be seen.
enum Openers {
  /// A program that has one of some devices open, by the names that the kernel has for them.
  ///
  /// Whether it has them for itself the kernel doesn't tell.  Nothing is asked of the file systems of what else programs have open:
  /// one of them may never answer.
  static func opener(of names: [String]) -> String? {
    for process in KernelText.names(in: "/proc") where UInt32(process) != nil && process != String(getpid()) {
      for descriptor in KernelText.names(in: "/proc/\(process)/fd") {
        guard let target = KernelText.link("/proc/\(process)/fd/\(descriptor)"), names.contains(target) else { continue }
        return "\(title(process)) has \(target) open"
      }
    }
    return nil
  }

  /// The program that holds a lock by `flock(2)` on a file.
  static func locker(of key: DeviceKey) -> String? {
    lockers(KernelText.read("/proc/locks") ?? "", of: key).first.map(title)
  }

  /// Those of a table like `/proc/locks`.
  static func lockers(_ table: String, of key: DeviceKey) -> [String] {
    guard case .file(let device, let inode) = key else { return [] }
    return table.split(separator: "\n").compactMap { line in
      // A lock that is only waited for has "->" before its kind.
      let fields = line.split(separator: " ")
      guard fields.count > 5, fields[1] == "FLOCK", Int32(fields[4]).map({ $0 > 0 }) == true else { return nil }
      let place = fields[5].split(separator: ":")
      guard place.count == 3, let major = UInt32(place[0], radix: 16), let minor = UInt32(place[1], radix: 16),
        kcs_device(major, minor) == device, UInt64(place[2]) == inode
      else { return nil }
      return String(fields[4])
    }
  }

  private static func title(_ process: String) -> String {
    KernelText.read("/proc/\(process)/comm").map { "process \(process) (\($0.trimmed))" } ?? "process \(process)"
  }
}
