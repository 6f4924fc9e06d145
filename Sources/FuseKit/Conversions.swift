internal import CFuse3
internal import Glibc

extension stat {
  init(_ attributes: Attributes) {
    self.init()
    let kind = attributes.kind == .directory ? Glibc.S_IFDIR : Glibc.S_IFREG
    let billion: UInt64 = 1_000_000_000
    let time = timespec(tv_sec: Int(attributes.modified / billion), tv_nsec: Int(attributes.modified % billion))
    st_ino = UInt(attributes.inode)
    st_mode = kind | (attributes.permissions & 0o7777)
    st_nlink = UInt(attributes.links)
    st_uid = attributes.uid
    st_gid = attributes.gid
    st_size = off_t(truncatingIfNeeded: attributes.size)
    st_blksize = Int(attributes.blockSize)
    st_blocks = Int(truncatingIfNeeded: attributes.size / 512 + (attributes.size % 512 == 0 ? 0 : 1))
    st_atim = time
    st_mtim = time
    st_ctim = time
  }
}

extension fuse_entry_param {
  init(_ entry: Entry) {
    self.init()
    ino = entry.node
    attr = stat(entry.attributes)
    entry_timeout = entry.entryTimeout
    attr_timeout = entry.attributeTimeout
  }
}

extension AttributeChange {
  /// - Parameter mask: FUSE_SET_ATTR_* bits: which fields of `facts` count.
  init(_ facts: stat, mask: Int32) {
    func asks(_ bits: Int32) -> Bool { mask & bits != 0 }
    let time = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME
    self.init(
      permissions: asks(FUSE_SET_ATTR_MODE) ? facts.st_mode & 0o7777 : nil,
      uid: asks(FUSE_SET_ATTR_UID) ? facts.st_uid : nil,
      gid: asks(FUSE_SET_ATTR_GID) ? facts.st_gid : nil,
      size: asks(FUSE_SET_ATTR_SIZE) ? UInt64(truncatingIfNeeded: facts.st_size) : nil,
      times: asks(time))
  }
}
