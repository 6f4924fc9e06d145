internal import CSQLite
internal import CSystemShims
internal import Glibc

/// One SQLite database of one writer, durable at each commit.
@safe final class Database: @unchecked Sendable {
  private let connection: OpaquePointer
  private let path: String
  /// The file that was opened, whatever stands under the path later.
  private var file: UInt64?

  /// Opens the database, which is made if it isn't there, for its owner alone.
  ///
  /// - Throws: `JournalError`; for a newer version's, and for one that is damaged, before anything of it is written.
  convenience init(_ path: String) throws(JournalError) {
    try Self.makeFile(path)
    try Self.examine(path)
    try self.init(path, flags: SQLITE_OPEN_READWRITE)
    do throws(JournalError) {
      // WAL with synchronous=FULL: a commit is one append and one fsync, and is there after a power cut.
      try run("PRAGMA journal_mode=WAL")
      try run("PRAGMA synchronous=FULL")
      try migrate()
    } catch {
      close()
      throw error
    }
    file = Self.number(ofFile: path)
  }

  private init(_ path: String, flags: Int32) throws(JournalError) {
    var connection: OpaquePointer?
    let result = unsafe sqlite3_open_v2(path, &connection, flags | SQLITE_OPEN_FULLMUTEX, nil)
    guard result == SQLITE_OK, let connection = unsafe connection else {
      unsafe sqlite3_close_v2(connection)
      throw JournalError(errno: Self.errno(of: result), "\(path): \(unsafe String(cString: sqlite3_errstr(result)))")
    }
    unsafe self.connection = connection
    self.path = path
    // Whoever looks into it with another program may hold it for a moment.
    unsafe _ = sqlite3_busy_timeout(connection, 2000)
  }

  /// SQLite would take the mode of a new file from the umask; its log gets the mode of the file.
  private static func makeFile(_ path: String) throws(JournalError) {
    let file = unsafe kcs_open(path, O_RDWR | O_CREAT, 0o600)
    guard file >= 0 else { throw JournalError(errno: -file, "\(path): \(unsafe String(cString: strerror(-file)))") }
    _ = kcs_close(file)
  }

  /// Without the right to write: even the close of a connection that has it would write a log back.
  private static func examine(_ path: String) throws(JournalError) {
    let database = try Database(path, flags: SQLITE_OPEN_READONLY)
    defer { database.close() }
    let found: Int64
    do throws(JournalError) {
      found = try database.number("PRAGMA user_version") ?? 0
    } catch {
      // A crash before it had a log, so when it was made: whoever may write takes back what there is.
      if database.awaitsRollback { return }
      throw error
    }
    guard found <= Schema.version else {
      throw JournalError(
        errno: EINVAL,
        "\(path) was written by a newer kcopyfs (schema \(found), this one knows \(Schema.version)); it is left as it is")
    }
    var complaint = "ok"
    try Statement("PRAGMA quick_check(1)", of: database).rows { complaint = $0.text(0) }
    guard complaint == "ok" else { throw JournalError(errno: EIO, "\(path) is damaged (\(complaint)); it is left as it is") }
  }

  /// Whether the last error was SQLITE_READONLY_ROLLBACK, a macro that the importer can't see.
  private var awaitsRollback: Bool { unsafe sqlite3_extended_errcode(connection) == SQLITE_READONLY | 3 << 8 }

  func close() { unsafe _ = sqlite3_close_v2(connection) }

  private func migrate() throws(JournalError) {
    let found = Int(try number("PRAGMA user_version") ?? 0)
    guard found < Schema.version else { return }
    try transaction { () throws(JournalError) in
      for statement in Schema.migrations[found...].joined() { try run(statement) }
      try run("PRAGMA user_version=\(Schema.version)")
    }
  }

  /// Whether the path still leads to the file that was opened: what is written to one that was removed is lost with it.
  var isInPlace: Bool { file != nil && file == Self.number(ofFile: path) }

  private static func number(ofFile path: String) -> UInt64? {
    var facts = stat()
    return unsafe stat(path, &facts) == 0 ? UInt64(facts.st_ino) : nil
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

  func error(_ result: Int32) -> JournalError {
    JournalError(errno: Self.errno(of: result), "\(path): \(unsafe String(cString: sqlite3_errmsg(connection)))")
  }

  /// The errno nearest to a result of SQLite's.
  private static func errno(of result: Int32) -> Int32 {
    switch result & 0xff {
    case SQLITE_FULL: ENOSPC
    case SQLITE_READONLY: EROFS
    case SQLITE_NOMEM: ENOMEM
    case SQLITE_PERM, SQLITE_AUTH: EACCES
    default: EIO
    }
  }
}
