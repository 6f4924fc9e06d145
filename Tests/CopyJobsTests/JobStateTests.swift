import CopyJobs
import Glibc
import Testing

@Suite("States of a job")
struct JobStateTests {
  /// What may follow within an attempt.
  static let table: [JobState: Set<JobState>] = [
    .queued: [.running, .paused, .done, .failed, .cancelled],
    .running: [.paused, .done, .failed, .cancelled],
    .paused: [.queued, .running, .done, .failed, .cancelled],
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
    #expect(JobState.allCases.map(\.rawValue) == ["queued", "running", "paused", "done", "failed", "cancelled"])
  }

  /// The contract's table of `ctl`: per command the errno in the states in their order.
  static let commands: [(command: JobCommand, errnos: [Int32?])] = [
    (.cancel, [nil, nil, nil, EALREADY, EALREADY, EALREADY]),
    (.pause, [nil, nil, nil, EINVAL, EINVAL, EINVAL]),
    (.resume, [nil, nil, nil, EINVAL, EINVAL, EINVAL]),
    (.retry, [EINVAL, EINVAL, EINVAL, EINVAL, nil, nil]),
    (.rate(1), [nil, nil, nil, EINVAL, EINVAL, EINVAL]),
    (.rate(nil), [nil, nil, nil, EINVAL, EINVAL, EINVAL]),
    (.priority(0), [nil, nil, nil, EINVAL, EINVAL, EINVAL]),
  ]

  @Test("What ctl takes in each state is the contract's", arguments: commands.indices)
  func objections(row: Int) {
    let (command, errnos) = Self.commands[row]
    #expect(JobState.allCases.map { $0.objection(to: command) } == errnos)
  }
}
