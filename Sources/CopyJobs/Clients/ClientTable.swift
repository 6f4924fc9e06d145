internal import CSystemShims
internal import Glibc
internal import Journal
internal import KCopy
internal import Locking

/// The clients by name and by number: the directories of `clients/`.
public final class ClientTable: Sendable {
  /// Clients that there may be, `default` included.
  public static let most = 16
  /// The one that is always there.
  public static let standard = "default"

  private struct State {
    var byName: [String: CopyClient] = [:]
    var byNumber: [UInt64: CopyClient] = [:]
    /// Names whose client is being made, which takes memory and so time.
    var reserved: Set<String> = []
    /// Clients that were removed and still have their memory.
    var leaving = 0
    var lastNumber: UInt64 = 1
    /// What those have read and written that were removed.
    var former: (read: UInt64, written: UInt64) = (0, 0)
    var changedAt: UInt64
  }

  private let state: Locked<State>
  private let descriptors: DescriptorBudget

  /// Makes `default`, which is the daemon's user's, and those that there were before a restart.
  ///
  /// - Parameters:
  ///   - pages: of `default`; `nil`: as many as before, or the standard.
  ///   - descriptors: what clients share with jobs.
  /// - Throws: `DeviceError` when the pages or a thread can't be had.
  init(pages: Int? = nil, _ rows: [ClientRow] = [], _ descriptors: DescriptorBudget = DescriptorBudget()) throws(DeviceError) {
    self.descriptors = descriptors
    let row = rows.first { $0.name == Self.standard }
    var shape = row.map(\.configuration) ?? Client.Configuration()
    shape.pages = pages ?? shape.pages
    let client = try CopyClient(Self.standard, number: 1, uid: geteuid(), gid: getegid(), shape)
    if let row { client.restore(mostJobs: Int(clamping: row.maxJobs)) }
    state = Locked(State(byName: [client.name: client], byNumber: [client.number: client], changedAt: client.madeAt))
    for row in rows where row.name != Self.standard { restore(row) }
  }

  /// A client without the memory that it had is better than jobs without their client.
  private func restore(_ row: ClientRow) {
    var smallest = row.configuration
    smallest.pages = smallest.subjob / 4096
    for shape in [row.configuration, smallest, Client.Configuration()] {
      do throws(DeviceError) {
        let number = state.withLock { state in
          state.lastNumber += 1
          return state.lastNumber
        }
        let client = try CopyClient(
          row.name, number: number, uid: row.uid, gid: row.gid, permissions: row.mode, madeAt: row.madeAt, shape)
        client.restore(mostJobs: Int(clamping: row.maxJobs))
        descriptors.takeAgain(DescriptorBudget.needOfClient, for: row.uid)
        return state.withLock { state in
          state.byName[row.name] = client
          state.byNumber[number] = client
        }
      } catch {
        continue
      }
    }
  }

  public subscript(name: String) -> CopyClient? { state.withLock { $0.byName[name] } }

  /// The one that is always there.
  var standard: CopyClient {
    guard let standard = self[Self.standard] else { preconditionFailure("default cannot be removed") }
    return standard
  }

  /// The client of a number; `nil` too when it was removed.
  public func client(_ number: UInt64) -> CopyClient? { state.withLock { $0.byNumber[number] } }

  /// `default` first, the others in the order in which they came.
  public var all: [CopyClient] { state.withLock { Array($0.byNumber.values) }.sorted { $0.number < $1.number } }

  /// Bytes read and written for all clients since the daemon began.
  public var bytes: (read: UInt64, written: UInt64) {
    state.withLock { state in
      state.byNumber.values.reduce(state.former) { sum, client in
        let bytes = client.bytes
        return (sum.read + bytes.read, sum.written + bytes.written)
      }
    }
  }

  public var count: Int { state.withLock { $0.byName.count } }

  /// When a client came or went last, in nanoseconds since the epoch.
  public var changedAt: UInt64 { state.withLock { $0.changedAt } }

  /// Makes a client in the standard shape, which takes memory and a thread: not for a thread that others wait for.
  ///
  /// - Throws: EINVAL for a name that no job could have either, EEXIST; ENOBUFS when there are `most`, or when descriptors or
  ///   a thread can't be had; ENOMEM when memory can't.
  public func make(_ name: String, uid: UInt32, gid: UInt32, permissions: UInt32 = 0o755) throws(Refusal) -> CopyClient {
    try JobName.check(name)
    try descriptors.take(DescriptorBudget.needOfClient, for: uid)
    do throws(Refusal) {
      return try makeCounted(name, uid: uid, gid: gid, permissions: permissions)
    } catch {
      descriptors.giveBack(DescriptorBudget.needOfClient, for: uid)
      throw error
    }
  }

