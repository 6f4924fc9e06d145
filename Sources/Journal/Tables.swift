/// The tables of an open database, and the statements that change them.
final class Tables {
  private let database: Database
  private let putJob, putDestination, clearDestinations, setStanding, setDestination, setControl, removeJob: Statement
  private let putEnd, removeEnd, putClient, removeClient, setNext: Statement

  init(_ database: Database) throws(JournalError) {
    self.database = database
    func statement(_ sql: String) throws(JournalError) -> Statement { try Statement(sql, of: database) }
    putJob = try statement("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    putDestination = try statement("INSERT OR REPLACE INTO destinations VALUES (?, ?, ?, ?, ?)")
    clearDestinations = try statement("DELETE FROM destinations WHERE job = ?")
    setStanding = try statement("UPDATE jobs SET state = ?, attempt = ?, progress = ?, started_at = ?, finished_at = ? WHERE id = ?")
    setDestination = try statement("UPDATE destinations SET progress = ?, map = ? WHERE job = ? AND number = ?")
    setControl = try statement("UPDATE jobs SET ctl = ?, mode = ? WHERE id = ?")
    removeJob = try statement("DELETE FROM jobs WHERE id = ?")
    putEnd = try statement("INSERT OR REPLACE INTO ends VALUES (?, ?)")
    removeEnd = try statement("DELETE FROM ends WHERE job = ?")
    putClient = try statement("INSERT OR REPLACE INTO clients VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    removeClient = try statement("DELETE FROM clients WHERE name = ?")
    setNext = try statement("UPDATE numbers SET next = ?")
  }

  // MARK: Writing

  /// Makes the changes durable, all or none.
  ///
  /// - Parameters:
  ///   - contents: what comes before them, in the place of whatever the database holds; `nil` leaves that.
  ///   - next: the first number that jobs have not had; `nil` leaves it.
  func commit(_ changes: [Change], next: UInt64?, anew contents: Contents? = nil) throws(JournalError) {
    guard database.isInPlace else { throw database.removed }
    if contents != nil { try database.emptyLog() }
    try database.transaction { () throws(JournalError) in
      if let contents { try put(all: contents) }
      if let next { try setNext.run(.number(next)) }
      for change in changes { try apply(change) }
    }
    // It may have gone meanwhile.
    guard database.isInPlace else { throw database.removed }
  }

  private func put(all contents: Contents) throws(JournalError) {
    for table in ["jobs", "destinations", "clients", "ends"] { try database.run("DELETE FROM \(table)") }
    for job in contents.jobs { try put(job) }
    for client in contents.clients { try apply(.putClient(client)) }
    for end in contents.ends { try apply(.putEnd(end)) }
  }

  private func apply(_ change: Change) throws(JournalError) {
    switch change {
    case .accept(let jobs): for job in jobs { try put(job) }
    case .replace(let job):
      try clearDestinations.run(.number(job.id))
      try put(job)
    case .standing(let id, let standing): try set(standing, of: id)
    case .checkpoint(let id, let standing): if let standing = standing() { try set(standing, of: id) }
    case .control(let id, let ctl, let mode): try setControl.run(.text(ctl), .number(UInt64(mode)), .number(id))
    case .remove(let id):
      try removeJob.run(.number(id))
      try clearDestinations.run(.number(id))
    case .putEnd(let end): try putEnd.run(.number(end.id), .text(end.state))
    case .removeEnd(let id): try removeEnd.run(.number(id))
    case .putClient(let client):
      try putClient.run(
        .text(client.name), .number(UInt64(client.uid)), .number(UInt64(client.gid)), .number(UInt64(client.mode)),
        .number(client.madeAt), .number(client.pages), .number(client.throttle), Value(client.rate), .number(client.subjob),
        .number(client.slots), .number(client.maxJobs))
    case .removeClient(let name): try removeClient.run(.text(name))
    }
  }

  private func put(_ job: JobRow) throws(JournalError) {
    let standing = job.standing
    try putJob.run(
      .number(job.id), .text(job.name), .text(standing.state), .number(UInt64(job.uid)), .number(UInt64(job.gid)),
      .number(UInt64(job.mode)), .text(job.caller), .text(job.spec), .text(job.source), Value(job.bytesTotal),
      .number(standing.attempt), .text(job.ctl), .text(standing.progress), .number(job.queuedAt), .number(standing.startedAt),
      .number(standing.finishedAt), .text(job.predecessors))
    for (index, device) in job.devices.enumerated() {
      let destination = standing.destinations[index]
      try putDestination.run(
        .number(job.id), .number(UInt64(index)), .text(device), .text(destination.progress), .bytes(destination.map))
    }
  }

  private func set(_ standing: Standing, of id: UInt64) throws(JournalError) {
    try setStanding.run(
      .text(standing.state), .number(standing.attempt), .text(standing.progress), .number(standing.startedAt),
      .number(standing.finishedAt), .number(id))
    for (index, destination) in standing.destinations.enumerated() {
      try setDestination.run(.text(destination.progress), .bytes(destination.map), .number(id), .number(UInt64(index)))
    }
  }

  // MARK: Reading

  /// The first number that no job has had.
  func nextNumber() throws(JournalError) -> UInt64 {
    guard let next = try database.number("SELECT max(next, (SELECT coalesce(max(id), 0) + 1 FROM jobs)) FROM numbers") else {
      throw database.damaged("it has lost the numbers of jobs")
    }
    return UInt64(bitPattern: next)
  }

  /// All that is kept.
  func contents() throws(JournalError) -> Contents {
    var contents = Contents(jobs: [], clients: [])
    try Statement(
      """
      SELECT id, name, state, uid, gid, mode, caller, spec, source, bytes_total, attempt, ctl, progress, queued_at, started_at, finished_at,
        predecessors
      FROM jobs ORDER BY id
      """, of: database
    ).rows { row in contents.jobs.append(Self.job(row)) }
    var index = 0
    try Statement("SELECT job, device, progress, map FROM destinations ORDER BY job, number", of: database).rows { row in
      while index < contents.jobs.count, contents.jobs[index].id < row.number(0) { index += 1 }
      guard index < contents.jobs.count, contents.jobs[index].id == row.number(0) else { return }
      contents.jobs[index].devices.append(row.text(1))
      contents.jobs[index].standing.destinations.append(Standing.Destination(progress: row.text(2), map: row.bytes(3)))
    }
    try Statement(
      "SELECT name, uid, gid, mode, made_at, pages, throttle, rate, subjob, slots, max_jobs FROM clients ORDER BY made_at, name",
      of: database
    ).rows { row in contents.clients.append(Self.client(row)) }
    try Statement("SELECT job, state FROM ends ORDER BY job", of: database).rows { row in
      contents.ends.append(EndRow(id: row.number(0), state: row.text(1)))
    }
    return contents
  }

  private static func job(_ row: Row) -> JobRow {
    JobRow(
      id: row.number(0), name: row.text(1), uid: UInt32(truncatingIfNeeded: row.number(3)), gid: UInt32(truncatingIfNeeded: row.number(4)),
      mode: UInt32(truncatingIfNeeded: row.number(5)), caller: row.text(6), spec: row.text(7), source: row.text(8),
      bytesTotal: row.optional(9), ctl: row.text(11), queuedAt: row.number(13),
      standing: Standing(
        state: row.text(2), attempt: row.number(10), progress: row.text(12), startedAt: row.number(14), finishedAt: row.number(15),
        destinations: []),
      devices: [], predecessors: row.text(16))
  }

  private static func client(_ row: Row) -> ClientRow {
    ClientRow(
      name: row.text(0), uid: UInt32(truncatingIfNeeded: row.number(1)), gid: UInt32(truncatingIfNeeded: row.number(2)),
      mode: UInt32(truncatingIfNeeded: row.number(3)), madeAt: row.number(4), pages: row.number(5), throttle: row.number(6),
      rate: row.optional(7), subjob: row.number(8), slots: row.number(9), maxJobs: row.number(10))
  }
}
