internal import FuseKit
internal import Locking

/// The files in `jobs/` whose record is not complete: a name until the last descriptor is closed, a node until the kernel
/// has forgotten it.
final class Placeholders: Sendable {
  private struct Placeholder {
    var name: String
    var uid: UInt32
    var gid: UInt32
    var permissions: UInt32
    var opens = 0
    var lookups: UInt64 = 0
    var isListed = true
  }

  private struct State {
    var byNumber: [UInt64: Placeholder] = [:]
    var byName: [String: UInt64] = [:]
    var next: UInt64 = 1
  }

  /// What `stat` needs to know of one.
  struct Facts {
    var uid: UInt32
    var gid: UInt32
    var permissions: UInt32
  }

  private let state = Locked(State())

  /// Opens the placeholder of a name, which comes to be if it isn't there; counts a lookup and an open.
  func open(_ name: String, by requester: Requester, permissions: UInt32) -> UInt64 {
    state.withLock { state in
      let number = state.byName[name] ?? state.next
      if number == state.next {
        state.next += 1
        state.byName[name] = number
        state.byNumber[number] = Placeholder(name: name, uid: requester.uid, gid: requester.gid, permissions: permissions)
      }
      state.byNumber[number]?.opens += 1
      state.byNumber[number]?.lookups += 1
      return number
    }
  }

  /// Opens one that was looked up; `nil` when its name is gone.
  func reopen(_ number: UInt64) -> String? {
    state.withLock { state in
      guard let placeholder = state.byNumber[number], placeholder.isListed else { return nil }
      state.byNumber[number]?.opens += 1
      return placeholder.name
    }
  }

  func lookup(_ name: String) -> UInt64? {
    state.withLock { state in
      guard let number = state.byName[name] else { return nil }
      state.byNumber[number]?.lookups += 1
      return number
    }
  }

  func contains(_ name: String) -> Bool { state.withLock { $0.byName[name] != nil } }

  func facts(_ number: UInt64) -> Facts? {
    state.withLock { $0.byNumber[number].map { Facts(uid: $0.uid, gid: $0.gid, permissions: $0.permissions) } }
  }

  func setPermissions(_ number: UInt64, _ permissions: UInt32) {
    state.withLock { $0.byNumber[number]?.permissions = permissions }
  }

  var names: [(name: String, number: UInt64)] { state.withLock { state in state.byName.map { ($0.key, $0.value) } } }

  /// Takes the name away: it is a job's now, or it was unlinked.
  ///
  /// - Returns: whether there was one.
  @discardableResult
  func unlist(_ name: String) -> Bool {
    state.withLock { state in
      guard let number = state.byName.removeValue(forKey: name) else { return false }
      state.byNumber[number]?.isListed = false
      return true
    }
  }

  /// Takes the name away from one of them, and from no other that has it by now.
  func unlist(_ number: UInt64) {
    state.withLock { state in
      guard let placeholder = state.byNumber[number], placeholder.isListed else { return }
      state.byName[placeholder.name] = nil
      state.byNumber[number]?.isListed = false
    }
  }

  func release(_ number: UInt64) {
    state.withLock { state in
      state.byNumber[number]?.opens -= 1
      if let placeholder = state.byNumber[number], placeholder.opens == 0, placeholder.isListed {
        state.byName[placeholder.name] = nil
        state.byNumber[number]?.isListed = false
      }
      drop(number, &state)
    }
  }

  func forget(_ number: UInt64, lookups: UInt64) {
    state.withLock { state in
      guard let known = state.byNumber[number]?.lookups else { return }
      state.byNumber[number]?.lookups = known - min(known, lookups)
      drop(number, &state)
    }
  }

  private func drop(_ number: UInt64, _ state: inout State) {
    guard let placeholder = state.byNumber[number], placeholder.opens == 0, placeholder.lookups == 0 else { return }
    state.byNumber[number] = nil
    if placeholder.isListed { state.byName[placeholder.name] = nil }
  }
}
