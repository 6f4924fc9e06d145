internal import CSystemShims
internal import KCopy

/// Which file systems hold files that may be copied.
///
/// An allow-list: in procfs, sysfs and their kind a regular file is a switch of the kernel, and to write one as root is
/// what a caller must not reach.
enum FileSystems {
  /// The numbers of `linux/magic.h` and of the file systems that keep theirs elsewhere.
  private static let forCopying: Set<UInt64> = [
    0xef53,  // ext2, ext3, ext4
    0x5846_5342,  // xfs
    0x9123_683e,  // btrfs
    0x0102_1994,  // tmpfs
    0x8584_58f6,  // ramfs
    0x794c_7630,  // overlay
    0x6969,  // nfs
    0xf2f5_2010,  // f2fs
    0x4d44,  // vfat
    0x2011_bab0,  // exfat
    0x7366_746e, 0x5346_544e,  // ntfs3, ntfs
    0x6573_5546,  // fuse: ntfs-3g, sshfs and the like
    0x9660, 0x1501_3346,  // iso9660, udf
    0x7371_7368, 0xe0f5_e1e2,  // squashfs, erofs
    0x2fc1_2fc1,  // zfs
    0xca45_1a4e,  // bcachefs
    0xff53_4d42, 0xfe53_4d42,  // cifs, smb2
    0x00c3_6400,  // ceph
    0x0102_1997,  // 9p
    0x3153_464a, 0x5265_4973, 0x482b,  // jfs, reiserfs, hfsplus
  ]

  /// Whether a regular file of the descriptor's file system may be copied.
  static func allows(_ descriptor: Int32) -> Bool {
    var magic: UInt64 = 0
    return unsafe kcs_file_system_magic(descriptor, &magic) == 0 && forCopying.contains(magic)
  }

  /// Whether a device number is that of what is mounted at /dev: a file made there fills memory in place of the disk that
  /// was meant.  devtmpfs is one file system, wherever it is mounted.
  static func isDevices(_ device: UInt64) -> Bool {
    let devices = unsafe kcs_open("/dev", kcs_O_PATH, 0)
    guard devices >= 0 else { return false }
    defer { _ = kcs_close(devices) }
    var facts = kcs_file_facts()
    return unsafe kcs_file_facts(devices, &facts) == 0 && facts.device == device
  }

  /// Whether the descriptor lies in a mount of this program, this one or another: its files are no data.
  static func isOurs(_ descriptor: Int32, _ device: UInt64) -> Bool {
    var magic: UInt64 = 0
    guard unsafe kcs_file_system_magic(descriptor, &magic) == 0, magic == fuse else { return false }
    return Mounts.all().contains { $0.device == device && $0.type == "fuse.kcopyfs" }
  }

  private static let fuse: UInt64 = 0x6573_5546
}
