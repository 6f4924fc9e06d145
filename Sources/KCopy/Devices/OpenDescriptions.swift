internal import CSystemShims
internal import Glibc

/// The descriptions of one device, opened and looked at; what a ``Device`` is made of.
///
/// Apart from it for programs that open with other rights than their own: to open begins no thread, and a device does.
public struct OpenDescriptions {
  private(set) var facts: DeviceFacts
  var direct: Int32?
  var buffered: Int32?

  private static let page = 4096

  /// Opens what a descriptor refers to, by `/proc/self/fd`, so that no path is walked again.
  ///
  /// - Parameters:
  ///   - descriptor: any descriptor of the file, O_PATH too; it stays the caller's.
  ///   - access: what it is opened for.
  /// - Throws: as `Device(descriptor:access:directory:)`.
  public init(of descriptor: Int32, access: Device.Access) throws(DeviceError) {
    let found = try Self.facts(of: descriptor)
    facts = DeviceFacts(
      key: try DeviceKey(descriptor: descriptor), size: 0, logicalBlock: 1, errorBlock: Self.page, directAlignment: 0, zeroes: false,
      clones: false, isZoned: false)
    do throws(DeviceError) {
      switch facts.key {
      case .block: try openBlockDevice(descriptor, found, access)
      case .file: try openRegularFile(descriptor, found, access)
      }
    } catch {
      close()
      throw error
    }
  }

  /// Closes what was opened, when nobody comes to own it; nothing was written yet.
  public func close() {
    for open in [direct, buffered].compactMap({ $0 }) { _ = kcs_close(open) }
  }

  private mutating func openBlockDevice(_ descriptor: Int32, _ found: kcs_file_facts, _ access: Device.Access) throws(DeviceError) {
    let flags =
      switch access {
      case .reading: O_RDONLY
      case .writing(let exclusive): O_RDWR | (exclusive ? O_EXCL : 0)
      }
    let open = try Self.reopen(descriptor, flags | kcs_O_DIRECT)
    direct = open
    // The device could have been replaced behind its node between the look and the open.
    guard try Self.facts(of: open).rdevice == found.rdevice else { throw DeviceError(errno: ESTALE, call: "open") }
    var block: UInt32 = 0
    let result = unsafe kcs_block_logical(open, &block)
    guard result == 0 else { throw DeviceError(errno: -result, call: "BLKSSZGET") }
    facts.logicalBlock = Int(block)
    facts.errorBlock = Int(block)
    facts.directAlignment = Int(block)
    facts.size = try Self.size(of: open)
    facts.zeroes = kcs_block_writes_zeroes(found.rdevice) != 0
    facts.isZoned = kcs_block_is_zoned(found.rdevice) != 0
    if access != .reading {
      var readOnly: Int32 = 0
      // A device that was made read-only after its partition table was read can still be opened for writing.
      guard unsafe kcs_block_read_only(open, &readOnly) == 0, readOnly == 0 else { throw DeviceError(errno: EROFS, call: "open") }
    }
  }

  private mutating func openRegularFile(_ descriptor: Int32, _ found: kcs_file_facts, _ access: Device.Access) throws(DeviceError) {
    let flags = access == .reading ? O_RDONLY : O_RDWR
    let open = try Self.reopen(descriptor, flags)
    buffered = open
    let opened = try Self.facts(of: open)
    guard opened.device == found.device, opened.inode == found.inode else { throw DeviceError(errno: ESTALE, call: "open") }
    facts.size = opened.size
    facts.version = FileVersion(opened)
    // No file system says beforehand whether it can; the first refusal settles it.
    facts.zeroes = access != .reading
    facts.clones = Self.mayClone(open)
    if case .writing(exclusive: true) = access {
      let result = kcs_flock_exclusive(open)
      guard result == 0 else { throw DeviceError(errno: result == -EWOULDBLOCK ? EBUSY : -result, call: "flock") }
    }
    guard opened.dio_offset > 0, opened.dio_memory <= Self.page else { return }
    facts.errorBlock = max(Int(opened.dio_offset), 512)
    // Who only reads cannot tear a page that somebody else writes through the page cache.
    facts.directAlignment = access == .reading ? facts.errorBlock : max(Int(opened.dio_offset), Self.page)
    direct = try Self.reopen(descriptor, flags | kcs_O_DIRECT)
  }

  /// Of most file systems only a try tells; but on these every try would fail, before each copy.
  private static func mayClone(_ descriptor: Int32) -> Bool {
    var magic: UInt64 = 0
    guard unsafe kcs_file_system_magic(descriptor, &magic) == 0 else { return false }
    // ext2 to ext4, tmpfs, ramfs, vfat, exfat.
    return ![0xef53, 0x0102_1994, 0x8584_58f6, 0x4d44, 0x2011_bab0].contains(magic)
  }

  /// The same file again, with other flags; as `/proc/self/fd` resolves to the file itself, no path is walked.
  private static func reopen(_ descriptor: Int32, _ flags: Int32) throws(DeviceError) -> Int32 {
    let result = unsafe kcs_open("/proc/self/fd/\(descriptor)", flags, 0)
    guard result >= 0 else { throw DeviceError(errno: -result, call: "open") }
    return result
  }

  private static func facts(of descriptor: Int32) throws(DeviceError) -> kcs_file_facts {
    var facts = kcs_file_facts()
    let result = unsafe kcs_file_facts(descriptor, &facts)
    guard result == 0 else { throw DeviceError(errno: -result, call: "statx") }
    return facts
  }

  static func size(of descriptor: Int32) throws(DeviceError) -> UInt64 {
    let facts = try facts(of: descriptor)
    guard kcs_is_block_device(facts.mode) != 0 else { return facts.size }
    var bytes: UInt64 = 0
    let result = unsafe kcs_block_size_bytes(descriptor, &bytes)
    guard result == 0 else { throw DeviceError(errno: -result, call: "BLKGETSIZE64") }
    return bytes
  }
}
