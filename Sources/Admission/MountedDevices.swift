internal import KCopy
internal import Locking

/// Which devices and files lie under something that is mounted for writing.
///
/// An answer holds for as long as the table of mounts is the same: a device or file comes under a mount by that mount alone.
final class MountedDevices: Sendable {
  private struct State {
    var table = ""
    var answers: [DeviceKey: Bool] = [:]
  }

  private let state = Locked(State())
  /// Answers that are remembered.
  private static let most = 4096

  func isMountedForWriting(_ key: DeviceKey) -> Bool {
    let table = Mounts.table()
    let known: Bool? = state.withLock { state in
      if state.table != table || state.answers.count >= Self.most { state = State(table: table) }
      return state.answers[key]
    }
    if let known { return known }
    let answer = Holder(writable: Mounts.parse(table)).hasMount(key, LoopDevices.ofThisMachine.setUp())
    state.withLock { state in
      // What was found beside another table may be older than that.
      if state.table == table { state.answers[key] = answer }
    }
    return answer
  }
}
