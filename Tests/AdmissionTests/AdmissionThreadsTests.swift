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

  private static func give(_ count: Int, to threads: AdmissionThreads, _ counts: Counts, stuckAt gate: Gate? = nil) {
    for _ in 0..<count {
      threads.perform {
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

  @Test("When so many are stuck that no more threads are made, work is late and not begun any more; later it is again")
  func exhausted() throws {
    // Every deadline passes at once: 4 threads and 64 in their place are stuck within moments.
    let threads = try AdmissionThreads(seconds: 0)
    let (stuck, gate) = (Counts(), Gate())
    try eventually("all threads are stuck: \(stuck.state)") {
      if stuck.state[0] < 68 { Self.give(1, to: threads, stuck, stuckAt: gate) }
      return stuck.state[0] == 68
    }
    let waiting = Counts()
    Self.give(10, to: threads, waiting)
    try eventually("those that wait are late") { waiting.state == [0, 0, 10] }
    gate.open()
    try eventually("the stuck ones end") { stuck.state[1] == 68 }
    let later = Counts()
    try eventually("new work is done") {
      Self.give(1, to: threads, later)
      return later.state[1] > 0
    }
    #expect(waiting.state == [0, 0, 10])
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
