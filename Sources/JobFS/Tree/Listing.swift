internal import CopyJobs

/// What a directory held when it was opened.
///
/// Of `jobs/` only the jobs are kept, and their names are made when they are read: there may be a million.
struct Listing: Sendable {
  private let jobs: [Job]
  private let others: [(name: String, node: Node)]

  init(_ entries: [(name: String, node: Node)]) { self.init(jobs: [], entries) }

  init(jobs: [Job], _ others: [(name: String, node: Node)]) {
    self.jobs = jobs
    self.others = others
  }

  /// The memory that it takes, roughly.
  var size: Int { jobs.count * MemoryLayout<Job>.stride + others.count * 64 }

  var count: Int { jobs.count + others.count }

  subscript(index: Int) -> (name: String, node: Node) {
    guard index < jobs.count else { return others[index - jobs.count] }
    return (jobs[index].facts.name, .job(jobs[index].facts.id, .directory))
  }
}
