internal import Locking

/// The jobs by name and by number, in the order of their numbers.
final class JobTable: Sendable {
  private struct State {
    var byName: [String: Job] = [:]
    /// Ascending by number; `nil` where a job was removed, until there are more of those than of the others.
    var ordered: [Slot] = []
    var ofUid: [UInt32: Int] = [:]
    /// Names of jobs that are being accepted: they count, and nobody sees them.
    var reserved: Set<String> = []

    /// The place of a number, or where it would stand.
    func index(of id: UInt64) -> Int {
      // The last ones are asked for most.
      var (low, high) = (0, ordered.count)
      while low < high {
        let middle = (low + high) / 2
        if ordered[middle].id < id { low = middle + 1 } else { high = middle }
      }
      return low
    }

    var count: Int { byName.count + reserved.count }

    func isTaken(_ name: String) -> Bool { byName[name] != nil || reserved.contains(name) }

    mutating func leave(_ uid: UInt32) {
      let left = ofUid[uid, default: 1] - 1
      ofUid[uid] = left == 0 ? nil : left
    }
  }

  private struct Slot {
    var id: UInt64
    var job: Job?
  }

  private let state = Locked(State())

  /// What became of a name that was wanted.
  enum Reservation {
    case done, nameIsTaken, full
    /// Its uid has as many as it may.
    case fullForUid
  }

  /// Takes a free name for a job: next it is inserted or given up.
  ///
  /// - Parameters:
  ///   - most: the jobs that there may be, this one included.
  ///   - mostOfUid: those that there may be of its uid.
  func reserve(_ job: Job, most: Int = .max, mostOfUid: Int = .max) -> Reservation {
    state.withLock { state in
      let (name, uid) = (job.facts.name, job.facts.uid)
      guard !state.isTaken(name) else { return .nameIsTaken }
      guard state.count < most else { return .full }
      guard state.ofUid[uid, default: 0] < mostOfUid else { return .fullForUid }
      state.reserved.insert(name)
      state.ofUid[uid, default: 0] += 1
      return .done
    }
  }

  /// Gives up a name that was reserved.
  func giveUp(_ job: Job) {
    state.withLock { state in
      guard state.reserved.remove(job.facts.name) != nil else { return }
      state.leave(job.facts.uid)
    }
  }

  /// Whether a name is a job's, one that is being accepted included.
  func isTaken(_ name: String) -> Bool { state.withLock { $0.isTaken(name) } }

  /// Lists a job whose name was reserved.
  func insert(_ job: Job) {
    state.withLock { state in
      let (id, name) = (job.facts.id, job.facts.name)
      state.reserved.remove(name)
      state.byName[name] = job
      if state.ordered.last.map({ $0.id < id }) != false {
        state.ordered.append(Slot(id: id, job: job))
      } else {
        // Numbers are given before the paths are opened, and those take their time.
        state.ordered.insert(Slot(id: id, job: job), at: state.index(of: id))
      }
    }
  }

  func remove(_ job: Job) {
    state.withLock { state in
      let (id, name, uid) = (job.facts.id, job.facts.name, job.facts.uid)
      guard state.byName[name] === job else { return }
      state.byName[name] = nil
      state.leave(uid)
      let index = state.index(of: id)
      state.ordered[index].job = nil
      if state.ordered.count > 2 * state.byName.count + 64 { state.ordered.removeAll { $0.job == nil } }
    }
  }

  subscript(name: String) -> Job? { state.withLock { $0.byName[name] } }

  subscript(id: UInt64) -> Job? {
    state.withLock { state in
      let index = state.index(of: id)
      guard index < state.ordered.count, state.ordered[index].id == id else { return nil }
      return state.ordered[index].job
    }
  }

  /// Jobs, those that are being accepted included.
  var count: Int { state.withLock { $0.count } }

  /// Jobs of a uid, likewise.
  func count(of uid: UInt32) -> Int { state.withLock { $0.ofUid[uid, default: 0] } }

  /// All jobs in the order in which they came.
  var all: [Job] { state.withLock { $0.ordered }.compactMap(\.job) }
}
