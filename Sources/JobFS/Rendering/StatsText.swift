internal import CopyJobs

/// The counters of the daemon, for people and for monitoring: `stats` and `metrics` say the same.
enum StatsText {
  static func stats(_ jobs: JobService) -> [UInt8] {
    let figures = Figures(jobs)
    var text: [UInt8] = []
    for state in JobState.allCases { Words.appendLine("jobs_\(state.rawValue)", figures.jobs[state], to: &text) }
    Words.appendLine("jobs", figures.count, to: &text)
    Words.appendLine("accepted", figures.jobs.accepted, to: &text)
    Words.appendLine("refused", figures.refused, to: &text)
    for state in JobState.allCases where state.isFinal {
      Words.appendLine("attempts_\(state.rawValue)", figures.jobs.ended(in: state), to: &text)
    }
    Words.appendLine("bytes_read", figures.bytesRead, to: &text)
    Words.appendLine("bytes_written", figures.bytesWritten, to: &text)
    Words.appendLine("clients", figures.clients.count, to: &text)
    Words.appendLine("pages", figures.clients.reduce(0) { $0 + $1.shape.pages }, to: &text)
    Words.appendLine("pages_free", figures.clients.reduce(0) { $0 + $1.pagesFree }, to: &text)
    Words.appendLine("journal_failing", figures.journalFails ? 1 : 0, to: &text)
    Words.appendLine("journal_failures", figures.journalFailures, to: &text)
    return text
  }

  /// The text format of OpenMetrics 1.0.
  static func metrics(_ jobs: JobService) -> [UInt8] {
    let figures = Figures(jobs)
    var text = Exposition()
    text.family("kcopyfs_jobs", "gauge", "Jobs that there are, by state.")
    for state in JobState.allCases { text.sample("kcopyfs_jobs", "state", state.rawValue, figures.jobs[state]) }
    text.family("kcopyfs_records_accepted", "counter", "Records that became jobs.")
    text.sample("kcopyfs_records_accepted_total", figures.jobs.accepted)
    text.family("kcopyfs_refusals", "counter", "Records, names, commands and values that were refused.")
    text.sample("kcopyfs_refusals_total", figures.refused)
    text.family("kcopyfs_attempts", "counter", "Attempts of jobs that have ended, by how.")
    for state in JobState.allCases where state.isFinal {
      text.sample("kcopyfs_attempts_total", "state", state.rawValue, figures.jobs.ended(in: state))
    }
    text.family("kcopyfs_read_bytes", "counter", "Bytes read from sources.", unit: "bytes")
    text.sample("kcopyfs_read_bytes_total", figures.bytesRead)
    text.family("kcopyfs_written_bytes", "counter", "Bytes written to destinations.", unit: "bytes")
    text.sample("kcopyfs_written_bytes_total", figures.bytesWritten)
    text.family("kcopyfs_client_pages", "gauge", "Pages of 4096 bytes that are set aside, by client.")
    for client in figures.clients { text.sample("kcopyfs_client_pages", "client", client.name, client.shape.pages) }
    text.family("kcopyfs_client_pages_free", "gauge", "Pages of 4096 bytes that no copy uses, by client.")
    for client in figures.clients { text.sample("kcopyfs_client_pages_free", "client", client.name, client.pagesFree) }
    text.family("kcopyfs_client_jobs", "gauge", "Unfinished jobs, by client.")
    for client in figures.clients { text.sample("kcopyfs_client_jobs", "client", client.name, client.jobs) }
    text.family("kcopyfs_journal_failing", "gauge", "Whether the journal can't be written: then no job is accepted, and none ends.")
    text.sample("kcopyfs_journal_failing", figures.journalFails ? 1 : 0)
    text.family("kcopyfs_journal_failures", "counter", "Commits of the journal that failed.")
    text.sample("kcopyfs_journal_failures_total", figures.journalFailures)
    return text.ended
  }

  private struct Figures {
    let jobs: JobChanges.Counts
    let count: Int
    let refused: UInt64
    let bytesRead: UInt64
    let bytesWritten: UInt64
    let clients: [CopyClient]
    let journalFails: Bool
    let journalFailures: UInt64

    init(_ service: JobService) {
      let jobs = service.changes.counts
      self.jobs = jobs
      count = JobState.allCases.reduce(0) { $0 + jobs[$1] }
      refused = service.refusals.count
      (bytesRead, bytesWritten) = service.clients.bytes
      clients = service.clients.all
      journalFails = service.trouble != nil
      journalFailures = service.journalFailures
    }
  }

  /// Lines of OpenMetrics; no name or label here needs an escape.
  private struct Exposition {
    private var text = ""

    mutating func family(_ name: String, _ type: String, _ help: String, unit: String? = nil) {
      text += "# TYPE \(name) \(type)\n"
      if let unit { text += "# UNIT \(name) \(unit)\n" }
      text += "# HELP \(name) \(help)\n"
    }

    mutating func sample(_ name: String, _ value: some BinaryInteger) { text += "\(name) \(value)\n" }

    mutating func sample(_ name: String, _ label: String, _ labelled: String, _ value: some BinaryInteger) {
      text += "\(name){\(label)=\"\(labelled)\"} \(value)\n"
    }

    var ended: [UInt8] { Array((text + "# EOF\n").utf8) }
  }
}
