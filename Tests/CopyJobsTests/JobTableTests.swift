import Testing

@testable import CopyJobs

@Suite("The table of jobs")
struct JobTableTests {
  static func job(_ id: UInt64, _ name: String, uid: UInt32 = 0, _ changes: JobChanges = JobChanges()) -> Job {
    let facts = Job.Facts(
      id: id, name: name, uid: uid, gid: 0, operation: "copy", client: "default", context: "", queuedAt: 0)
    return Job(facts, Job.Plan(spec: "", count: 1), permissions: 0o755, changes)
  }

  @Test("A job is found by its name and its number until it is removed, and its name is nobody else's")
  func jobs() {
    let table = JobTable()
    let job = Self.job(7, "a")
    #expect(table.insert(job) == .done)
    #expect(table["a"] === job && table[7] === job && table.count == 1)
    #expect(table["7"] == nil && table[8] == nil)
    #expect(table.insert(Self.job(8, "a")) == .nameIsTaken && table["a"] === job && table[8] == nil && table.count == 1)
    table.remove(job)
    #expect(table["a"] == nil && table[7] == nil && table.isEmpty && table.insert(Self.job(9, "a")) == .done)
  }

  @Test("There are never more jobs than there may be")
  func full() {
    let table = JobTable()
    #expect(table.insert(Self.job(1, "a"), most: 2) == .done && table.insert(Self.job(2, "b"), most: 2) == .done)
    #expect(table.insert(Self.job(3, "c"), most: 2) == .full && table["c"] == nil && table.count == 2)
    // A name that is taken is the nearer reason.
    let twin = Self.job(4, "a")
    #expect(table.insert(twin, most: 2) == .nameIsTaken)
  }

  @Test("There are never more jobs of one uid than there may be; others have as many, and a removal makes room")
  func fullForUid() {
    let table = JobTable()
    let first = Self.job(1, "a", uid: 7)
    #expect(table.insert(first, mostOfUid: 2) == .done && table.insert(Self.job(2, "b", uid: 7), mostOfUid: 2) == .done)
    #expect(table.insert(Self.job(3, "c", uid: 7), mostOfUid: 2) == .fullForUid && table["c"] == nil && table.count(of: 7) == 2)
    #expect(table.insert(Self.job(4, "d", uid: 8), mostOfUid: 2) == .done && table.count(of: 8) == 1)
    table.remove(first)
    #expect(table.count(of: 7) == 1 && table.insert(Self.job(5, "c", uid: 7), mostOfUid: 2) == .done)
    // Who was removed once gives back one place only.
    table.remove(first)
    #expect(table.count(of: 7) == 2)
  }

  @Test("All jobs come in the order of their numbers")
  func order() {
    let table = JobTable()
    for id in [5, 1, 4, 2, 3] as [UInt64] { #expect(table.insert(Self.job(id, "job\(id)")) == .done) }
    #expect(table.all.map(\.facts.id) == [1, 2, 3, 4, 5])
  }
}

extension JobTable {
  /// Takes a name and lists the job at once, as the acceptance of a job that isn't kept does.
  func insert(_ job: Job, most: Int = .max, mostOfUid: Int = .max) -> Reservation {
    let reservation = reserve(job, most: most, mostOfUid: mostOfUid)
    if reservation == .done { insert(job) }
    return reservation
  }

  fileprivate var isEmpty: Bool { count == 0 && all.isEmpty }
}
