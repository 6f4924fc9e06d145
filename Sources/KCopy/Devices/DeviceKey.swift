internal import CSystemShims
internal import Glibc

/// What a device or file is, whatever name it was opened by: two nodes of one disk are one, and so are two hard links.
public enum DeviceKey: Hashable, Sendable {
  /// A block device, by its `st_rdev`.
  case block(UInt64)
  /// A regular file, by its `st_dev` and `st_ino`.
  case file(device: UInt64, inode: UInt64)
}

extension DeviceKey {
  /// What a descriptor refers to, O_PATH too.
  ///
  /// - Throws: `DeviceError`; EINVAL for what is neither a block device nor a regular file.
  public init(descriptor: Int32) throws(DeviceError) {
    var facts = kcs_file_facts()
    let result = unsafe kcs_file_facts(descriptor, &facts)
    guard result == 0 else { throw DeviceError(errno: -result, call: "statx") }
    if kcs_is_block_device(facts.mode) != 0 {
      self = .block(facts.rdevice)
    } else if kcs_is_regular_file(facts.mode) != 0 {
      self = .file(device: facts.device, inode: facts.inode)
    } else {
      throw DeviceError(errno: EINVAL, call: "not a block device or regular file")
    }
  }
}
