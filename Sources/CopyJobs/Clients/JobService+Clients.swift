internal import Admission
internal import Glibc
internal import Journal
internal import Locking

/// What is asked of `clients/`.  All of it can take a while, memory for one, and so is done on the threads of admission.
extension JobService {
  /// Who asks.
  public struct Asker: Sendable {
    public var uid: UInt32
    public var gid: UInt32
    /// A thread, as requests carry it.
    public var pid: Int32

    public init(uid: UInt32, gid: UInt32, pid: Int32) {
      self.uid = uid
      self.gid = gid
      self.pid = pid
    }
  }

  /// The process that a thread belongs to; `nil` when it cannot be seen.
  public static func process(ofThread pid: Int32) -> Int32? { Caller.process(ofThread: pid) }

  /// Makes a client that belongs to who asks; answers with its number.
  public func makeClient(_ name: String, permissions: UInt32, for asker: Asker, reply: any SubmissionReply) {
    let place = "clients/\(Words.printable(name.utf8))"
    perform(place, [], for: asker, reply) {
      // From here on it is made, or not, without a way back.
      guard reply.claim() else { return }
      let result = self.attempt(place, [], for: asker) { () throws(Refusal) in
        let client = try self.clients.make(name, uid: asker.uid, gid: asker.gid, permissions: permissions)
        self.journal.write(.putClient(client.row))
        return Int(client.number)
      }
      reply.answer(result)
    }
  }

  /// Removes a client; answers with 0 when its memory is released, or at the deadline: it is removed even so.
  public func removeClient(_ name: String, for asker: Asker, reply: any SubmissionReply) {
    let place = "clients/\(Words.printable(name.utf8))"
    let isRemoved = Locked(false)
    perform(place, [], for: asker, reply) {
      let result = self.attempt(place, [], for: asker) { () throws(Refusal) in
        let client = try self.clients.unlist(name)
        self.journal.write(.removeClient(name))
        isRemoved.withLock { $0 = true }
        self.clients.destroy(client)
        return 0
      }
      if reply.claim() { reply.answer(result) }
    } late: { refusal throws(Refusal) in
      guard isRemoved.withLock({ $0 }) else { throw refusal }
      return 0
    }
  }

  /// Sets one value of a client to what was written, a line with or without its newline; answers with `count`.
  ///
  /// Whoever could open the file may set it.  After a signal or the deadline the value is what it was.
  public func set(
    _ parameter: ClientParameter, of client: CopyClient, to line: [UInt8], count: Int, for asker: Asker, reply: any SubmissionReply
  ) {
    let place = "clients/\(client.name)/\(parameter.rawValue)"
    perform(place, line, for: asker, reply) {
      var isClaimed = false
      let result = self.attempt(place, line, for: asker) { () throws(Refusal) in
        try client.change(ClientSetting(parameter, line)) {
          isClaimed = reply.claim()
          return isClaimed
        }
        self.journal.write(.putClient(client.row))
        return count
      }
      if isClaimed || reply.claim() { reply.answer(result) }
    }
  }

  /// Does the body, or takes down that it could not be begun or ended in time.
  ///
  /// - Parameter late: the answer at the deadline, if the refusal that it is given isn't.
  private func perform(
    _ place: String, _ line: [UInt8], for asker: Asker, _ reply: any SubmissionReply, _ body: @escaping @Sendable () -> Void,
    late: @escaping @Sendable (Refusal) throws(Refusal) -> Int = { (refusal) throws(Refusal) in throw refusal }
  ) {
    let fail: @Sendable (Refusal) -> Void = { refusal in
      guard reply.claim() else { return }
      reply.answer(self.attempt(place, line, for: asker) { () throws(Refusal) in try late(refusal) })
    }
    if isStopping { return fail(Refusal(errno: ESHUTDOWN, column: 0, text: "the daemon is stopping")) }
    threads.perform(for: asker.uid, body) { fail(Refusal(errno: ETIMEDOUT, column: 0, text: "it could not be done in time")) }
  }

  /// Runs the body; a refusal stands in `errors` before anybody hears of it.
  private func attempt(
    _ place: String, _ line: [UInt8], for asker: Asker, _ body: () throws(Refusal) -> Int
  ) -> Result<Int, Refusal> {
    do throws(Refusal) {
      return .success(try body())
    } catch {
      var refusal = error
      refusal.text = "\(place): \(error.text)"
      let process = Caller.process(ofThread: asker.pid) ?? asker.pid
      refusals.add(refusal, record: line, job: nil, uid: asker.uid, pid: process)
      return .failure(refusal)
    }
  }
}
