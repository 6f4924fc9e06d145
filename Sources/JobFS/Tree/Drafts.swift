internal import FuseKit
internal import Glibc
internal import Locking

/// Files in `jobs/` whose names begin with `.` or end in `~`: what editors and copiers write before they rename it.
///
/// They are their owner's alone, and live in memory: a name until it is removed or submitted, a node until nobody has it
/// open and the kernel has forgotten it.
final class Drafts: Sendable {
  /// The longest, in bytes: a record that is longer would be refused anyway.
  static let longest = 65536
  /// How many there may be of all uids.
  static let most = 4096
  /// How many a uid may have: by name, or open. What was submitted the kernel may remember for long, and counts no more.
  static let mostOfUid = 64

  struct Draft {
    var name: String
    var uid: UInt32
    var gid: UInt32
    var bytes: [UInt8] = []
    /// Nanoseconds since the epoch.
    var modified: UInt64
    var opens = 0
    var lookups: UInt64 = 0
    var isListed = true
  }

  private struct State {
    var byNumber: [UInt64: Draft] = [:]
    var byName: [String: UInt64] = [:]
    var next: UInt64 = 1
  }

  private let state = Locked(State())

  /// Makes a draft and opens it; counts a lookup.
  ///
  /// - Returns: `nil` when its uid has as many as it may.
  func create(_ name: String, by requester: Requester, at time: UInt64) -> UInt64? {
    state.withLock { state in
      // One of the same name is replaced: the kernel knew of none.
      unlist(name, &state)
      guard requester.uid == 0 || state.byNumber.count < Self.most else { return nil }
      guard state.byNumber.values.count(where: { $0.uid == requester.uid && ($0.isListed || $0.opens > 0) }) < Self.mostOfUid else {
        return nil
      }
      var draft = Draft(name: name, uid: requester.uid, gid: requester.gid, modified: time)
      (draft.opens, draft.lookups) = (1, 1)
      defer { state.next += 1 }
      state.byNumber[state.next] = draft
      state.byName[name] = state.next
      return state.next
    }
  }

  func lookup(_ name: String) -> UInt64? {
    state.withLock { state in
      guard let number = state.byName[name] else { return nil }
      state.byNumber[number]?.lookups += 1
      return number
    }
  }

  subscript(number: UInt64) -> Draft? { state.withLock { $0.byNumber[number] } }
  subscript(name: String) -> (number: UInt64, draft: Draft)? {
    state.withLock { state in
      guard let number = state.byName[name], let draft = state.byNumber[number] else { return nil }
      return (number, draft)
    }
  }

  var names: [(name: String, number: UInt64)] { state.withLock { state in state.byName.map { ($0.key, $0.value) } } }

  /// - Returns: whether there is such a draft.
  func open(_ number: UInt64) -> Bool { change(number) { $0.opens += 1 } != nil }

  // MARK: Bytes

  func read(_ number: UInt64, from offset: UInt64, _ size: Int) -> [UInt8]? {
    state.withLock { state in
      guard let bytes = state.byNumber[number]?.bytes else { return nil }
      guard offset < UInt64(bytes.count) else { return [] }
      return Array(bytes[Int(offset)...].prefix(size))
    }
  }

  /// - Returns: 0, EFBIG for what would go beyond the longest, or EBADF.
  func write(_ number: UInt64, _ new: [UInt8], at offset: UInt64, _ time: UInt64) -> Int32 {
    guard offset <= UInt64(Self.longest), Int(offset) + new.count <= Self.longest else { return EFBIG }
    return change(number) { draft in
      let (start, end) = (Int(offset), Int(offset) + new.count)
      if draft.bytes.count < end { draft.bytes += [UInt8](repeating: 0, count: end - draft.bytes.count) }
      draft.bytes.replaceSubrange(start..<end, with: new)
      draft.modified = time
    } == nil ? EBADF : 0
  }

  /// - Returns: 0, EFBIG or EBADF.
  func truncate(_ number: UInt64, to size: UInt64, _ time: UInt64) -> Int32 {
    guard size <= UInt64(Self.longest) else { return EFBIG }
    return change(number) { draft in
      let size = Int(size)
      if size < draft.bytes.count { draft.bytes.removeLast(draft.bytes.count - size) }
      draft.bytes += [UInt8](repeating: 0, count: size - draft.bytes.count)
      draft.modified = time
    } == nil ? EBADF : 0
  }

  private func change(_ number: UInt64, _ body: (inout Draft) -> Void) -> Void? {
    state.withLock { state in
      guard var draft = state.byNumber.removeValue(forKey: number) else { return nil }
      body(&draft)
      state.byNumber[number] = draft
      return ()
    }
  }

  // MARK: Names

  /// Gives a draft another name, which is then no other draft's.
  func rename(_ name: String, to new: String) {
    state.withLock { state in
      guard name != new, let number = state.byName.removeValue(forKey: name) else { return }
      unlist(new, &state)
      state.byName[new] = number
      state.byNumber[number]?.name = new
    }
  }

  /// Takes the name away.
  ///
  /// - Returns: whether there was one.
  @discardableResult
  func unlist(_ name: String) -> Bool { state.withLock { unlist(name, &$0) } }

  @discardableResult
  private func unlist(_ name: String, _ state: inout State) -> Bool {
    guard let number = state.byName.removeValue(forKey: name) else { return false }
    state.byNumber[number]?.isListed = false
    drop(number, &state)
    return true
  }

  func release(_ number: UInt64) {
    state.withLock { state in
      state.byNumber[number]?.opens -= 1
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
    guard let draft = state.byNumber[number], !draft.isListed, draft.opens == 0, draft.lookups == 0 else { return }
    state.byNumber[number] = nil
  }
}
