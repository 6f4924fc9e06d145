internal import CSystemShims
internal import Glibc
internal import KCopy

/// Who keeps a device from being written: for the text that goes with EBUSY.
///
/// That it is kept, the kernel says; by whom, only its tables do, and those don't know of every holder.
struct Holder {
  private let mounts: [Mounts]
  /// The numbers of the devices.
  private let swaps: [UInt64]
  /// What is to be added to the place of a mount.
  private let whose: String

  private init(_ mounts: [Mounts], whose: String) {
    self.mounts = mounts
    self.whose = whose
    swaps = Swaps.all().filter { !$0.isFile }.compactMap { swap in
      if case .block(let number) = swap.key { number } else { nil }
    }
  }

  /// What is mounted for writing, as the daemon sees it.
  init(writable mounts: [Mounts]) {
    self.mounts = mounts.filter(\.isWritable)
    swaps = []
    whose = ""
  }

  /// Whether something is mounted that lies on a device or file: on a partition of it, or on what is made of it.
  func hasMount(_ key: DeviceKey, _ loops: [LoopDevices.Loop], floors: Int = 8) -> Bool {
    guard !mounts.isEmpty, floors > 0 else { return false }
    var devices: [UInt64] = []
    if case .block(let number) = key { devices = BlockDevice.family(of: number) }
    var above: [UInt64] = []
    for device in devices {
      let path = Identity.directory(of: device)
      if mounts.contains(where: { $0.device == device }) || btrfs(KernelText.link(path)?.lastWord)?.mount != nil { return true }
      above += KernelText.names(in: path + "/holders").compactMap { BlockDevice.number("/sys/block/\($0)/dev") }
    }
    above += loops.filter { loop in loop.backing.key == key || devices.contains { loop.backing.key == .block($0) } }.map(\.number)
    return above.contains { hasMount(.block($0), loops, floors: floors - 1) }
  }

  static func of(_ key: DeviceKey) -> String {
    guard case .block(let device) = key else { return "\(Openers.locker(of: key) ?? "another program") holds a lock on it" }
    if let use = use(of: device) { return "\(use.subject ?? "it") is \(use.words)" }
    let opener = Openers.opener(of: BlockDevice.family(of: device).map(BlockDevice.name))
    return "it, or a part of it, is mounted, used as swap or held by another program or job\(opener.map { "; \($0)" } ?? "")"
  }

  /// What a device is used for.
  struct Use {
    /// A partition of it, or its disk; `nil` for the device itself.
    let subject: String?
    /// "mounted at /mnt"
    let words: String

    /// To go behind "... is set up over it" and the like.
    var addition: String { subject.map { ", and \($0) is \(words)" } ?? ", and is \(words)" }
  }

  /// What a device is used for, a partition of it, or its disk as a whole; `nil` when the tables don't tell.
  static func use(of device: UInt64) -> Use? {
    if let use = Holder(Mounts.all(), whose: "").find(device) { return use }
    var use: Use?
    Mounts.elsewhere { process, mounts in
      use = Holder(mounts, whose: " in the mount namespace of process \(process)").find(device)
      return use != nil
    }
    return use
  }

  private func find(_ device: UInt64) -> Use? {
    if let words = words(device) { return Use(subject: nil, words: words) }
    for other in BlockDevice.family(of: device).dropFirst() {
      guard let words = words(other) else { continue }
      return Use(subject: "its \(BlockDevice.isPartition(other) ? "partition" : "disk") \(BlockDevice.name(of: other))", words: words)
    }
    return nil
  }

  /// What is made of it may be used in its turn; a few floors up, nobody asks any more.
  private func words(_ device: UInt64, floors: Int = 8) -> String? {
    if let mount = mounts.first(where: { $0.device == device }) { return "mounted at \(mount.point)\(whose)" }
    if swaps.contains(device) { return "used as swap" }
    let path = Identity.directory(of: device)
    if let member = btrfs(KernelText.link(path)?.lastWord) {
      return member.mount.map { "mounted at \($0.point)\(whose)" } ?? "a part of the mounted btrfs \(member.system)"
    }
    let holders = KernelText.names(in: path + "/holders").sorted()
    guard !holders.isEmpty, floors > 0 else { return nil }
    for holder in holders {
      guard let above = BlockDevice.number("/sys/block/\(holder)/dev"), let words = words(above, floors: floors - 1) else { continue }
      return "held by \(Self.title(holder)), which is \(words)"
    }
    return "held by \(holders.map(Self.title).joined(separator: ", "))"
  }

  /// A btrfs is of several devices, and has a number that is none of theirs.  What sysfs has of it is there while it is mounted.
  private func btrfs(_ name: String?) -> (system: String, mount: Mounts?)? {
    guard let name else { return nil }
    for system in KernelText.names(in: "/sys/fs/btrfs") {
      let members = KernelText.names(in: "/sys/fs/btrfs/\(system)/devices")
      guard members.contains(name) else { continue }
      let mount = mounts.first { mount in
        mount.type == "btrfs" && members.contains(mount.source.lastWord)
      }
      return (system, mount)
    }
    return nil
  }

  /// What a person calls it: dm-0 says little.
  private static func title(_ holder: String) -> String {
    let names = ["dm/name", "md/array_name"].lazy.compactMap { KernelText.read("/sys/block/\(holder)/\($0)")?.trimmed }
    return names.first.map { "\(holder) (\($0))" } ?? holder
  }
}

extension String {
  /// The last word of a path.
  fileprivate var lastWord: String { String(split(separator: "/").last ?? "") }
}
