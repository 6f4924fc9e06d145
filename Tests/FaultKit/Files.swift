public import Glibc

/// Whole files by plain system calls, each failure with its errno: what a C program would see.
public enum Files {
  /// Opens, reads to the end, closes.
  public static func read(_ path: String, flags: Int32 = O_RDONLY) throws -> [UInt8] {
    let file = try OpenFile(path, flags)
    defer { try? file.close() }
    return try file.readToEnd()
  }

  public static func text(_ path: String) throws -> String {
    String(decoding: try read(path), as: UTF8.self)
  }

  /// Opens, writes all, closes, as `echo >` does; a failed close throws too.
  public static func write(_ path: String, _ bytes: some Sequence<UInt8>, flags: Int32 = O_WRONLY | O_CREAT | O_TRUNC) throws {
    let file = try OpenFile(path, flags)
    do {
      try file.writeAll(Array(bytes))
    } catch {
      try? file.close()
      throw error
    }
    try file.close()
  }

  public static func write(_ path: String, _ text: String, flags: Int32 = O_WRONLY | O_CREAT | O_TRUNC) throws {
    try write(path, text.utf8, flags: flags)
  }

  public static func exists(_ path: String) -> Bool {
    var facts = stat()
    return lstat(path, &facts) == 0
  }

  /// The names in a directory, sorted, without `.` and `..`.
  public static func names(in path: String) throws -> [String] {
    guard let directory = opendir(path) else { throw SystemError(errno, "opendir \(path)") }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(cString: $0.baseAddress!.assumingMemoryBound(to: CChar.self)) }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Type and mode bits as `st_mode` has them.
  public static func mode(_ path: String) throws -> UInt32 { try facts(path).mode }

  public static func facts(_ path: String) throws -> FileFacts {
    var facts = stat()
    _ = try checked(lstat(path, &facts), "lstat \(path)")
    return FileFacts(
      mode: facts.st_mode, uid: facts.st_uid, size: Int(facts.st_size), inode: UInt64(facts.st_ino), deviceNumber: UInt64(facts.st_rdev),
      modified: facts.st_mtim.tv_sec)
  }

  public static func removeDirectory(_ path: String) throws {
    _ = try checked(rmdir(path), "rmdir \(path)")
  }

  public static func unlink(_ path: String) throws {
    _ = try checked(Glibc.unlink(path), "unlink \(path)")
  }

  public static func rename(_ path: String, to other: String) throws {
    _ = try checked(Glibc.rename(path, other), "rename \(path) \(other)")
  }

  public static func link(_ path: String, as other: String) throws {
    _ = try checked(Glibc.link(path, other), "link \(path) \(other)")
  }

  public static func symlink(to path: String, as other: String) throws {
    _ = try checked(Glibc.symlink(path, other), "symlink \(path) \(other)")
  }

  /// A device node, or a FIFO with device number 0.
  /// Where a symbolic link leads; `nil` when there is none.
  public static func target(_ path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = readlink(path, &buffer, buffer.count)
    return count < 0 ? nil : String(decoding: buffer.prefix(count), as: UTF8.self)
  }

  public static func makeNode(_ path: String, mode: UInt32, device: UInt64 = 0) throws {
    _ = try checked(mknod(path, mode, dev_t(device)), "mknod \(path)")
  }

  public static func makeDirectory(_ path: String) throws {
    _ = try checked(mkdir(path, 0o755), "mkdir \(path)")
  }
}

/// What lstat(2) says of a file.
public struct FileFacts: Sendable {
  /// Type and permissions, as `st_mode`.
  public let mode: UInt32
  public let uid: UInt32
  /// Bytes.
  public let size: Int
  public let inode: UInt64
  /// `st_rdev`.
  public let deviceNumber: UInt64
  /// Seconds since the epoch.
  public let modified: Int

  public var isDirectory: Bool { mode & 0o170000 == 0o040000 }
  public var permissions: UInt32 { mode & 0o7777 }
}