  private func makeCounted(_ name: String, uid: UInt32, gid: UInt32, permissions: UInt32) throws(Refusal) -> CopyClient {
    let number = try reserve(name)
    let made: Result<CopyClient, DeviceError>
    do throws(DeviceError) {
      made = .success(try CopyClient(name, number: number, uid: uid, gid: gid, permissions: permissions, Client.Configuration()))
    } catch {
      made = .failure(error)
    }
    state.withLock { state in
      state.reserved.remove(name)
      guard case .success(let client) = made else { return }
      state.byName[name] = client
      state.byNumber[number] = client
      state.changedAt = client.madeAt
    }
    switch made {
    case .success(let client): return client
    case .failure(let error):
      if error.isForWantOfThread { throw Refusal(errno: ENOBUFS, column: 0, text: "no client can be made: no thread can be had for it") }
      throw Refusal(errno: error.errno, column: 0, text: "no client can be made: \(error.call): \(ErrnoName.of(error.errno))")
    }
  }

  private func reserve(_ name: String) throws(Refusal) -> UInt64 {
    try state.withLock { (state) throws(Refusal) in
      guard state.byName[name] == nil, !state.reserved.contains(name) else {
        throw Refusal(errno: EEXIST, column: 0, text: "there is a client \(name) already")
      }
      guard state.byName.count + state.reserved.count < Self.most else {
        throw Refusal(errno: ENOBUFS, column: 0, text: "there are \(Self.most) clients already")
      }
      guard state.leaving < Self.most else {
        throw Refusal(errno: ENOBUFS, column: 0, text: "\(state.leaving) clients that were removed still give their memory back")
      }
      state.reserved.insert(name)
      state.lastNumber += 1
      return state.lastNumber
    }
  }

  /// Removes a client and returns when its memory is released: not for a thread that others wait for.
  ///
  /// - Throws: ENOENT, EPERM for `default`, EBUSY until its last job is final.
  public func remove(_ name: String) throws(Refusal) { destroy(try unlist(name)) }

  /// Removes a client, which still has its memory; the other half is `destroy`.
  func unlist(_ name: String) throws(Refusal) -> CopyClient {
    let now = kcs_realtime()
    return try state.withLock { (state) throws(Refusal) in
      guard let client = state.byName[name] else { throw Self.unknown(name) }
      guard name != Self.standard else { throw Refusal(errno: EPERM, column: 0, text: "the client default is always there") }
      try client.retire()
      state.byName[name] = nil
      state.byNumber[client.number] = nil
      let bytes = client.bytes
      state.former = (state.former.read + bytes.read, state.former.written + bytes.written)
      state.leaving += 1
      state.changedAt = now
      return client
    }
  }

  func destroy(_ unlisted: CopyClient) {
    unlisted.destroy()
    descriptors.giveBack(DescriptorBudget.needOfClient, for: unlisted.uid)
    state.withLock { $0.leaving -= 1 }
  }

  private static func unknown(_ name: String) -> Refusal { Refusal(errno: ENOENT, column: 0, text: "there is no client \(name)") }

  /// The client that a record names.
  ///
  /// - Parameter uid: whose record it is: the client has to be theirs or anybody's, or they are root.
  /// - Throws: ENOENT, EACCES for somebody else's.
  func use(_ name: String, by uid: UInt32) throws(Refusal) -> CopyClient {
    guard let client = self[name] else { throw Self.unknown(name) }
    guard name == Self.standard || uid == 0 || uid == client.uid else {
      throw Refusal(errno: EACCES, column: 0, text: "the client \(name) is uid \(client.uid)'s")
    }
    return client
  }

  /// The daemon stops: nobody waits for jobs any longer.
  func endWaits() {
    for client in all { client.endWaits() }
  }
}

extension ClientRow {
  fileprivate var configuration: Client.Configuration {
    var shape = Client.Configuration()
    shape.pages = Int(clamping: pages)
    shape.throttle = Int(clamping: throttle)
    shape.rate = rate
    shape.subjob = Int(clamping: subjob)
    shape.slots = Int(clamping: slots)
    return shape
  }
}
