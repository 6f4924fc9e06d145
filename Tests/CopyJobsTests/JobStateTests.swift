import CopyJobs
import Testing

@Suite("States of a job")
struct JobStateTests {
  /// The contract's table, less what is not served yet.
  static let table: [JobState: Set<JobState>] = [
    .queued: [.running, .done, .failed, .cancelled],
    .running: [.done, .failed, .cancelled],
    .done: [],
    .failed: [],
    .cancelled: [],
  ]

  @Test("The states that may follow are those of the contract", arguments: JobState.allCases)
  func next(state: JobState) {
    #expect(state.next == Self.table[state])
  }

  @Test("A job is final in exactly three states, and a final state stays")
  func final() {
    #expect(JobState.allCases.filter(\.isFinal) == [.done, .failed, .cancelled])
    for state in JobState.allCases { #expect(state.isFinal == state.next.isEmpty && !state.next.contains(state)) }
  }

  @Test("Every state can be reached from queued, and a final one from each that is not")
  func reachable() {
    var reached: Set<JobState> = [.queued]
    for _ in JobState.allCases { reached.formUnion(reached.flatMap(\.next)) }
    #expect(reached == Set(JobState.allCases))
    for state in JobState.allCases where !state.isFinal { #expect(state.next.isSuperset(of: [.done, .failed, .cancelled])) }
  }

  @Test("A state is written as its name")
  func names() {
    #expect(JobState.allCases.map(\.rawValue) == ["queued", "running", "done", "failed", "cancelled"])
  }
}
