import FuseKit
import Glibc
import Locking

extension MemoryFileSystem {
  func lookup(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming EntryReply) {
    if name == "slow-lookup" {
      let boxed = Box(reply)
      state.withLock { $0.keptLookup = boxed.take() }
      return
    }
    let entry = state.withLock { state in
      state.lookupRequests += 1
      return state.countedEntry(name, in: directory)
    }
    guard let entry else { return reply.fail(ENOENT) }
    reply.succeed(entry)
  }

  func forget(_ node: NodeID, lookups: UInt64) {
    state.withLock { $0.lookups[node, default: 0] -= Int(lookups) }
  }

  func attributes(of node: NodeID, by requester: Requester, reply: consuming AttributesReply) {
    guard let attributes = state.withLock({ $0.attributes(node) }) else { return reply.fail(ESTALE) }
    reply.succeed(attributes, timeout: 0)
  }

  func setAttributes(_ change: AttributeChange, of node: NodeID, by requester: Requester, reply: consuming AttributesReply) {
    let attributes = state.withLock { state in
      if let permissions = change.permissions { state.nodes[node]?.permissions = permissions }
      if let size = change.size, let old = state.nodes[node]?.content {
        let kept = old.prefix(Int(size))
        state.nodes[node]?.content = kept + [UInt8](repeating: 0, count: Int(size) - kept.count)
      }
      return state.attributes(node)
    }
    guard let attributes else { return reply.fail(ESTALE) }
    reply.succeed(attributes, timeout: 0)
  }

  func open(_ node: NodeID, flags: Int32, by requester: Requester, reply: consuming OpenReply) {
    let behaviour = state.withLock { $0.nodes[node]?.behaviour }
    if behaviour == .slowOpen {
      let boxed = Box(reply)
      state.withLock { $0.keptOpen = boxed.take() }
      return
    }
    let handle = state.withLock { state in
      state.lastRequester = requester
      if flags & O_TRUNC != 0 { state.nodes[node]?.content = [] }
      return state.newHandle()
    }
    reply.succeed(OpenFile(handle: handle, isStream: behaviour == .stream))
  }

  func create(
    _ name: String, in directory: NodeID, permissions: UInt32, flags: Int32, by requester: Requester, reply: consuming CreateReply
  ) {
    add(name, .plain, permissions: permissions, in: directory)
    let (entry, handle) = state.withLock { state in (state.countedEntry(name, in: directory)!, state.newHandle()) }
    reply.succeed(entry, OpenFile(handle: handle, isStream: false))
  }

  func read(
    _ node: NodeID, handle: UInt64, offset: UInt64, size: Int, nonblocking: Bool, by requester: Requester, reply: consuming DataReply
  ) {
    let (behaviour, content) = state.withLock { ($0.nodes[node]?.behaviour, $0.nodes[node]?.content ?? []) }
    switch behaviour {
    case .silent:
      break
    case .stream where nonblocking:
      reply.fail(EAGAIN)
    case .stream:
      let ticket = newTicket()
      let parked = reply.park { [self] in interrupted(ticket) }
      state.withLock { state in
        if !state.waiting.interrupted.contains(ticket) { state.waiting.reads[ticket] = parked }
      }
    case .meeting:
      state.withLock { $0.meeting += 1 }
      let met = eventually { state.withLock { $0.meeting } == 2 }
      reply.succeed(Array((met ? "met" : "alone").utf8))
    default:
      reply.succeed(content.dropFirst(Int(offset)).prefix(size))
    }
  }

  func write(
    _ node: NodeID, handle: UInt64, bytes: [UInt8], offset: UInt64, nonblocking: Bool, by requester: Requester,
    reply: consuming CountReply
  ) {
    if state.withLock({ $0.nodes[node]?.behaviour == .gate }) {
      let ticket = newTicket()
      let parked = reply.park { [self] in interrupted(ticket) }
      state.withLock { state in
        if !state.waiting.interrupted.contains(ticket) { state.waiting.writes[ticket] = (parked, bytes.count) }
      }
      return
    }
    state.withLock { state in
      var content = state.nodes[node]?.content ?? []
      let end = Int(offset) + bytes.count
      if content.count < end { content += [UInt8](repeating: 0, count: end - content.count) }
      content.replaceSubrange(Int(offset)..<end, with: bytes)
      state.nodes[node]?.content = content
    }
    reply.succeed(count: bytes.count)
  }

