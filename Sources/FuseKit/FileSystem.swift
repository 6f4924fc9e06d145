/// What a ``Session`` serves: one function per kind of request.
///
/// - Handlers are called on the session's threads, several at once, and must not block: a request that has to wait is
///   parked (``DataReply/park(onInterrupt:)``) and answered later, from any thread.
/// - A reply is answered exactly once; one that is dropped answers EIO. A `succeed` whose answer no longer reaches
///   the kernel calls ``forget(_:lookups:)``, ``release(_:handle:)`` or ``releaseDirectory(_:handle:)`` before it
///   returns: no lock that these take may be held around it.
/// - Lookups and listings are answered at once. libfuse 3.14 does not pass on that they may run in parallel, so the kernel
///   lets one at a time into a directory, and no signal reaches those who queue behind it.
/// - ENOSYS has a meaning of its own in FUSE, "never ask again, in the whole mount", and is no answer for one file.
/// - Permissions are checked by the kernel (`default_permissions`), from the attributes.
public protocol FileSystem: AnyObject, Sendable {
  /// Finds a name; ENOENT if there is none. A success counts one lookup of the node.
  func lookup(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming EntryReply)
  /// The kernel drops that many lookups of a node; with the last one the node's number is free again.
  func forget(_ node: NodeID, lookups: UInt64)

  /// fstat asks without its handle: a removed node has to answer until it is forgotten.
  func attributes(of node: NodeID, by requester: Requester, reply: consuming AttributesReply)
  func setAttributes(_ change: AttributeChange, of node: NodeID, by requester: Requester, reply: consuming AttributesReply)

  /// - Parameter flags: of open(2), O_TRUNC included: no separate truncation follows.
  func open(_ node: NodeID, flags: Int32, by requester: Requester, reply: consuming OpenReply)
  /// Makes and opens a file. The umask is already taken off `permissions`.
  func create(
    _ name: String, in directory: NodeID, permissions: UInt32, flags: Int32, by requester: Requester, reply: consuming CreateReply)
  /// - Parameters:
  ///   - offset: in bytes; means nothing on a stream.
  ///   - nonblocking: O_NONBLOCK as it is now; a program may set it after open.
  func read(
    _ node: NodeID, handle: UInt64, offset: UInt64, size: Int, nonblocking: Bool, by requester: Requester, reply: consuming DataReply)
  func write(
    _ node: NodeID, handle: UInt64, bytes: [UInt8], offset: UInt64, nonblocking: Bool, by requester: Requester,
    reply: consuming CountReply)
  /// Somebody closed a descriptor of this open file: not the last one necessarily, and shells do so before the first write.
  func flush(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply)
  /// fsync and fdatasync.
  func synchronize(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply)
  /// The last descriptor is closed; comes after close(2) returned, and nobody hears of an error.
  func release(_ node: NodeID, handle: UInt64)

  func openDirectory(_ node: NodeID, by requester: Requester, reply: consuming OpenReply)
  func releaseDirectory(_ node: NodeID, handle: UInt64)
  /// - Parameter offset: 0, or what an earlier entry was added with as its `next`.
  func readDirectory(_ node: NodeID, handle: UInt64, offset: UInt64, by requester: Requester, reply: consuming DirectoryReply)
  /// The umask is already taken off `permissions`.
  func makeDirectory(
    _ name: String, in directory: NodeID, permissions: UInt32, by requester: Requester, reply: consuming EntryReply)
  func removeDirectory(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply)
  func unlink(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply)
  /// - Parameter flags: of renameat2(2).
  func rename(
    _ name: String, in directory: NodeID, to newName: String, in newDirectory: NodeID, flags: UInt32, by requester: Requester,
    reply: consuming StatusReply)

  /// What the file is ready for; with a waker, a sleeper wants to hear of the next change. It replaces the one before it.
  func poll(_ node: NodeID, handle: UInt64, waker: PollWaker?, by requester: Requester, reply: consuming PollReply)
  func statistics(by requester: Requester, reply: consuming StatisticsReply)
}
