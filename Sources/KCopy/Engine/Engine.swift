internal import Synchronization
internal import URing

/// The copies of one client: cuts them into sub-jobs, moves those through the pages, and ends each copy once.
///
/// It belongs to one thread.  Completions and commands change its state; `pump` then starts what there is room for, and
/// notifications run last, from a list, so that they may ask for anything.
struct Engine<Driver: TransferDriver & ~Copyable>: ~Copyable {
  var driver: Driver
  let memory: TransferMemory
  let mailbox: Mailbox
  let shared: ClientShared
  let configuration: Client.Configuration

  var pool: PagePool
  var subJobs: [SubJob] = []
  var freeSubJobs: [Int] = []
  var tasks: [CopyTask?] = []
  var freeTasks: [Int] = []
  var runningTasks = 0
  /// Copies that have something to start, in turn: one sub-job each, as kcopyd queues them.
  var runnable = TurnQueue()
  /// Transfers that the sub-jobs in flight may have in flight at most.
  var reservedTransfers = 0
  var ended: [CopyTask] = []

  init(driver: consuming Driver, memory: TransferMemory, mailbox: Mailbox, shared: ClientShared, configuration: Client.Configuration) {
    self.driver = driver
    self.memory = memory
    self.mailbox = mailbox
    self.shared = shared
    self.configuration = configuration
    pool = PagePool(pages: configuration.pages)
  }

  /// Serves the client until it is closed and its last copy has been notified.
  mutating func run() {
    var completions: [Completion] = []
    completions.reserveCapacity(driver.capacity)
    while true {
      let post = mailbox.take(orSleep: true)
      for command in post.commands { obey(command) }
      settle()
      if post.isClosed, post.commands.isEmpty, runningTasks == 0 { return }
      driver.advance(blocking: post.commands.isEmpty, into: &completions)
      for completion in completions { complete(completion) }
      completions.removeAll(keepingCapacity: true)
      settle()
    }
  }

  private mutating func settle() {
    pump()
    while !ended.isEmpty {
      let batch = ended
      ended = []
      for task in batch {
        let progress = task.copy.progress
        task.request.notify(Notification(wasCancelled: task.isCancelled, progress: progress, maps: progress.destinations.indices.map(task.copy.map)))
      }
    }
  }

  private mutating func obey(_ command: Command) {
    switch command {
    case .start(let copy, let request): start(CopyTask(copy, request))
    case .change(let copy, .cancel): cancel(copy)
    case .fire(let notification, let notify): notify(notification)
    case .drain(let done): done()
    case .change, .reshape, .prepare: break
    case .flushed(let task, let destination, let result): flushed(task, destination, result)
    }
  }

  private mutating func start(_ task: CopyTask) {
    let index = freeTasks.popLast() ?? tasks.count
    if index == tasks.count { tasks.append(task) } else { tasks[index] = task }
    runningTasks += 1
    task.copy.task.store(index, ordering: .relaxed)
    queue(task)
  }

  private mutating func cancel(_ copy: Copy) {
    let index = copy.task.load(ordering: .relaxed)
    guard index >= 0, let task = tasks[index], task.copy === copy, !task.isCancelled else { return }
    task.isCancelled = true
    copy.publish { $0.phase = .cancelling }
    endIfIdle(task)
  }

  /// Takes the place of a copy in the turn, unless it has one.
  mutating func queue(_ task: CopyTask) {
    guard !task.isRunnable else { return }
    task.isRunnable = true
    runnable.append(task)
  }
}

/// Who is next: first in, first out, without moving the others at each turn.
struct TurnQueue {
  private var tasks: [CopyTask] = []
  private var head = 0

  var first: CopyTask? { head < tasks.count ? tasks[head] : nil }

  mutating func append(_ task: CopyTask) { tasks.append(task) }

  mutating func removeFirst() {
    head += 1
    if head == tasks.count || head > 4096 {
      tasks.removeFirst(head)
      head = 0
    }
  }
}
