internal import CSQLite
internal import CSystemShims
internal import Glibc

/// One SQLite database of one writer, durable at each commit.
@safe final class Database: @unchecked Sendable {
  private let connection: OpaquePointer
  private let path: String

  /// The schema as this program writes it; `user_version` says which one a file has.
  static let version = 1

  /// Opens the database, which is made if it isn't there, for its owner alone.
  ///
  /// - Throws: `JournalError`; for a newer version's before anything of it is written.
  convenience init(_ path: String) throws(JournalError) {
    try Self.makeFile(path)
    try Self.refuseNewer(path)
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
  }

  private init(_ path: String, flags: Int32) throws(JournalError) {
    var connection: OpaquePointer?
    let result = unsafe sqlite3_open_v2(path, &connection, flags | SQLITE_OPEN_FULLMUTEX, nil)
    guard result == SQLITE_OK, let connection = unsafe connection else {
      unsafe sqlite3_close_v2(connection)
      throw JournalError("\(path): \(unsafe String(cString: sqlite3_errstr(result)))")
    }
    unsafe self.connection = connection
    self.path = path
  }

  /// SQLite would take the mode of a new file from the umask; its log gets the mode of the file.
  private static func makeFile(_ path: String) throws(JournalError) {
    let file = unsafe kcs_open(path, O_RDWR | O_CREAT, 0o600)
    guard file >= 0 else { throw JournalError("\(path): \(unsafe String(cString: strerror(-file)))") }
    _ = kcs_close(file)
  }

  /// Without the right to write: even the close of a connection that has it would write a log back.
  private static func refuseNewer(_ path: String) throws(JournalError) {
    let database = try Database(path, flags: SQLITE_OPEN_READONLY)
    defer { database.close() }
    let found = try database.number("PRAGMA user_version") ?? 0
    guard found <= version else {
      throw JournalError("\(path) was written by a newer kcopyfs (schema \(found), this one knows \(version)); it is left as it is")
    }
  }

  func close() { unsafe _ = sqlite3_close_v2(connection) }

  private func migrate() throws(JournalError) {
    guard try number("PRAGMA user_version") == 0 else { return }
    try run("BEGIN IMMEDIATE")
    try run("CREATE TABLE numbers (next INTEGER NOT NULL) STRICT")
    try run("INSERT INTO numbers VALUES (1)")
    try run("PRAGMA user_version=\(Self.version)")
    try run("COMMIT")
  }

  func run(_ statement: String) throws(JournalError) {
    let result = unsafe sqlite3_exec(connection, statement, nil, nil, nil)
    guard result == SQLITE_OK else { throw error() }
  }

  /// The first column of the first row.
  func number(_ query: String) throws(JournalError) -> Int64? {
    var statement: OpaquePointer?
    guard unsafe sqlite3_prepare_v2(connection, query, -1, &statement, nil) == SQLITE_OK else { throw error() }
    defer { unsafe _ = sqlite3_finalize(statement) }
    switch unsafe sqlite3_step(statement) {
    case SQLITE_ROW: return unsafe sqlite3_column_int64(statement, 0)
    case SQLITE_DONE: return nil
    default: throw error()
    }
  }

  private func error() -> JournalError {
    JournalError("\(path): \(unsafe String(cString: sqlite3_errmsg(connection)))")
  }
}