  private func newTicket() -> Int {
    state.withLock { state in
      state.waiting.last += 1
      return state.waiting.last
    }
  }

  func flush(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply) {
    reply.succeed()
  }

  func synchronize(_ node: NodeID, handle: UInt64, by requester: Requester, reply: consuming StatusReply) {
    state.withLock { $0.synchronized += 1 }
    reply.succeed()
  }

  func release(_ node: NodeID, handle: UInt64) {
    state.withLock { state in
      state.openHandles.remove(handle)
      state.wakers[node] = nil
    }
  }

  func openDirectory(_ node: NodeID, by requester: Requester, reply: consuming OpenReply) {
    reply.succeed(OpenFile(handle: state.withLock { $0.newHandle() }, isStream: false))
  }

  func releaseDirectory(_ node: NodeID, handle: UInt64) {
    state.withLock { _ = $0.openHandles.remove(handle) }
  }

  func readDirectory(_ node: NodeID, handle: UInt64, offset: UInt64, by requester: Requester, reply: consuming DirectoryReply) {
    let entries = state.withLock { state in
      [(".", state.entry(node)!), ("..", state.entry(node)!)]
        + state.names[node]!.sorted { $0.value < $1.value }.map { ($0.key, state.entry($0.value)!) }
    }
    var index = Int(offset)
    var counted: [NodeID] = []
    while index < entries.count, reply.add(entries[index].0, entries[index].1, next: UInt64(index + 1)) {
      if index > 1 { counted.append(entries[index].1.node) }
      index += 1
    }
    state.withLock { state in
      if reply.wantsAttributes {
        state.plusDirectoryReads += 1
        for node in counted { state.lookups[node, default: 0] += 1 }
      } else {
        state.plainDirectoryReads += 1
      }
    }
    reply.finish()
  }

  func makeDirectory(
    _ name: String, in directory: NodeID, permissions: UInt32, by requester: Requester, reply: consuming EntryReply
  ) {
    add(name, .directory, permissions: permissions, in: directory)
    reply.succeed(state.withLock { $0.countedEntry(name, in: directory)! })
  }

  func removeDirectory(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply) {
    let removed = state.withLock { $0.names[directory]?.removeValue(forKey: name) }
    if removed == nil { reply.fail(ENOENT) } else { reply.succeed() }
  }

  func unlink(_ name: String, in directory: NodeID, by requester: Requester, reply: consuming StatusReply) {
    removeDirectory(name, in: directory, by: requester, reply: reply)
  }

  func rename(
    _ name: String, in directory: NodeID, to newName: String, in newDirectory: NodeID, flags: UInt32, by requester: Requester,
    reply: consuming StatusReply
  ) {
    let moved = state.withLock { state in
      guard let node = state.names[directory]?.removeValue(forKey: name) else { return false }
      state.names[newDirectory]?[newName] = node
      return true
    }
    if moved { reply.succeed() } else { reply.fail(ENOENT) }
  }

  func poll(_ node: NodeID, handle: UInt64, waker: PollWaker?, by requester: Requester, reply: consuming PollReply) {
    let events = state.withLock { state in
      state.polls += 1
      if let waker { state.wakers[node] = waker }
      return state.pollable
    }
    reply.succeed(events: events)
  }

  func statistics(by requester: Requester, reply: consuming StatisticsReply) {
    reply.succeed(Statistics(files: 1000, filesFree: 992, nameMaximum: 64))
  }
}

/// Takes a noncopyable value into a closure that cannot consume.
final class Box<Value: ~Copyable & Sendable>: Sendable {
  private let value: Locked<Value?>

  init(_ value: consuming Value) {
    self.value = Locked(value)
  }

  func take() -> Value? {
    value.withLock { $0.take() }
  }
}
