import CSQLite
import FaultKit
import Glibc
import Locking

/// A directory whose SQLite files are on a disk that fails and that can lose its power: every write, truncation and flush is
/// counted, one of them fails, or all from there on, and what was flushed is known apart from what the files show.
///
/// A flush that fails loses what it was to write for ever, though it can still be read and later flushes go well: that is
/// what Linux does.
final class FaultyDisk: Sendable {
  /// What a request that fails says; a flush says EIO always.
  enum Fault: Sendable, CaseIterable { case inputOutput, full }

  private struct State {
    var count = 0
    var isHealed = false
    var durable: [String: [UInt8]] = [:]
    var pending: [String: [Request]] = [:]
  }

  private enum Request {
    case write(Int, [UInt8])
    case truncate(Int)

    /// What a power cut leaves of it: all, the beginning of a write, or nothing.
    func torn(_ chance: inout SeededGenerator) -> Request? {
      switch (Int.random(in: 0..<3, using: &chance), self) {
      case (0, _): self
      case (1, .write(let offset, let data)): .write(offset, Array(data.prefix(Int.random(in: 0...data.count, using: &chance))))
      default: nil
      }
    }

    func apply(to bytes: inout [UInt8]) {
      switch self {
      case .truncate(let size): bytes.removeLast(max(bytes.count - size, 0))
      case .write(let offset, let data):
        if bytes.count < offset + data.count { bytes += [UInt8](repeating: 0, count: offset + data.count - bytes.count) }
        bytes.replaceSubrange(offset..<offset + data.count, with: data)
      }
    }
  }

  /// SQLITE_IOERR_WRITE and SQLITE_IOERR_FSYNC, macros that Swift doesn't see.
  private static let failedWrite = SQLITE_IOERR | 3 << 8
  private static let failedFlush = SQLITE_IOERR | 4 << 8

  private let directory: String
  private let victim: Int
  private let fault: Fault
  private let isLasting: Bool
  private let state = Locked(State())

  /// - Parameters:
  ///   - victim: the number of the first request that fails; they count from 1.
  ///   - isLasting: whether all that come after it fail too, until `heal`.
  init(_ directory: String, victim: Int, _ fault: Fault, isLasting: Bool) {
    self.directory = directory
    self.victim = victim
    self.fault = fault
    self.isLasting = isLasting
    SystemCalls.watch(directory, self)
  }

  func release() { SystemCalls.unwatch(directory) }

  func heal() { state.withLock { $0.isHealed = true } }

  /// Whether there was a request with the number of the victim.
  var hasStruck: Bool { state.withLock { $0.count >= victim } }

  /// How many requests there were.
  var count: Int { state.withLock { $0.count } }

  /// Files as they are after a power cut: nothing that wasn't flushed is there.
  var afterPowerCut: [String: [UInt8]] { state.withLock { $0.durable } }

  /// The same, when some of what wasn't flushed is there, or the beginning of it.
  func afterPowerCut(tearing chance: inout SeededGenerator) -> [String: [UInt8]] {
    var (files, pending) = state.withLock { ($0.durable, $0.pending) }
    for path in pending.keys.sorted() {
      for request in pending[path, default: []] {
        if let kept = request.torn(&chance) { kept.apply(to: &files[path, default: []]) }
      }
    }
    return files
  }

  /// - Returns: what is wrong, or `SQLITE_OK`, and then the body is to be done.
  fileprivate func write(_ path: String, _ offset: Int, _ data: [UInt8]) -> Int32 { request(path, .write(offset, data)) }

  fileprivate func truncate(_ path: String, _ size: Int) -> Int32 { request(path, .truncate(size)) }

  private func request(_ path: String, _ request: Request) -> Int32 {
    state.withLock { state in
      guard !fails(&state) else { return fault == .full ? SQLITE_FULL : Self.failedWrite }
      state.pending[path, default: []].append(request)
      return SQLITE_OK
    }
  }

  fileprivate func flush(_ path: String) -> Int32 {
    state.withLock { state in
      let requests = state.pending.removeValue(forKey: path) ?? []
      guard !fails(&state) else { return Self.failedFlush }
      for request in requests { request.apply(to: &state.durable[path, default: []]) }
      return SQLITE_OK
    }
  }

