internal import Synchronization
internal import URing

/// The copies of one client: cuts them into sub-jobs, moves those through the pages, and ends each copy once.
///
/// It belongs to one thread.  Completions and commands change its state; `pump` then starts what there is room for, and
/// notifications run last, from a list, so that they may ask for anything.
struct Engine<Driver: TransferDriver & ~Copyable>: ~Copyable {
  var driver: Driver
  let mailbox: Mailbox
  let shared: ClientShared
  var configuration: Client.Configuration
  /// The time of what is being done, in nanoseconds; read once per turn.
  var now: UInt64

  var arenas = Arenas()
  var subJobs: [SubJob] = []
  var freeSubJobs: [Int] = []
  var tasks: [CopyTask?] = []
  var freeTasks: [Int] = []
  var loads: [DeviceLoad?] = []
  var loadOfDevice: [DeviceKey: Int] = [:]
  /// What has gone wrong with transfers in flight, by `TransferToken.key`.
  var troubles: [UInt64: Trouble] = [:]
  /// Ranges of sub-jobs that could not be read, by sub-job.
  var unreadable: [Int: [Range<Int>]] = [:]
  /// Ranges of sub-jobs that have not been read yet, and aren't written, by sub-job.
  var unsettled: [Int: [Range<Int>]] = [:]
  /// What the first side of sub-jobs that read back was, where the other is compared with it, by sub-job.
  var blockChecksums: [Int: BlockChecksums] = [:]

  /// Runs of zeroes in what sub-jobs have read, by sub-job.
  var blanks: [Int: [Range<Int>]] = [:]

  /// Copies that have something to start: one sub-job each in its turn, as kcopyd queues them.
  var turns = TurnQueue()
  /// Copies that can't start anything before a moment, or before a device is idle.
  var held: [CopyTask] = []
  /// Transfers that the sub-jobs in flight may have in flight at most.
  var reservedTransfers = 0
  /// Pages of streams that were left behind.
  var laggingPages = 0
  /// When the rate of the client lets the next sub-job start.
  var rateOpens: UInt64 = 0
  /// Since when the first in line has found no room; 0: it hasn't looked in vain.
  var stuckSince: UInt64 = 0
  /// When copies that have begun are to be flushed in their middle.
  var checkpoints = DueCopies()
  /// When something may start that couldn't before, in nanoseconds.
  var wakesAt: UInt64 = .max
  /// A throttled device has nothing in flight any more: those who wait for it look again.
  var deviceBecameIdle = false

  /// Kept for `lookForHoldUp`, which is asked too often for an array of its own.
  var waiting: [Int] = []
  var outbox: [Outgoing] = []
  var drains: [Drain] = []
  var lastSerial: UInt64 = 0
  /// Copies that aren't notified, and prepared notifications that aren't fired.
  var unfinished = 0

  init(
    driver: consuming Driver, memory: [TransferMemory], mailbox: Mailbox, shared: ClientShared, configuration: Client.Configuration
  ) {
    now = driver.now
    self.driver = driver
    self.mailbox = mailbox
    self.shared = shared
    self.configuration = configuration
    if !memory.isEmpty { attach(memory) }
  }

  /// Serves the client until it is closed and its last copy has been notified.
  mutating func run() {
    var completions: [Completion] = []
    completions.reserveCapacity(driver.capacity)
    while true {
      let post = mailbox.take(orSleep: true)
      now = driver.now
      for command in post.commands { obey(command) }
      settle()
      if post.isClosed, post.commands.isEmpty, unfinished == 0, drains.isEmpty { return }
      driver.advance(until: post.commands.isEmpty ? (wakesAt == .max ? nil : wakesAt) : 0, into: &completions)
      mailbox.wokeUp()
      now = driver.now
      for completion in completions { complete(completion) }
      completions.removeAll(keepingCapacity: true)
      settle()
    }
  }

