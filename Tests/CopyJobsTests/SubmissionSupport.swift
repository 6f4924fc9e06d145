import FaultKit
import Glibc
import Journal
import Locking
import Synchronization
import Testing

@testable import CopyJobs

/// The answer to a write, and a gate before it: until it is opened, the write is being decided.
final class Answer: SubmissionReply {
  private struct State {
    var result: Result<Int, Refusal>?
    var isClaimed = false
    var isAsked = false
  }

  /// What the submission knows the write by.
  let write = Submission.Write()
  private let state = Locked(State())
  private let isHeld: Atomic<Bool>
  private let isGone: Atomic<Bool>

  /// - Parameters:
  ///   - held: keeps the decision waiting until `open`.
  ///   - gone: nobody waits for the answer any more.
  init(held: Bool = false, gone: Bool = false) {
    isHeld = Atomic(held)
    isGone = Atomic(gone)
  }

  func claim() -> Bool {
    state.withLock { $0.isAsked = true }
    do {
      try eventually(within: .seconds(60), "the gate opens") { !isHeld.load(ordering: .sequentiallyConsistent) }
    } catch {
      Issue.record(error)
    }
    return state.withLock { state in
      if state.isClaimed || isGone.load(ordering: .sequentiallyConsistent) { return false }
      state.isClaimed = true
      return true
    }
  }

  func answer(_ result: Result<Int, Refusal>) {
    state.withLock { state in
      if !state.isClaimed || state.result != nil { Issue.record("an answer without the right to it, or a second one") }
      state.result = result
    }
  }

  /// Whether the decision has been made, and waits to be told.
  var isAsked: Bool { state.withLock { $0.isAsked } }

  func open() { isHeld.store(false, ordering: .sequentiallyConsistent) }

  /// The writer goes away, as by a signal.
  func leave() { isGone.store(true, ordering: .sequentiallyConsistent) }

  var result: Result<Int, Refusal>? { state.withLock { $0.result } }

  /// Waits for the answer: the bytes taken.
  func count() throws -> Int {
    try eventually("the write is answered") { result != nil }
    return try result?.get() ?? -1
  }

  /// Waits for the answer: whether the bytes were taken.
  func isTaken() throws -> Bool {
    try eventually("the write is answered") { result != nil }
    if case .success? = result { return true }
    return false
  }

  /// Waits for the answer, which has to be a refusal.
  func refusal() throws -> Refusal {
    do {
      let count = try count()
      throw Missing("the write took \(count) bytes instead of being refused")
    } catch let refusal as Refusal {
      return refusal
    }
  }
}

/// A service without a mount, and files to copy.
struct Counter {
  let bench: Workbench
  let jobs: JobService
  /// A file of 10,000 bytes.
  let source: String

  init(_ bench: Workbench, mostJobs: Int = 1000) throws {
    self.bench = bench
    var shape = JobService.Configuration()
    shape.pages = 512
    shape.mostJobs = mostJobs
    let jobs = try JobService(journal: try Journal(directory: nil), shape)
    self.jobs = jobs
    source = try bench.file("source", Pattern.bytes(10_000, seed: 1))
    bench.atEnd { #expect(jobs.stop(within: 10) == 0) }
  }

  func submission(_ name: String? = nil) -> Submission {
    jobs.submission(name.map { .job($0) } ?? .jobs, uid: geteuid(), gid: getegid(), pid: getpid())
  }

  func path(_ name: String) -> String { "\(bench.disk)/\(name)" }

  /// A record that copies the source to a new file.
  func record(_ name: String, _ more: String = "") -> String { "from=\(source) to=\(path(name)) create=yes\(more)\n" }

  func finished(_ name: String) throws -> Job {
    let job = try #require(jobs.job(named: name))
    try eventually("job \(name) is final") { job.isFinal }
    return job
  }
}

extension Submission {
  /// Writes as the one who opened.
  func write(_ text: String, _ answer: Answer = Answer()) -> Answer {
    write(Array(text.utf8), uid: geteuid(), gid: getegid(), answer)
    return answer
  }

  func write(_ bytes: [UInt8], uid: UInt32, gid: UInt32, _ answer: Answer) {
    pass(take(bytes, as: answer.write, uid: uid, gid: gid), to: answer)
  }

  func synchronize(_ answer: Answer = Answer()) -> Answer {
    pass(finish(as: answer.write) ?? .answered(.success(0)), to: answer)
    return answer
  }

  private func pass(_ taken: Taken, to answer: Answer) {
    switch taken {
    case .answered(let result): if answer.claim() { answer.answer(result) }
    case .turnedAway(let refusal): if answer.claim() { answer.answer(.failure(refusal)) }
    case .undecided(let batch): decide(batch, reply: answer)
    }
  }

  /// All the names that are pending.
  var names: String { String(decoding: takeAnswers(1 << 20), as: UTF8.self) }
}

func withCounter(mostJobs: Int = 1000, _ body: (Counter) throws -> Void) throws {
  try withWorkbench { bench in try body(Counter(bench, mostJobs: mostJobs)) }
}
