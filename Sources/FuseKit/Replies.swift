internal import CFuse3
internal import Glibc

/// The right, and the duty, to answer one request once. Dropped, it answers EIO: nobody is left hanging.
public protocol ReplyToken: ~Copyable, Sendable {
  /// Fails the request.
  ///
  /// - Parameter errno: positive, as in errno(3).
  consuming func fail(_ errno: Int32)
}

/// The answer to a lookup or a mkdir.
public struct EntryReply: ~Copyable, ReplyToken {
  var request: Request

  /// Counts one lookup of the entry's node, given back by `forget` if the answer does not arrive.
  public consuming func succeed(_ entry: Entry) {
    let connection = request.connection
    var parameters = fuse_entry_param(entry)
    if !request.answer({ fuse_reply_entry($0, &parameters) }) { connection.fileSystem.forget(entry.node, lookups: 1) }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }
}

/// The answer to a question for, or a change of, attributes.
public struct AttributesReply: ~Copyable, ReplyToken {
  var request: Request

  /// - Parameter timeout: seconds that the kernel may answer by itself.
  public consuming func succeed(_ attributes: Attributes, timeout: Double) {
    var facts = stat(attributes)
    request.answer { fuse_reply_attr($0, &facts, timeout) }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }
}

/// The answer to an open of a file or directory.
public struct OpenReply: ~Copyable, ReplyToken {
  var request: Request
  let node: NodeID
  let isDirectory: Bool

  /// Hands out a handle, released at once if the answer does not arrive.
  public consuming func succeed(_ file: OpenFile) {
    let connection = request.connection
    let node = node
    let isDirectory = isDirectory
    let arrived: Bool
    if file.isStream {
      // libfuse 3.14's fuse_file_info knows no FOPEN_STREAM: the kernel's own structure is sent instead.
      var answer = OpenAnswer(handle: file.handle, flags: OpenAnswer.directIO | OpenAnswer.nonseekable | OpenAnswer.stream)
      arrived = request.answer { raw in
        withUnsafeBytes(of: &answer) { fuse_reply_buf(raw, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count) }
      }
    } else {
      var information = fuse_file_info()
      information.fh = file.handle
      information.direct_io = isDirectory ? 0 : 1
      arrived = request.answer { fuse_reply_open($0, &information) }
    }
    if arrived { return }
    if isDirectory {
      connection.fileSystem.releaseDirectory(node, handle: file.handle)
    } else {
      connection.fileSystem.release(node, handle: file.handle)
    }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }
}

/// `struct fuse_open_out` of linux/fuse.h.
private struct OpenAnswer {
  static let directIO: UInt32 = 1 << 0
  static let nonseekable: UInt32 = 1 << 2
  static let stream: UInt32 = 1 << 4

  var handle: UInt64
  var flags: UInt32
  var backing: Int32 = 0
}

/// The answer to a create: a lookup and an open in one.
public struct CreateReply: ~Copyable, ReplyToken {
  var request: Request

  /// As ``EntryReply/succeed(_:)`` and ``OpenReply/succeed(_:)``.
  public consuming func succeed(_ entry: Entry, _ file: OpenFile) {
    let connection = request.connection
    var parameters = fuse_entry_param(entry)
    var information = fuse_file_info()
    information.fh = file.handle
    information.direct_io = 1
    // A stream that comes by create is only nonseekable, without FOPEN_STREAM: streams have names before they are opened.
    information.nonseekable = file.isStream ? 1 : 0
    if request.answer({ fuse_reply_create($0, &parameters, &information) }) { return }
    connection.fileSystem.release(entry.node, handle: file.handle)
    connection.fileSystem.forget(entry.node, lookups: 1)
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }
}

/// The answer to a read.
public struct DataReply: ~Copyable, ReplyToken {
  var request: Request

  /// - Parameter bytes: at most as many as were asked for; none is the end of the file.
  public consuming func succeed(_ bytes: [UInt8]) {
    succeed(bytes[...])
  }

  /// - Parameter bytes: at most as many as were asked for; none is the end of the file.
  public consuming func succeed(_ bytes: ArraySlice<UInt8>) {
    request.answer { raw in
      bytes.withUnsafeBytes { fuse_reply_buf(raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count) }
    }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }

  /// Keeps the request for later, from when on a signal to the caller can end it.
  ///
  /// - Parameter onInterrupt: see ``Parked``; it may be called before `park` returns.
  public consuming func park(onInterrupt: @escaping @Sendable () -> Void) -> Parked<DataReply> {
    let raw = request.raw
    return Parked(self, raw: raw, onInterrupt: onInterrupt)
  }
}

/// The answer to a write.
public struct CountReply: ~Copyable, ReplyToken {
  var request: Request

  /// - Parameter count: bytes taken, at most as many as were written.
  public consuming func succeed(count: Int) {
    request.answer { fuse_reply_write($0, count) }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }

  /// Keeps the request for later. The kernel holds the file's lock meanwhile: other writers of the node wait in turn,
  /// out of reach of signals.
  ///
  /// - Parameter onInterrupt: see ``Parked``; it may be called before `park` returns.
  public consuming func park(onInterrupt: @escaping @Sendable () -> Void) -> Parked<CountReply> {
    let raw = request.raw
    return Parked(self, raw: raw, onInterrupt: onInterrupt)
  }
}

/// The answer to a request that has only success or failure.
public struct StatusReply: ~Copyable, ReplyToken {
  var request: Request

  public consuming func succeed() {
    request.answer { fuse_reply_err($0, 0) }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }

  /// Keeps the request for later, from when on a signal to the caller can end it.
  ///
  /// - Parameter onInterrupt: see ``Parked``; it may be called before `park` returns.
  public consuming func park(onInterrupt: @escaping @Sendable () -> Void) -> Parked<StatusReply> {
    let raw = request.raw
    return Parked(self, raw: raw, onInterrupt: onInterrupt)
  }
}

/// The answer to a poll.
public struct PollReply: ~Copyable, ReplyToken {
  var request: Request

  /// - Parameter events: POLLIN, POLLPRI ... that hold now.
  public consuming func succeed(events: UInt32) {
    request.answer { fuse_reply_poll($0, events) }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }
}

/// The answer to a statfs.
public struct StatisticsReply: ~Copyable, ReplyToken {
  var request: Request

  public consuming func succeed(_ statistics: Statistics) {
    var facts = statvfs()
    facts.f_bsize = 4096
    facts.f_frsize = 4096
    facts.f_files = UInt(statistics.files)
    facts.f_ffree = UInt(statistics.filesFree)
    facts.f_favail = UInt(statistics.filesFree)
    facts.f_namemax = UInt(statistics.nameMaximum)
    request.answer { fuse_reply_statfs($0, &facts) }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }
}
