/// One transfer that ended: who asked for it, and the count of bytes or the negative errno.
struct Completion {
  let token: UInt64
  let result: Int64
}

/// What moves bytes between files and the client's memory, for one thread.
///
/// The engine gives a driver transfers and takes their completions; which order those come in is the driver's business.
/// Everything else, short transfers and errors too, is the engine's, so that two drivers give the same results.
protocol TransferDriver: ~Copyable {
  /// How many transfers may be in flight at once.
  var capacity: Int { get }

  mutating func read(_ descriptor: Int32, at position: UInt64, into offset: Int, count: Int, token: UInt64)
  mutating func write(_ descriptor: Int32, at position: UInt64, from offset: Int, count: Int, token: UInt64)

  /// Starts what was given, and appends what has completed.  With `blocking` it returns when there is a completion, or
  /// when the mailbox woke it.
  mutating func advance(blocking: Bool, into completions: inout [Completion])
}
