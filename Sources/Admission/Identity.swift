internal import CSystemShims
internal import KCopy

/// What tells one device from another that later stands under the same name.
enum Identity {
  /// The first that the kernel knows: the WWN, the serial of the disk, the device's number; of a file, device and inode.
  static func of(_ key: DeviceKey) -> String {
    switch key {
    case .block(let device):
      let number = "\(kcs_major(device)):\(kcs_minor(device))"
      let path = "/sys/dev/block/\(number)"
      for name in ["wwid", "device/wwid", "serial", "device/serial"] {
        let words = KernelText.read("\(path)/\(name)")?.split(whereSeparator: { $0 == " " || $0 == "\n" }) ?? []
        let text = words.joined(separator: "-")
        // What a disk says of itself can hold anything; only what can be printed is of use.
        if !text.isEmpty, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) { return text }
      }
      return number
    case .file(let device, let inode):
      return "\(kcs_major(device)):\(kcs_minor(device)):\(inode)"
    }
  }
}
