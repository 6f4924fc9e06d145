internal import CFuse3
internal import Glibc

/// The table of C callbacks.
///
/// Made in plain functions: a closure formed at the top level of a program, or in an isolated one, would be taken for the
/// main actor's, and trap on the session's threads. What is left out, libfuse answers ENOSYS, and the kernel stops
/// asking or does it itself: xattr (one request less per `ls -l` entry), locks, fallocate, copy_file_range, ioctl.
func makeOperations() -> fuse_lowlevel_ops {
  var operations = fuse_lowlevel_ops()
  operations.`init` = { _, connection in
    // Replies come from memory, and there is no page cache to write back.
    connection!.pointee.want &= ~UInt32(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE)
  }
  addNodeOperations(to: &operations)
  addFileOperations(to: &operations)
  addDirectoryOperations(to: &operations)
  addNameOperations(to: &operations)
  return operations
}

private func connection(of raw: OpaquePointer?) -> Connection {
  Unmanaged<Connection>.fromOpaque(fuse_req_userdata(raw)!).takeUnretainedValue()
}

/// Calls a handler with what every one of them needs.
private func handle(_ raw: OpaquePointer?, _ body: (any FileSystem, Requester, consuming Request) -> Void) {
  let request = Request(raw!)
  let requester = request.requester
  body(connection(of: raw).fileSystem, requester, request)
}

/// As `handle`, for a request about a name. Nothing here has a name that is not UTF-8.
///
/// - Parameter error: the answer to such a name.
private func handle(
  _ raw: OpaquePointer?, _ name: UnsafePointer<CChar>?, otherwise error: Int32,
  _ body: (any FileSystem, String, Requester, consuming Request) -> Void
) {
  let request = Request(raw!)
  guard let name = String(validatingCString: name!) else { return request.fail(error) }
  let requester = request.requester
  body(connection(of: raw).fileSystem, name, requester, request)
}

private func addNodeOperations(to operations: inout fuse_lowlevel_ops) {
  operations.lookup = { raw, directory, name in
    handle(raw, name, otherwise: ENOENT) { fileSystem, name, requester, request in
      fileSystem.lookup(name, in: directory, by: requester, reply: EntryReply(request: request))
    }
  }
  operations.forget = { raw, node, lookups in
    connection(of: raw).fileSystem.forget(node, lookups: lookups)
    fuse_reply_none(raw)
  }
  operations.forget_multi = { raw, count, forgets in
    let fileSystem = connection(of: raw).fileSystem
    for forget in UnsafeBufferPointer(start: forgets, count: count) { fileSystem.forget(forget.ino, lookups: forget.nlookup) }
    fuse_reply_none(raw)
  }
  operations.getattr = { raw, node, _ in
    handle(raw) { fileSystem, requester, request in
      fileSystem.attributes(of: node, by: requester, reply: AttributesReply(request: request))
    }
  }
  operations.setattr = { raw, node, facts, mask, _ in
    handle(raw) { fileSystem, requester, request in
      let change = AttributeChange(facts!.pointee, mask: mask)
      fileSystem.setAttributes(change, of: node, by: requester, reply: AttributesReply(request: request))
    }
  }
  operations.statfs = { raw, _ in
    handle(raw) { fileSystem, requester, request in
      fileSystem.statistics(by: requester, reply: StatisticsReply(request: request))
    }
  }
}

