internal import Locking

/// The jobs by name and by number; a name is taken from when its record is looked at.
final class JobTable: Sendable {
  private enum Entry {
    case reserved
    case job(Job)
  }

  private struct State {
    var byName: [String: Entry] = [:]
    var byID: [UInt64: Job] = [:]
  }

  private let state = Locked(State())

  /// Takes a name; returns whether it was free.
  func reserve(_ name: String) -> Bool {
    state.withLock { state in
      guard state.byName[name] == nil else { return false }
      state.byName[name] = .reserved
      return true
    }
  }

  /// Gives back a name that no job came to.
  func free(_ name: String) {
    state.withLock { state in
      if case .reserved = state.byName[name] { state.byName[name] = nil }
    }
  }

  /// Puts a job under the name that was reserved for it.
  func insert(_ job: Job) {
    state.withLock { state in
      state.byName[job.facts.name] = .job(job)
      state.byID[job.facts.id] = job
    }
  }

  func remove(_ job: Job) {
    state.withLock { state in
      state.byName[job.facts.name] = nil
      state.byID[job.facts.id] = nil
    }
  }

  subscript(name: String) -> Job? {
    state.withLock { state in
      if case .job(let job) = state.byName[name] { job } else { nil }
    }
  }

  subscript(id: UInt64) -> Job? { state.withLock { $0.byID[id] } }

  var count: Int { state.withLock { $0.byID.count } }

  /// All jobs in the order in which they came.
  var all: [Job] {
    state.withLock { Array($0.byID.values) }.sorted { $0.facts.id < $1.facts.id }
  }
}
