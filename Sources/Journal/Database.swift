internal import CSQLite
internal import CSystemShims
internal import Glibc

/// One SQLite database of one writer, durable at each commit.
@safe final class Database: @unchecked Sendable {
  private let connection: OpaquePointer
  private let path: String
  /// The database and its log as they were opened, whatever stands under their names later.
  private var files: [UInt64] = []

  /// Opens the database, which is made if it isn't there, for its owner alone.
  ///
  /// - Parameter isKnown: whether all that it may hold is in memory.
  /// - Throws: `JournalError`; for a newer version's, and for one that is damaged, before anything of it is written.
  convenience init(_ path: String, isKnown: Bool = false) throws(JournalError) {
    // SQLite would remove the log.
    if !isKnown, Self.size(path) == 0, Self.size(path + "-wal") > 0 { throw Self.damaged(path, "it is empty, and its log is not") }
    try Self.makeFile(path)
    try Self.examine(path)
    try self.init(path, flags: SQLITE_OPEN_READWRITE)
    // WAL with synchronous=FULL: a commit is one append and one fsync, and is there after a power cut.
    try run("PRAGMA journal_mode=WAL")
    try run("PRAGMA synchronous=FULL")
    try migrate()
    files = Self.files(of: path)
  }

  private init(_ path: String, flags: Int32) throws(JournalError) {
    var connection: OpaquePointer?
    let result = unsafe sqlite3_open_v2(path, &connection, flags | SQLITE_OPEN_FULLMUTEX, nil)
    guard result == SQLITE_OK, let connection = unsafe connection else {
      defer { unsafe _ = sqlite3_close_v2(connection) }
      throw unsafe Self.error(result, connection, path)
    }
    unsafe self.connection = connection
    self.path = path
    // Whoever looks into it with another program may hold it for a moment.
    unsafe _ = sqlite3_busy_timeout(connection, 2000)
  }

  deinit { unsafe _ = sqlite3_close_v2(connection) }

  /// SQLite would take the mode of a new file from the umask; its log gets the mode of the file.
  private static func makeFile(_ path: String) throws(JournalError) {
    let file = unsafe kcs_open(path, O_RDWR | O_CREAT, 0o600)
    guard file >= 0 else { throw JournalError(errno: -file, at: path) }
    _ = kcs_close(file)
  }

  private static func examine(_ path: String) throws(JournalError) {
    do throws(JournalError) {
      // Without the right to write: even the close of a connection that has it would write a log back.
      try examine(path, flags: SQLITE_OPEN_READONLY)
    } catch  where error.errno == EROFS {
      // A transaction that was cut off before there was a log, as in the first start: nothing can be read until it is taken back.
      try examine(path, flags: SQLITE_OPEN_READWRITE)
    }
  }

  private static func examine(_ path: String, flags: Int32) throws(JournalError) {
    let database = try Database(path, flags: flags)
    let found = try database.number("PRAGMA user_version") ?? 0
    guard found <= Schema.version else {
      throw JournalError(
        errno: EINVAL,
        "\(path) was written by a newer kcopyfs (schema \(found), this one knows \(Schema.version)); it is left as it is")
    }
    var complaint = "ok"
    try Statement("PRAGMA quick_check(1)", of: database).rows { complaint = $0.text(0) }
    guard complaint == "ok" else { throw database.damaged(complaint) }
  }

  private func migrate() throws(JournalError) {
    let found = Int(try number("PRAGMA user_version") ?? 0)
    guard found < Schema.version else { return }
    try transaction { () throws(JournalError) in
      for statement in Schema.migrations[found...].joined() { try run(statement) }
      try run("PRAGMA user_version=\(Schema.version)")
    }
  }

  /// Whether the names still lead to the files that were opened: what is written to one that was removed is lost with it.
  var isInPlace: Bool { files.count == 2 && files == Self.files(of: path) }

  private static func files(of path: String) -> [UInt64] {
    [path, path + "-wal"].compactMap { facts($0).map { UInt64($0.st_ino) } }
  }

