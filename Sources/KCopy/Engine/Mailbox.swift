internal import Locking
internal import URing

/// What others ask of a client's thread.
enum Command: Sendable {
  case start(Copy, CopyRequest)
  case change(Copy, CopyChange)
  /// Another shape; with it the memory, when the number of pages changes.
  case reshape(Client.Configuration, [TransferMemory]?)
  /// A notification was prepared, and will be fired.
  case prepare(PreparedNotification)
  case fire(PreparedNotification, Notification)
  case drain(@Sendable () -> Void)
  /// A flush of a destination came back: 0 or its errno.
  case flushed(task: Int, destination: Int, result: Int32)
  /// A device has zeroed a range by itself, or not: 0 or its errno.
  case zeroed(token: UInt64, count: Int, result: Int32)
  /// Where a source has holes, as far as `end`; bytes of the device.
  case foundHoles(task: Int, holes: [Range<UInt64>], end: UInt64)
}

extension Command {
  /// Whether it gives the client something to do, which a closed one doesn't take.
  fileprivate var isNew: Bool {
    switch self {
    case .start, .prepare, .drain: true
    default: false
    }
  }
}

/// What can be changed of a copy that runs.
enum CopyChange: Sendable {
  case cancel, suspend, pause, resume
  case rate(UInt64?)
  case priority(Int)
}

/// The only way into a client's thread: commands in order, and a wake-up for a thread that sleeps.
///
/// A thread that is awake is not woken: it looks here before it sleeps.
final class Mailbox: Sendable {
  private struct State {
    var commands: [Command] = []
    var isAsleep = false
    var isClosed = false
  }

  /// What the thread finds when it looks.
  struct Post: Sendable {
    var commands: [Command]
    var isClosed: Bool
  }

  private let state = Locked(State())
  let wakeUp: WakeUp

  init() throws(DeviceError) { wakeUp = try WakeUp() }

  /// Leaves a command.
  ///
  /// - Returns: whether it will be looked at: after `close` no new copy is taken.
  @discardableResult
  func post(_ command: Command) -> Bool {
    let (taken, wakes) = state.withLock { state in
      if state.isClosed, command.isNew { return (false, false) }
      state.commands.append(command)
      defer { state.isAsleep = false }
      return (true, state.isAsleep)
    }
    if wakes { wakeUp.signal() }
    return taken
  }

  /// Takes no more copies; returns whether it did until now.
  func close() -> Bool {
    let (wasOpen, wakes) = state.withLock { state in
      defer {
        state.isClosed = true
        state.isAsleep = false
      }
      return (!state.isClosed, state.isAsleep)
    }
    if wakes { wakeUp.signal() }
    return wasOpen
  }

  /// The thread is awake again, and looks here before it sleeps: what it gives itself needs no signal.
  func wokeUp() { state.withLock { $0.isAsleep = false } }

  /// What has come since the last look.  With nothing there, and `orSleep`, the thread counts as asleep from now on: the
  /// next command signals the wake-up.
  func take(orSleep: Bool) -> Post {
    state.withLock { state in
      defer { state.commands = [] }
      state.isAsleep = orSleep && state.commands.isEmpty
      return Post(commands: state.commands, isClosed: state.isClosed)
    }
  }
}