  private mutating func settle() {
    pump()
    deliver()
  }

  private mutating func obey(_ command: Command) {
    switch command {
    case .start(let copy, let request): start(copy, request)
    case .change(let copy, let change): self.change(copy, change)
    case .reshape(let configuration, let memory): reshape(configuration, memory)
    case .prepare(let prepared): prepare(prepared)
    case .fire(let prepared, let notification): fire(prepared, notification)
    case .drain(let done): drain(done)
    case .flushed(let task, let destination, let result): flushed(task, destination, result)
    case .zeroed(let token, let count, let result): complete(zeroed: TransferToken(bits: token), count: count, result)
    case .cloned(let token, let result): complete(cloned: TransferToken(bits: token), result)
    case .foundHoles(let task, let holes, let end): learn(task, holes, end)
    }
  }

  private mutating func start(_ copy: Copy, _ request: CopyRequest) {
    lastSerial += 1
    unfinished += 1
    let task = CopyTask(copy, request, serial: lastSerial)
    let index = freeTasks.popLast() ?? tasks.count
    if index == tasks.count { tasks.append(task) } else { tasks[index] = task }
    copy.task.store(index, ordering: .relaxed)
    let sides = [request.source].compactMap { $0 } + request.destinations
    for side in sides { task.loads.append(addUser(side.device.key)) }
    queue(task)
  }

  /// Takes the place of a copy in the turn, unless it has one.
  mutating func queue(_ task: CopyTask) {
    guard !task.isQueued else { return }
    task.isQueued = true
    turns.append(task)
  }

  // MARK: Memory

  mutating func attach(_ memory: [TransferMemory]) {
    let change = arenas.replace(by: memory)
    for number in change.detached { driver.detach(number) }
    for (number, memory) in change.attached { driver.attach(memory, as: number) }
    notePages()
  }

  func notePages() {
    shared.pagesFree.store(arenas.free, ordering: .relaxed)
    if arenas.used > shared.pagesPeak.load(ordering: .relaxed) { shared.pagesPeak.store(arenas.used, ordering: .relaxed) }
  }

  private mutating func reshape(_ configuration: Client.Configuration, _ memory: [TransferMemory]?) {
    for index in loads.indices { loads[index]?.accrue(now: now, throttle: self.configuration.throttle) }
    if configuration.rate != self.configuration.rate { rateOpens = now }
    self.configuration = configuration
    if let memory { attach(memory) }
    stuckSince = 0
    for task in tasks { if let task { queue(task) } }
  }

  // MARK: Loads

  private mutating func addUser(_ key: DeviceKey) -> Int {
    if let known = loadOfDevice[key] {
      loads[known]?.users += 1
      return known
    }
    var load = DeviceLoad(key: key, now: now)
    load.users = 1
    let index = loads.firstIndex { $0 == nil } ?? loads.count
    if index == loads.count { loads.append(load) } else { loads[index] = load }
    loadOfDevice[key] = index
    return index
  }

  mutating func removeUser(_ index: Int) {
    loads[index]?.users -= 1
    guard let load = loads[index], load.users == 0 else { return }
    loadOfDevice[load.key] = nil
    loads[index] = nil
  }

  /// Takes down that a device has something to do; the source where `destination` is `nil`.
  mutating func busy(_ task: CopyTask, _ destination: Int?) {
    loads[load(of: destination, task)]?.began(now: now, throttle: configuration.throttle)
  }

  mutating func idle(_ task: CopyTask, _ destination: Int?) {
    let isIdle = loads[load(of: destination, task)]?.ended(now: now, throttle: configuration.throttle) == true
    if isIdle, configuration.throttle < 100 { deviceBecameIdle = true }
  }

  func load(of destination: Int?, _ task: CopyTask) -> Int {
    let sources = task.request.source == nil ? 0 : 1
    return task.loads[destination.map { $0 + sources } ?? 0]
  }
}
