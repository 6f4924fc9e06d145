/// Who makes a request, as the kernel names them in it.
public struct Requester: Sendable {
  public let uid: UInt32
  public let gid: UInt32
  /// The id of the calling thread, in the name space of the daemon; 0 when it is not visible there.
  public let pid: Int32
  public let umask: UInt32

  public init(uid: UInt32, gid: UInt32, pid: Int32, umask: UInt32) {
    self.uid = uid
    self.gid = gid
    self.pid = pid
    self.umask = umask
  }
}