  private static func size(_ path: String) -> Int { facts(path).map { Int($0.st_size) } ?? 0 }

  private static func facts(_ path: String) -> stat? {
    var facts = stat()
    return unsafe stat(path, &facts) == 0 ? facts : nil
  }

  /// Has all that the log holds written to the database, and durable there, and the log cut to nothing.
  ///
  /// After a failed flush the kernel takes for written what may not be on the disk: a commit behind that in the log would be
  /// lost with it, however well its own flush went.
  func emptyLog() throws(JournalError) {
    guard try number("PRAGMA wal_checkpoint(TRUNCATE)") == 0 else {
      throw JournalError(errno: EBUSY, "\(path): another program does not end reading it")
    }
  }

  // MARK: Statements

  /// Runs the body in a transaction, which is durable when this returns.
  func transaction(_ body: () throws(JournalError) -> Void) throws(JournalError) {
    try run("BEGIN IMMEDIATE")
    do throws(JournalError) {
      try body()
      try run("COMMIT")
    } catch {
      // Some errors have rolled it back already; then there is none to end, and that is what is said of it.
      try? run("ROLLBACK")
      throw error
    }
  }

  func run(_ statement: String) throws(JournalError) {
    forgetErrno()
    let result = unsafe sqlite3_exec(connection, statement, nil, nil, nil)
    guard result == SQLITE_OK else { throw error(result) }
  }

  /// The first column of the first row.
  func number(_ query: String) throws(JournalError) -> Int64? {
    var found: Int64?
    try Statement(query, of: self).rows { row in found = found ?? Int64(bitPattern: row.number(0)) }
    return found
  }

  func compile(_ sql: String) throws(JournalError) -> OpaquePointer {
    var statement: OpaquePointer?
    let result = unsafe sqlite3_prepare_v3(connection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
    guard result == SQLITE_OK, let statement = unsafe statement else { throw error(result) }
    return unsafe statement
  }

  // MARK: Errors

  var removed: JournalError { JournalError(errno: ENOENT, "\(path) was removed or replaced while it was in use") }

  /// Before a call whose error is asked for: what an earlier one left is not to be taken for its.
  func forgetErrno() { errno = 0 }

  func damaged(_ complaint: String) -> JournalError { Self.damaged(path, complaint) }

  private static func damaged(_ path: String, _ complaint: String) -> JournalError {
    JournalError(errno: EIO, "\(path) is damaged (\(complaint)); it is left as it is")
  }

  func error(_ result: Int32) -> JournalError { unsafe Self.error(result, connection, path) }

  private static func error(_ result: Int32, _ connection: OpaquePointer?, _ path: String) -> JournalError {
    // SQLite records it for all that can fail but the end of a transaction.
    let last = Glibc.errno
    let text = "\(path): \(unsafe String(cString: sqlite3_errmsg(connection)))"
    // The errno nearest to it; a full disk has rolled everything back, and nothing is in doubt.
    switch result & 0xff {
    case SQLITE_FULL: return JournalError(errno: ENOSPC, text, isInDoubt: false)
    case SQLITE_READONLY: return JournalError(errno: EROFS, text)
    case SQLITE_NOMEM: return JournalError(errno: ENOMEM, text)
    case SQLITE_BUSY: return JournalError(errno: EBUSY, text)
    case SQLITE_CORRUPT, SQLITE_NOTADB: return damaged(path, unsafe String(cString: sqlite3_errmsg(connection)))
    case SQLITE_PERM, SQLITE_AUTH: return JournalError(errno: EACCES, text)
    case SQLITE_IOERR, SQLITE_CANTOPEN:
      let recorded = unsafe sqlite3_system_errno(connection)
      let cause = recorded == 0 ? last : recorded
      return cause == 0 ? JournalError(errno: EIO, text) : JournalError(errno: cause, "\(text): \(unsafe String(cString: strerror(cause)))")
    default: return JournalError(errno: EIO, text)
    }
  }
}
