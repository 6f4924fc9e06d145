/// The number under which the kernel knows a node between its first lookup and its last forget; 1 is the root.
public typealias NodeID = UInt64

/// What `stat` says of a node.
public struct Attributes: Sendable, Equatable {
  public enum Kind: Sendable {
    case directory
    case file
  }

  /// `st_ino`; need not be the node's ``NodeID``.
  public var inode: UInt64
  public var kind: Kind
  /// The low 12 bits of `st_mode`.
  public var permissions: UInt32
  public var links: UInt32
  public var uid: UInt32
  public var gid: UInt32
  /// Bytes.
  public var size: UInt64
  /// Nanoseconds since the epoch: atime, mtime and ctime in one.
  public var modified: UInt64
  /// `st_blksize`, bytes: what stdio takes for the size of its writes.
  public var blockSize: UInt32

  public init(
    inode: UInt64, kind: Kind, permissions: UInt32, links: UInt32, uid: UInt32, gid: UInt32, size: UInt64, modified: UInt64,
    blockSize: UInt32 = 4096
  ) {
    self.inode = inode
    self.kind = kind
    self.permissions = permissions
    self.links = links
    self.uid = uid
    self.gid = gid
    self.size = size
    self.modified = modified
    self.blockSize = blockSize
  }
}

/// What chmod, chown, truncate or utimensat asks for; nil is "leave it".
public struct AttributeChange: Sendable, Equatable {
  /// The low 12 bits of the mode.
  public var permissions: UInt32?
  public var uid: UInt32?
  public var gid: UInt32?
  /// Bytes.
  public var size: UInt64?
  /// A time is to be set; to which is not told, since nodes have but one that their owner decides.
  public var times: Bool

  public init(permissions: UInt32? = nil, uid: UInt32? = nil, gid: UInt32? = nil, size: UInt64? = nil, times: Bool = false) {
    self.permissions = permissions
    self.uid = uid
    self.gid = gid
    self.size = size
    self.times = times
  }
}

/// A name's answer: the node behind it, and how long the kernel may believe this.
public struct Entry: Sendable, Equatable {
  public var node: NodeID
  public var attributes: Attributes
  /// Seconds that the name stands for the node without another lookup.
  public var entryTimeout: Double
  /// Seconds that the attributes hold.
  public var attributeTimeout: Double

  public init(node: NodeID, attributes: Attributes, entryTimeout: Double, attributeTimeout: Double) {
    self.node = node
    self.attributes = attributes
    self.entryTimeout = entryTimeout
    self.attributeTimeout = attributeTimeout
  }
}

/// An open file description, as its later requests name it.
public struct OpenFile: Sendable, Equatable {
  public var handle: UInt64
  /// No position and no size: reads may wait, lseek fails with ESPIPE, and two threads can use one descriptor at once.
  public var isStream: Bool

  public init(handle: UInt64, isStream: Bool) {
    self.handle = handle
    self.isStream = isStream
  }
}

/// What statfs(2) says; all block counts are 0, so that `df` leaves the mount out and `df -i` shows it.
public struct Statistics: Sendable, Equatable {
  public var files: UInt64
  public var filesFree: UInt64
  /// Bytes of the longest name.
  public var nameMaximum: UInt32

  public init(files: UInt64, filesFree: UInt64, nameMaximum: UInt32) {
    self.files = files
    self.filesFree = filesFree
    self.nameMaximum = nameMaximum
  }
}
