import FuseKit
import Glibc
import Locking

/// A small file system in memory, whose files each behave in one way that a test wants to see.
final class MemoryFileSystem: FileSystem {
  enum Behaviour {
    case plain
    case directory
    /// Reads park until ``publish(_:)``; O_NONBLOCK gives EAGAIN.
    case stream
    /// Writes park until ``openGate()``.
    case gate
    /// Reads drop their reply.
    case silent
    /// Reads wait inside the handler until two are there.
    case meeting
    /// Opens are kept, and answered by ``answerKeptOpens()``.
    case slowOpen
  }

  struct Node {
    var parent: NodeID
    var behaviour: Behaviour
    var permissions: UInt32
    var content: [UInt8] = []
  }

  struct Waiting {
    var reads: [Int: Parked<DataReply>] = [:]
    var writes: [Int: (parked: Parked<CountReply>, count: Int)] = [:]
    var last = 0
    var interrupted: [Int] = []
  }

  struct State: ~Copyable {
    var nodes: [NodeID: Node] = [1: Node(parent: 1, behaviour: .directory, permissions: 0o755)]
    var names: [NodeID: [String: NodeID]] = [1: [:]]
    var lastNode: NodeID = 1
    /// The count per node, as the kernel should know it.
    var lookups: [NodeID: Int] = [:]
    var lookupRequests = 0
    var waiting = Waiting()
    var wakers: [NodeID: PollWaker] = [:]
    var pollable: UInt32 = 0
    var polls = 0
    var lastHandle: UInt64 = 0
    var openHandles: Set<UInt64> = []
    var handlesEverOpened = 0
    var plainDirectoryReads = 0
    var plusDirectoryReads = 0
    var meeting = 0
    var synchronized = 0
    var keptOpen: OpenReply?
    var keptLookup: EntryReply?
    var lastRequester: Requester?
  }

  let state = Locked(State())

  init() {
    add("rendered", .plain, content: Array("state=done\n".utf8), permissions: 0o444)
    add("sink", .plain)
    add("stream", .stream)
    add("gate", .gate)
    add("silent", .silent)
    add("meeting", .meeting)
    add("slow-open", .slowOpen)
    // In a directory of its own: the kernel lets one lookup at a time into a directory.
    let directory = add("elsewhere", .directory, permissions: 0o755)
    add("slow-lookup", .plain, in: directory)
  }

  @discardableResult
  func add(
    _ name: String, _ behaviour: Behaviour, content: [UInt8] = [], permissions: UInt32 = 0o666, in directory: NodeID = 1
  ) -> NodeID {
    state.withLock { state in
      state.add(name, Node(parent: directory, behaviour: behaviour, permissions: permissions, content: content))
    }
  }

  // MARK: What the tests do from behind

  var waitingReads: Int { state.withLock { $0.waiting.reads.count } }
  var waitingWrites: Int { state.withLock { $0.waiting.writes.count } }
  var interrupts: [Int] { state.withLock { $0.waiting.interrupted } }
  var openHandles: Int { state.withLock { $0.openHandles.count } }

  func content(of name: String) -> String {
    state.withLock { state in String(decoding: state.nodes[state.names[1]![name]!]!.content, as: UTF8.self) }
  }

  func lookups(of name: String, in directory: String) -> Int? {
    state.withLock { state in state.lookups[state.names[state.names[1]![directory]!]![name]!] }
  }

  /// Answers all parked reads; returns how many.
  @discardableResult
  func publish(_ text: String) -> Int {
    let reads = state.withLock { state in
      defer { state.waiting.reads = [:] }
      return state.waiting.reads.values.map { $0 }
    }
    var answered = 0
    for parked in reads {
      guard let reply = parked.take() else { continue }
      reply.succeed(Array(text.utf8))
      answered += 1
    }
    return answered
  }

  func openGate() {
    let writes = state.withLock { state in
      defer { state.waiting.writes = [:] }
      return state.waiting.writes.values.map { $0 }
    }
    for write in writes { write.parked.take()?.succeed(count: write.count) }
  }

  /// Lets parked requests and kept replies go without an answer.
  func dropWaiting() {
    state.withLock { state in
      state.waiting.reads = [:]
      state.waiting.writes = [:]
      state.wakers = [:]
      state.keptOpen = nil
      state.keptLookup = nil
    }
  }

  func wakePollers(_ events: UInt32) {
    let wakers = state.withLock { state in
      state.pollable = events
      return state.wakers.values.map { $0 }
    }
    for waker in wakers { waker.wake() }
  }

  var keepsOpen: Bool { state.withLock { $0.keptOpen != nil } }
  var keepsLookup: Bool { state.withLock { $0.keptLookup != nil } }

  func answerKeptOpens() {
    let handle = state.withLock { $0.newHandle() }
    let reply = state.withLock { $0.keptOpen.take() }
    reply?.succeed(OpenFile(handle: handle, isStream: false))
  }

  func answerKeptLookups() {
    let entry = state.withLock { state in state.countedEntry("slow-lookup", in: state.names[1]!["elsewhere"]!)! }
    let reply = state.withLock { $0.keptLookup.take() }
    reply?.succeed(entry)
  }

  func interrupted(_ ticket: Int) {
    state.withLock { state in
      state.waiting.interrupted.append(ticket)
      state.waiting.reads[ticket] = nil
      state.waiting.writes[ticket] = nil
    }
  }
}

extension MemoryFileSystem.State {
  mutating func add(_ name: String, _ node: MemoryFileSystem.Node) -> NodeID {
    lastNode += 1
    nodes[lastNode] = node
    names[node.parent]![name] = lastNode
    if node.behaviour == .directory { names[lastNode] = [:] }
    return lastNode
  }

  func attributes(_ node: NodeID) -> Attributes? {
    guard let found = nodes[node] else { return nil }
    return Attributes(
      inode: node, kind: found.behaviour == .directory ? .directory : .file, permissions: found.permissions, links: 1, uid: 0, gid: 0,
      size: UInt64(found.content.count), modified: 1_763_826_370_961_637_000)
  }

  func entry(_ node: NodeID) -> Entry? {
    attributes(node).map { Entry(node: node, attributes: $0, entryTimeout: 60, attributeTimeout: 0) }
  }

  mutating func countedEntry(_ name: String, in directory: NodeID) -> Entry? {
    guard let node = names[directory]?[name] else { return nil }
    lookups[node, default: 0] += 1
    return entry(node)
  }

  mutating func newHandle() -> UInt64 {
    lastHandle += 1
    handlesEverOpened += 1
    openHandles.insert(lastHandle)
    return lastHandle
  }
}