private func addFileOperations(to operations: inout fuse_lowlevel_ops) {
  operations.open = { raw, node, file in
    handle(raw) { fileSystem, requester, request in
      let reply = OpenReply(request: request, node: node, isDirectory: false)
      fileSystem.open(node, flags: file!.pointee.flags, by: requester, reply: reply)
    }
  }
  operations.read = { raw, node, size, offset, file in
    handle(raw) { fileSystem, requester, request in
      fileSystem.read(
        node, handle: file!.pointee.fh, offset: UInt64(offset), size: size, nonblocking: file!.pointee.flags & O_NONBLOCK != 0,
        by: requester, reply: DataReply(request: request))
    }
  }
  operations.write = { raw, node, bytes, size, offset, file in
    handle(raw) { fileSystem, requester, request in
      fileSystem.write(
        node, handle: file!.pointee.fh, bytes: [UInt8](UnsafeRawBufferPointer(start: bytes, count: size)), offset: UInt64(offset),
        nonblocking: file!.pointee.flags & O_NONBLOCK != 0, by: requester, reply: CountReply(request: request))
    }
  }
  operations.flush = { raw, node, file in
    handle(raw) { fileSystem, requester, request in
      fileSystem.flush(node, handle: file!.pointee.fh, by: requester, reply: StatusReply(request: request))
    }
  }
  operations.fsync = { raw, node, _, file in
    handle(raw) { fileSystem, requester, request in
      fileSystem.synchronize(node, handle: file!.pointee.fh, by: requester, reply: StatusReply(request: request))
    }
  }
  operations.release = { raw, node, file in
    handle(raw) { fileSystem, _, request in
      fileSystem.release(node, handle: file!.pointee.fh)
      StatusReply(request: request).succeed()
    }
  }
  operations.poll = { raw, node, file, sleepers in
    handle(raw) { fileSystem, requester, request in
      let waker = sleepers.map { PollWaker($0, connection: request.connection) }
      fileSystem.poll(node, handle: file!.pointee.fh, waker: waker, by: requester, reply: PollReply(request: request))
    }
  }
}

private func addDirectoryOperations(to operations: inout fuse_lowlevel_ops) {
  operations.opendir = { raw, node, _ in
    handle(raw) { fileSystem, requester, request in
      fileSystem.openDirectory(node, by: requester, reply: OpenReply(request: request, node: node, isDirectory: true))
    }
  }
  operations.readdir = { raw, node, size, offset, file in
    readDirectory(raw, node, size, offset, file, plus: false)
  }
  operations.readdirplus = { raw, node, size, offset, file in
    readDirectory(raw, node, size, offset, file, plus: true)
  }
  operations.releasedir = { raw, node, file in
    handle(raw) { fileSystem, _, request in
      fileSystem.releaseDirectory(node, handle: file!.pointee.fh)
      StatusReply(request: request).succeed()
    }
  }
}

private func readDirectory(
  _ raw: OpaquePointer?, _ node: NodeID, _ size: Int, _ offset: off_t, _ file: UnsafeMutablePointer<fuse_file_info>?, plus: Bool
) {
  handle(raw) { fileSystem, requester, request in
    let reply = DirectoryReply(request: request, size: size, wantsAttributes: plus)
    let offset = UInt64(bitPattern: Int64(offset))
    fileSystem.readDirectory(node, handle: file!.pointee.fh, offset: offset, by: requester, reply: reply)
  }
}

private func addNameOperations(to operations: inout fuse_lowlevel_ops) {
  operations.create = { raw, directory, name, mode, file in
    handle(raw, name, otherwise: EINVAL) { fileSystem, name, requester, request in
      fileSystem.create(
        name, in: directory, permissions: mode & 0o7777, flags: file!.pointee.flags, by: requester, reply: CreateReply(request: request))
    }
  }
  operations.mkdir = { raw, directory, name, mode in
    handle(raw, name, otherwise: EINVAL) { fileSystem, name, requester, request in
      fileSystem.makeDirectory(name, in: directory, permissions: mode & 0o7777, by: requester, reply: EntryReply(request: request))
    }
  }
  operations.rmdir = { raw, directory, name in
    handle(raw, name, otherwise: ENOENT) { fileSystem, name, requester, request in
      fileSystem.removeDirectory(name, in: directory, by: requester, reply: StatusReply(request: request))
    }
  }
  operations.unlink = { raw, directory, name in
    handle(raw, name, otherwise: ENOENT) { fileSystem, name, requester, request in
      fileSystem.unlink(name, in: directory, by: requester, reply: StatusReply(request: request))
    }
  }
  operations.rename = { raw, directory, name, newDirectory, newName, flags in
    handle(raw, name, otherwise: EINVAL) { fileSystem, name, requester, request in
      guard let newName = String(validatingCString: newName!) else { return request.fail(EINVAL) }
      fileSystem.rename(
        name, in: directory, to: newName, in: newDirectory, flags: flags, by: requester, reply: StatusReply(request: request))
    }
  }
  // Left out, these would be "Function not implemented"; EPERM is what a file system without them answers.
  operations.symlink = { raw, _, _, _ in handle(raw) { _, _, request in request.fail(EPERM) } }
  operations.link = { raw, _, _, _ in handle(raw) { _, _, request in request.fail(EPERM) } }
  operations.mknod = { raw, _, _, _, _ in handle(raw) { _, _, request in request.fail(EPERM) } }
}
