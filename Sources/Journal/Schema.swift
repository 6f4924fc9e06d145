/// What each version of the database adds to the one before; a file is brought up to date when it is opened.
enum Schema {
  /// The version that this program writes; `user_version` says which one a file has.
  static let version = migrations.count

  /// Statements of each step, the first from an empty file.
  static let migrations: [[String]] = [
    // 1: numbers of jobs, so that none is given twice.
    [
      "CREATE TABLE numbers (next INTEGER NOT NULL) STRICT",
      "INSERT INTO numbers VALUES (1)",
    ],
    // 2: jobs, what has become of their destinations, and clients.  Times are nanoseconds since the epoch, 0 where
    // something has not happened; caller, source, device, ctl and progress are words of `key=value`.
    [
      """
      CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        uid INTEGER NOT NULL,
        gid INTEGER NOT NULL,
        mode INTEGER NOT NULL,
        caller TEXT NOT NULL,
        spec TEXT NOT NULL,
        source TEXT NOT NULL,
        bytes_total INTEGER,
        attempt INTEGER NOT NULL,
        ctl TEXT NOT NULL,
        progress TEXT NOT NULL,
        queued_at INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        finished_at INTEGER NOT NULL
      ) STRICT
      """,
      """
      CREATE TABLE destinations (
        job INTEGER NOT NULL,
        number INTEGER NOT NULL,
        device TEXT NOT NULL,
        progress TEXT NOT NULL,
        map BLOB NOT NULL,
        PRIMARY KEY (job, number)
      ) STRICT, WITHOUT ROWID
      """,
      """
      CREATE TABLE clients (
        name TEXT PRIMARY KEY,
        uid INTEGER NOT NULL,
        gid INTEGER NOT NULL,
        mode INTEGER NOT NULL,
        made_at INTEGER NOT NULL,
        pages INTEGER NOT NULL,
        throttle INTEGER NOT NULL,
        rate INTEGER,
        subjob INTEGER NOT NULL,
        slots INTEGER NOT NULL,
        max_jobs INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID
      """,
    ],
    // 3: the numbers of the jobs that each comes after, and how those of them ended that were removed since.
    [
      "ALTER TABLE jobs ADD COLUMN predecessors TEXT NOT NULL DEFAULT ''",
      "CREATE TABLE ends (job INTEGER PRIMARY KEY, state TEXT NOT NULL) STRICT",
    ],
  ]
}
