/// Runs SQL on a database with Python's sqlite3, a program that knows nothing of ours.
///
/// - Returns: what its queries gave, a row per line.
@discardableResult
public func sql(_ statements: String..., on database: String) throws -> String {
  let script = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    for statement in sys.argv[2:]:
        for row in connection.execute(statement):
            print(*row)
    """
  return try pythonCommand(script, [database] + statements).run().orThrow().line
}
