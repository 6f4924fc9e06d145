internal import CSystemShims
internal import KCopy

/// What tells one device from another that later stands under the same name.
enum Identity {
  /// See `Endpoint.birth`.
  static func birth(of device: Device) -> UInt64 {
    if device.isBlockDevice { return sequence(of: device) ?? 0 }
    var facts = kcs_file_facts()
    return unsafe kcs_file_facts(device.descriptor, &facts) == 0 ? facts.born : 0
  }

  /// The sequence number (`diskseq`) of a disk, which no other disk gets before the next boot; a partition's is its disk's.
  static func sequence(of device: Device) -> UInt64? {
    var sequence: UInt64 = 0
    return unsafe kcs_block_sequence(device.descriptor, &sequence) == 0 ? sequence : nil
  }

  /// The same of the disk that has a file system.
  static func sequence(of number: UInt64) -> UInt64? {
    // In memory, on a network, on several disks: those numbers are no disk's.
    guard kcs_major(number) != 0 else { return nil }
    let path = directory(of: number)
    let text = KernelText.read("\(path)/diskseq") ?? KernelText.read("\(path)/../diskseq")
    return text.flatMap { UInt64($0.prefix { $0 != "\n" }) }
  }

  /// Where sysfs tells about a block device.
  static func directory(of number: UInt64) -> String { "/sys/dev/block/\(kcs_major(number)):\(kcs_minor(number))" }

  /// Model and serial number of a disk, as far as it tells; `nil` when it tells nothing.
  static func label(of key: DeviceKey) -> String? {
    guard case .block(let number) = key else { return nil }
    // A partition's are those of its disk.
    let paths = [directory(of: number), directory(of: number) + "/.."]
    let model = paths.lazy.compactMap { first(of: ["device/model"], in: $0) { $0 } }.first
    let serial = paths.lazy.compactMap { self.serial(in: $0) { $0 } }.first
    let words = [model, serial].compactMap { $0 }
    return words.isEmpty ? nil : words.joined(separator: " ")
  }

  /// The serial number of a disk: NVMe's, virtio's or a card's, or what a SCSI disk, which USB's and SATA's are too, says in a page.
  static func serial(in directory: String, _ accept: (String) -> String?) -> String? {
    first(of: ["serial", "device/serial"], in: directory, accept)
      ?? KernelText.read("\(directory)/device/vpd_pg80").flatMap(unitSerial).flatMap(plain).flatMap(accept)
  }

  /// What stands in SCSI's page 0x80: four bytes, the page's number among them, and then the serial number.
  static func unitSerial(_ page: String) -> String? {
    let bytes = page.unicodeScalars
    // 0x80 is no UTF-8, and reads as U+FFFD.
    guard bytes.count > 4, bytes.dropFirst().first?.value == 0xfffd else { return nil }
    return String(String.UnicodeScalarView(bytes.dropFirst(4).filter { $0.value != 0 }))
  }

  /// What a disk says of itself can hold anything; only what can be printed is of use.
  private static func plain(_ text: String) -> String? {
    let words = text.split(whereSeparator: { $0 == " " || $0 == "\n" })
    let plain = words.joined(separator: "-")
    return plain.isEmpty || !plain.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f } ? nil : plain
  }

  /// The first of some files of sysfs that tells anything, as a word that can be printed and that `accept` lets through.
  static func first(of names: [String], in directory: String, _ accept: (String) -> String?) -> String? {
    for name in names {
      if let word = KernelText.read("\(directory)/\(name)").flatMap(plain).flatMap(accept) { return word }
    }
    return nil
  }

  /// The first that the kernel knows: the WWN, the serial of the disk, the device's number; of a file, device and inode.
  static func of(_ key: DeviceKey) -> String {
    switch key {
    case .block(let device):
      let path = directory(of: device)
      return first(of: ["wwid", "device/wwid", "serial", "device/serial"], in: path) { $0 } ?? "\(kcs_major(device)):\(kcs_minor(device))"
    case .file(let device, let inode):
      return "\(kcs_major(device)):\(kcs_minor(device)):\(inode)"
    }
  }
}
