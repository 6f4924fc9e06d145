internal import CFuse3
internal import Glibc

/// The answer to a read of a directory: entries, as many as the caller's buffer takes.
public struct DirectoryReply: ~Copyable, ReplyToken {
  var request: Request
  /// Each entry counts as a lookup of its node ("." and ".." aside), so `ls -l` needs no request per file (readdirplus).
  public let wantsAttributes: Bool
  private var buffer: [UInt8]
  private var used = 0
  private var lookups: UnsentLookups

  init(request: consuming Request, size: Int, wantsAttributes: Bool) {
    lookups = UnsentLookups(connection: request.connection)
    self.request = request
    self.wantsAttributes = wantsAttributes
    buffer = [UInt8](repeating: 0, count: size)
  }

  /// Adds an entry.
  ///
  /// - Parameters:
  ///   - entry: of which only the inode and the kind matter when ``wantsAttributes`` is false.
  ///   - offset: where the entry after this one is found; never 0.
  /// - Returns: false when the buffer is full: nothing was added, and no lookup counted.
  public mutating func add(_ name: String, _ entry: Entry, next offset: UInt64) -> Bool {
    let isDot = name == "." || name == ".."
    let raw = request.raw
    let wantsAttributes = wantsAttributes
    let used = used
    let needed = buffer.withUnsafeMutableBytes { buffer in
      let space = buffer[used...]
      let start = buffer.baseAddress?.advanced(by: used).assumingMemoryBound(to: CChar.self)
      let next = off_t(truncatingIfNeeded: offset)
      if wantsAttributes {
        var parameters = fuse_entry_param(entry)
        // Node 0 says "no lookup here"; the kernel would never forget what "." and ".." counted.
        if isDot { parameters.ino = 0 }
        return fuse_add_direntry_plus(raw, start, space.count, name, &parameters, next)
      }
      var facts = stat(entry.attributes)
      return fuse_add_direntry(raw, start, space.count, name, &facts, next)
    }
    guard needed <= buffer.count - used else { return false }
    self.used += needed
    if wantsAttributes && !isDot { lookups.nodes.append(entry.node) }
    return true
  }

  /// Sends what was added; nothing added is the directory's end.
  public consuming func finish() {
    let buffer = buffer[..<used]
    let arrived = request.answer { raw in
      buffer.withUnsafeBytes { fuse_reply_buf(raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count) }
    }
    if arrived { lookups.nodes.removeAll() }
  }

  public consuming func fail(_ errno: Int32) { request.fail(errno) }
}

/// Lookups that were counted for an answer; given back unless the answer has arrived.
private struct UnsentLookups: ~Copyable {
  let connection: Connection
  var nodes: [NodeID] = []

  init(connection: Connection) {
    self.connection = connection
  }

  deinit {
    for node in nodes { connection.fileSystem.forget(node, lookups: 1) }
  }
}
