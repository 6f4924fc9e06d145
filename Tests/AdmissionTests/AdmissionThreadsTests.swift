import FaultKit
import Glibc
import Locking
import Synchronization
import Testing

@testable import Admission

@Suite("Threads for opens that may hang")
struct AdmissionThreadsTests {
  /// What became of pieces of work.
  final class Counts: Sendable {
    let begun = Atomic(0)
    let ended = Atomic(0)
    let late = Atomic(0)

    var state: [Int] {
      [
        begun.load(ordering: .sequentiallyConsistent), ended.load(ordering: .sequentiallyConsistent),
        late.load(ordering: .sequentiallyConsistent),
      ]
    }
  }

  /// Where bodies are stuck until the test lets them go.
  final class Gate: Sendable {
    private let semaphore = Semaphore()

    func wait() {
      semaphore.wait()
      semaphore.signal()
    }
    func open() { semaphore.signal() }
  }

  private static func give(_ count: Int, to threads: AdmissionThreads, for uid: UInt32 = 0, _ counts: Counts, stuckAt gate: Gate? = nil) {
    for _ in 0..<count {
      threads.perform(for: uid) {
        counts.begun.add(1, ordering: .sequentiallyConsistent)
        gate?.wait()
        counts.ended.add(1, ordering: .sequentiallyConsistent)
      } late: {
        counts.late.add(1, ordering: .sequentiallyConsistent)
      }
    }
  }

  @Test("Work that ends in time is done once and never late")
  func work() throws {
    let threads = try AdmissionThreads(seconds: 1)
    let counts = Counts()
    Self.give(1000, to: threads, counts)
    try eventually("all work is done") { counts.state[1] == 1000 }
    pause(.milliseconds(1500))
    #expect(counts.state == [1000, 1000, 0])
  }

  @Test("A body that is stuck is answered late once, at the deadline, and may end whenever it can")
  func stuck() throws {
    let threads = try AdmissionThreads(seconds: 1)
    let (counts, gate) = (Counts(), Gate())
    let start = ContinuousClock.now
    Self.give(1, to: threads, counts, stuckAt: gate)
    try eventually("it is late") { counts.state == [1, 0, 1] }
    let taken = ContinuousClock.now - start
    #expect(taken >= .seconds(1) && taken < .seconds(5))
    gate.open()
    try eventually("the body ends") { counts.state[1] == 1 }
    pause(.milliseconds(1200))
    #expect(counts.state == [1, 1, 1])
  }

  @Test(
    "What one uid has stuck is limited: more of its work is late and not begun any more; later it is again, and nobody else waits",
    arguments: [(0, 64, 1000), (1000, 16, 0), (1000, 16, 1001)] as [(UInt32, Int, UInt32)])
  func exhausted(uid: UInt32, most: Int, other: UInt32) throws {
    let threads = try AdmissionThreads(seconds: 1)
    let (stuck, gate) = (Counts(), Gate())
    Self.give(most, to: threads, for: uid, stuck, stuckAt: gate)
    try eventually("all threads are stuck: \(stuck.state)") { stuck.state[0] == most }
    let (waiting, others) = (Counts(), Counts())
    Self.give(10, to: threads, for: uid, waiting)
    Self.give(100, to: threads, for: other, others)
    try eventually("those that wait are late: \(waiting.state)") { waiting.state == [0, 0, 10] }
    #expect(others.state == [100, 100, 0])
    gate.open()
    try eventually("the stuck ones end") { stuck.state[1] == most }
    let later = Counts()
    try eventually("new work is done") {
      Self.give(1, to: threads, for: uid, later)
      return later.state[1] > 0
    }
    #expect(waiting.state == [0, 0, 10])
  }

  @Test("A thread that its user has slowed down works for nobody else, and another takes its place")
  func slowed() throws {
    let threads = try AdmissionThreads(seconds: 60)
    let slowed = Counts()
    for round in 1...20 {
      threads.perform(for: 1000) {
        // As a process of that user may, while the thread acts for them.
        let idle: Int32 = 5  // SCHED_IDLE, which the headers have as a macro
        var nothing = sched_param()
        slowed.begun.add(Int(unsafe sched_setscheduler(0, idle, &nothing)) + 1, ordering: .sequentiallyConsistent)
      } late: {
      }
      try eventually("it is slowed down") { slowed.state[0] == round }
    }
    let policies = Locked<[Int32]>([])
    for _ in 0..<40 {
      threads.perform(for: 1001) {
        policies.withLock { $0.append(sched_getscheduler(0)) }
      } late: {
      }
    }
    try eventually("others are served: \(policies.withLock { $0.count })") { policies.withLock { $0.count } == 40 }
    #expect(policies.withLock { $0 }.allSatisfy { $0 == SCHED_OTHER })
  }

  @Test("Work that waits for stuck work of the same uid begins when that ends")
  func behindOthers() throws {
    let threads = try AdmissionThreads(seconds: 60)
    let (stuck, gate, waiting) = (Counts(), Gate(), Counts())
    Self.give(AdmissionThreads.mostOfUid, to: threads, for: 1000, stuck, stuckAt: gate)
    Self.give(100, to: threads, for: 1000, waiting)
    try eventually("all threads are stuck") { stuck.state[0] == AdmissionThreads.mostOfUid }
    #expect(waiting.state == [0, 0, 0])
    gate.open()
    try eventually("the others are done: \(waiting.state)") { waiting.state == [100, 100, 0] }
  }

  @Test("However many uids have opens that hang, root is served")
  func allUids() throws {
    let threads = try AdmissionThreads(seconds: 60)
    let (stuck, gate, root) = (Counts(), Gate(), Counts())
    defer { gate.open() }
    for uid in 1...20 as ClosedRange<UInt32> { Self.give(AdmissionThreads.mostOfUid, to: threads, for: uid, stuck, stuckAt: gate) }
    try eventually("all threads that others may have are stuck: \(stuck.state)") { stuck.state[0] == 196 }
    Self.give(100, to: threads, root)
    try eventually("root is served") { root.state == [100, 100, 0] }
    #expect(stuck.state == [196, 0, 0])
  }

  @Test("Twelve stuck bodies hold nobody up, long before their deadline, and when they end there are as few threads as before")
  func replacement() async throws {
    await #expect(processExitsWith: .success) {
      let threads = try AdmissionThreads(seconds: 60)
      try eventually("the threads are there") { try Self.threadCount() == 4 }
      let (stuck, gate) = (Counts(), Gate())
      Self.give(12, to: threads, stuck, stuckAt: gate)
      try eventually("all are stuck") { stuck.state == [12, 0, 0] }
      let others = Counts()
      Self.give(100, to: threads, others)
      try eventually("the others are served") { others.state == [100, 100, 0] }
      gate.open()
      try eventually("the stuck ones end") { stuck.state == [12, 12, 0] }
      // A thread that is too many leaves when it has done a piece of work.
      try eventually("four threads stay") {
        Self.give(1, to: threads, others)
        return try Self.threadCount() == 4
      }
    }
  }

  private static func threadCount() throws -> Int {
    try Files.names(in: "/proc/self/task").count { (try? Files.text("/proc/self/task/\($0)/comm")) == "kcopy-admit\n" }
  }
}
