internal import CSQLite

/// A value of a column.
enum Value {
  case number(UInt64)
  case text(String)
  case bytes([UInt8])
  case null

  init(_ number: UInt64?) { self = number.map(Value.number) ?? .null }
}

/// An SQL statement that is compiled once and run many times, by one thread at a time.
@safe final class Statement {
  private let statement: OpaquePointer
  private let database: Database

  /// SQLite makes a copy of what it is given.
  private static let transient = unsafe unsafeBitCast(-1, to: sqlite3_destructor_type.self)

  init(_ sql: String, of database: Database) throws(JournalError) {
    unsafe statement = try database.compile(sql)
    self.database = database
  }

  deinit { unsafe _ = sqlite3_finalize(statement) }

  /// Runs it with these values in the places of its question marks.
  func run(_ values: Value...) throws(JournalError) { try run(values) { _ in } }

  /// Runs a query, and hands over each row.
  func rows(_ values: Value..., row: (Row) -> Void) throws(JournalError) { try run(values, row) }

  private func run(_ values: [Value], _ row: (Row) -> Void) throws(JournalError) {
    defer {
      // Its result says once more what step has said.
      unsafe _ = sqlite3_reset(statement)
    }
    for (index, value) in values.enumerated() { try bind(value, Int32(index + 1)) }
    database.forgetErrno()
    while true {
      switch unsafe sqlite3_step(statement) {
      case SQLITE_ROW: unsafe row(Row(statement: statement))
      case SQLITE_DONE: return
      case let result: throw database.error(result)
      }
    }
  }

  private func bind(_ value: Value, _ place: Int32) throws(JournalError) {
    let result =
      switch value {
      case .number(let number): unsafe sqlite3_bind_int64(statement, place, Int64(bitPattern: number))
      case .text(let text): unsafe sqlite3_bind_text64(statement, place, text, UInt64(text.utf8.count), Self.transient, UInt8(SQLITE_UTF8))
      case .bytes(let bytes): unsafe sqlite3_bind_blob64(statement, place, bytes, UInt64(bytes.count), Self.transient)
      case .null: unsafe sqlite3_bind_null(statement, place)
      }
    guard result == SQLITE_OK else { throw database.error(result) }
  }
}

/// One row of a query's result, while it is being looked at.
@safe struct Row {
  fileprivate let statement: OpaquePointer

  fileprivate init(statement: OpaquePointer) { unsafe self.statement = statement }

  func number(_ column: Int32) -> UInt64 { UInt64(bitPattern: unsafe sqlite3_column_int64(statement, column)) }

  func optional(_ column: Int32) -> UInt64? { unsafe sqlite3_column_type(statement, column) == SQLITE_NULL ? nil : number(column) }

  func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }

  func bytes(_ column: Int32) -> [UInt8] {
    let start = unsafe sqlite3_column_blob(statement, column)
    let count = Int(unsafe sqlite3_column_bytes(statement, column))
    return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
  }
}
