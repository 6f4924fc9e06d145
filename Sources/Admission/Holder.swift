internal import CSystemShims
internal import Glibc
internal import KCopy

/// Who keeps a device from being written: for the text that goes with EBUSY.
enum Holder {
  static func of(_ key: DeviceKey) -> String {
    guard case .block(let device) = key else { return "another program holds a lock on it" }
    if let mount = Mounts.all().first(where: { $0.device == device }) { return "it is mounted at \(mount.point)" }
    if isSwap(device) { return "it is used as swap" }
    let name = "/sys/dev/block/\(kcs_major(device)):\(kcs_minor(device))"
    if let holders = directory(name + "/holders"), !holders.isEmpty { return "it is held by \(holders.joined(separator: ", "))" }
    return "it, or a part of it, is mounted, used as swap or held by another program"
  }

  private static func isSwap(_ device: UInt64) -> Bool {
    (KernelText.read("/proc/swaps") ?? "").split(separator: "\n").dropFirst().contains { line in
      guard let path = line.split(separator: " ").first else { return false }
      let descriptor = unsafe kcs_open(String(path), kcs_O_PATH, 0)
      guard descriptor >= 0 else { return false }
      defer { _ = kcs_close(descriptor) }
      return (try? DeviceKey(descriptor: descriptor)) == .block(device)
    }
  }

  private static func directory(_ path: String) -> [String]? {
    guard let stream = unsafe opendir(path) else { return nil }
    defer { unsafe _ = closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }
}
