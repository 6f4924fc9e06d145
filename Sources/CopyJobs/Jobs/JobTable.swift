internal import Locking

/// The jobs by name and by number.
final class JobTable: Sendable {
  private struct State {
    var byName: [String: Job] = [:]
    var byID: [UInt64: Job] = [:]
  }

  private let state = Locked(State())

  /// What became of a job that was to be added.
  enum Insertion {
    case done, nameIsTaken, full
  }

  /// Adds a job under a free name.
  ///
  /// - Parameter most: the jobs that there may be, this one included.
  func insert(_ job: Job, most: Int = .max) -> Insertion {
    state.withLock { state in
      guard state.byName[job.facts.name] == nil else { return .nameIsTaken }
      guard state.byID.count < most else { return .full }
      state.byName[job.facts.name] = job
      state.byID[job.facts.id] = job
      return .done
    }
  }

  func remove(_ job: Job) {
    state.withLock { state in
      state.byName[job.facts.name] = nil
      state.byID[job.facts.id] = nil
    }
  }

  subscript(name: String) -> Job? { state.withLock { $0.byName[name] } }

  subscript(id: UInt64) -> Job? { state.withLock { $0.byID[id] } }

  var count: Int { state.withLock { $0.byID.count } }

  /// All jobs in the order in which they came.
  var all: [Job] {
    state.withLock { Array($0.byID.values) }.sorted { $0.facts.id < $1.facts.id }
  }
}