  fileprivate func remove(_ path: String) {
    state.withLock { state in
      state.durable[path] = nil
      state.pending[path] = nil
    }
  }

  private func fails(_ state: inout State) -> Bool {
    state.count += 1
    return !state.isHealed && (state.count == victim || isLasting && state.count > victim)
  }
}

/// SQLite's layer of system calls, with its writes, truncations, flushes and removals seen by the disk whose directory they are in.
private enum SystemCalls {
  private static let disks = Locked<[String: FaultyDisk]>([:])
  private static let files = Locked<[UInt: OpenFile]>([:])

  private struct OpenFile {
    let disk: FaultyDisk
    let path: String
    /// SQLite's own: there are some of them, with locks of several kinds.
    nonisolated(unsafe) let calls: UnsafePointer<sqlite3_io_methods>
  }

  /// SQLite's own.
  nonisolated(unsafe) private static let base: UnsafeMutablePointer<sqlite3_vfs> = sqlite3_vfs_find(nil)
  /// From the first use on all files of this process are opened here.
  private static let registered: Int32 = {
    let layer = UnsafeMutablePointer<sqlite3_vfs>.allocate(capacity: 1)
    layer.initialize(to: base.pointee)
    layer.pointee.zName = UnsafePointer(strdup("faulty"))
    layer.pointee.xOpen = { _, name, file, flags, found in
      let result = base.pointee.xOpen(base, name, file, flags, found)
      if result == SQLITE_OK, let name, let file { adopt(file, String(cString: name)) }
      return result
    }
    layer.pointee.xDelete = { _, name, isDurable in
      let result = base.pointee.xDelete(base, name, isDurable)
      if result == SQLITE_OK, let name { disk(of: String(cString: name))?.remove(String(cString: name)) }
      return result
    }
    return sqlite3_vfs_register(layer, 1)
  }()

  static func watch(_ directory: String, _ disk: FaultyDisk) {
    precondition(registered == SQLITE_OK)
    disks.withLock { $0[directory] = disk }
  }

  static func unwatch(_ directory: String) { disks.withLock { $0[directory] = nil } }

  private static func disk(of path: String) -> FaultyDisk? {
    disks.withLock { disks in disks[String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])] }
  }

  /// Puts our calls in the place of SQLite's, for a file of a disk of ours.
  private static func adopt(_ file: UnsafeMutablePointer<sqlite3_file>, _ path: String) {
    guard let disk = disk(of: path), let own = file.pointee.pMethods else { return }
    // They live as long as the file.
    let calls = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)
    calls.initialize(to: own.pointee)
    calls.pointee.xClose = { file in
      guard let file, let open = SystemCalls.files.withLock({ $0.removeValue(forKey: UInt(bitPattern: file)) }) else { return SQLITE_IOERR }
      file.pointee.pMethods.deallocate()
      file.pointee.pMethods = open.calls
      return open.calls.pointee.xClose(file)
    }
    calls.pointee.xWrite = { file, data, count, offset in
      guard let open = SystemCalls.open(file) else { return SQLITE_IOERR }
      let result = open.disk.write(open.path, Int(offset), Array(UnsafeRawBufferPointer(start: data, count: Int(count))))
      return result == SQLITE_OK ? open.calls.pointee.xWrite(file, data, count, offset) : result
    }
    calls.pointee.xTruncate = { file, size in
      guard let open = SystemCalls.open(file) else { return SQLITE_IOERR }
      let result = open.disk.truncate(open.path, Int(size))
      return result == SQLITE_OK ? open.calls.pointee.xTruncate(file, size) : result
    }
    calls.pointee.xSync = { file, _ in
      guard let open = SystemCalls.open(file) else { return SQLITE_IOERR }
      return open.disk.flush(open.path)
    }
    files.withLock { $0[UInt(bitPattern: file)] = OpenFile(disk: disk, path: path, calls: own) }
    file.pointee.pMethods = UnsafePointer(calls)
  }

  private static func open(_ file: UnsafeMutablePointer<sqlite3_file>?) -> OpenFile? { files.withLock { $0[UInt(bitPattern: file)] } }
}
