internal import CFuse3
internal import Glibc

/// A request that is not answered yet: the part that all replies share.
///
/// It keeps its ``Connection`` alive. The reference is counted by hand, for `discard` asks for trivial properties.
struct Request: ~Copyable, @unchecked Sendable {
  /// libfuse's `fuse_req_t`; its answer frees it.
  let raw: OpaquePointer
  private let retained: Unmanaged<Connection>

  init(_ raw: OpaquePointer) {
    self.raw = raw
    retained = Unmanaged<Connection>.fromOpaque(fuse_req_userdata(raw)!).retain()
  }

  var connection: Connection { retained.takeUnretainedValue() }

  var requester: Requester {
    let context = fuse_req_ctx(raw).pointee
    return Requester(uid: context.uid, gid: context.gid, pid: context.pid, umask: context.umask)
  }

  /// Answers with one of libfuse's reply functions.
  ///
  /// - Returns: whether the answer reached the kernel. It doesn't when the request was interrupted for good (ENOENT),
  ///   or the mount is gone; what the answer promised to hold is then to be let go.
  @discardableResult
  consuming func answer(_ reply: (OpaquePointer) -> Int32) -> Bool {
    let raw = raw
    let connection = retained.takeRetainedValue()
    discard self
    return connection.withDescriptor { reply(raw) } == 0
  }

  /// - Parameter errno: positive; what FUSE cannot carry becomes EIO.
  consuming func fail(_ errno: Int32) {
    let sendable = (1..<512).contains(errno) ? errno : EIO
    answer { fuse_reply_err($0, sendable) }
  }

  deinit {
    let connection = retained.takeRetainedValue()
    _ = connection.withDescriptor { fuse_reply_err(raw, EIO) }
  }
}
