internal import CSystemShims
internal import KCopy

/// The table of mounts of this process, `/proc/self/mountinfo`, or of another one.
struct Mounts: Equatable {
  /// `st_dev` of what is in it; not that of a device where the file system has several of them (btrfs).
  var device: UInt64
  var point: String
  var type: String
  /// What was named as the device: its path as a rule.
  var source: String
  /// Whether the file system is, whatever this mount of it.
  var isWritable = true

  static func all() -> [Mounts] { parse(table()) }

  /// The table itself.
  static func table() -> String { KernelText.read("/proc/self/mountinfo") ?? "" }

  static func parse(_ table: String) -> [Mounts] {
    table.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 8, let dash = fields.firstIndex(of: "-"), dash + 2 < fields.count else { return nil }
      let numbers = fields[2].split(separator: ":").compactMap { UInt32($0) }
      guard numbers.count == 2 else { return nil }
      return Mounts(
        device: kcs_device(numbers[0], numbers[1]), point: fields[4].unescaped, type: String(fields[dash + 1]),
        source: fields[dash + 2].unescaped, isWritable: fields.count < dash + 4 || fields[dash + 3].split(separator: ",").contains("rw"))
    }
  }

  /// The mounts that other namespaces have, each namespace by one of its processes, until the body says that it is enough.
  ///
  /// What the kernel doesn't show to this process, and what nobody lives in, is left out.
  static func elsewhere(_ isEnough: (_ process: String, [Mounts]) -> Bool) {
    var seen: Set<String?> = [KernelText.link("/proc/self/ns/mnt")]
    for process in KernelText.names(in: "/proc") where UInt32(process) != nil {
      // Whoever makes more of them than that shall not keep others waiting.
      guard seen.count <= 256 else { return }
      guard let namespace = KernelText.link("/proc/\(process)/ns/mnt"), seen.insert(namespace).inserted,
        let table = KernelText.read("/proc/\(process)/mountinfo")
      else { continue }
      if isEnough(process, parse(table)) { return }
    }
  }
}

/// The table of what is used as swap, `/proc/swaps`.
struct Swaps: Equatable {
  var path: String
  var isFile: Bool

  static func all() -> [Swaps] { parse(KernelText.read("/proc/swaps") ?? "") }

  static func parse(_ table: String) -> [Swaps] {
    table.split(separator: "\n").dropFirst().compactMap { line in
      let fields = line.split { $0 == " " || $0 == "\t" }
      guard fields.count >= 2 else { return nil }
      return Swaps(path: fields[0].unescaped, isFile: fields[1] == "file")
    }
  }

  /// What it is, by the name that it has now.
  var key: DeviceKey? { DeviceKey(path: path) }
}

extension DeviceKey {
  /// What stands under a path that the kernel has told; `nil` when it can't be looked at.
  init?(path: String) {
    let descriptor = unsafe kcs_open(path, kcs_O_PATH, 0)
    guard descriptor >= 0 else { return nil }
    defer { _ = kcs_close(descriptor) }
    guard let key = try? DeviceKey(descriptor: descriptor) else { return nil }
    self = key
  }
}

extension Substring {
  /// Blanks, newlines and backslashes stand in the kernel's tables as a backslash and three octal digits.
  fileprivate var unescaped: String {
    var bytes: [UInt8] = []
    var rest = utf8[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), let escaped = Self.octal(rest.prefix(3)) {
        rest = rest.dropFirst(3)
        bytes.append(escaped)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func octal(_ digits: Substring.UTF8View) -> UInt8? {
    guard digits.count == 3, digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }) else { return nil }
    return UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
  }
}
