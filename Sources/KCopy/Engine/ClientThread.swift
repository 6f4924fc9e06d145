internal import URing

/// What a client's thread does: makes its transport, for a ring belongs to the thread that made it, gives up its rights, and serves.
///
/// In this order: root may make a ring where others may not (`kernel.io_uring_disabled`), and whether the memory that it registers
/// counts against the limit of locked memory is settled when it is made, for that of later shapes too.
enum ClientThread {
  static func run(_ configuration: Client.Configuration, mailbox: Mailbox, shared: ClientShared) {
    do throws(DeviceError) {
      let transfers = try ThreadTransfers(wakeUp: mailbox.wakeUp)
      if configuration.transport != .threads {
        do throws(RingError) {
          let driver = try RingDriver(wakeUp: mailbox.wakeUp, transfers)
          serve(driver, .ring, configuration, mailbox: mailbox, shared: shared)
          return
        } catch {
          guard configuration.transport == nil else { throw DeviceError(errno: error.errno, call: "\(error.call)") }
        }
      }
      let driver = ThreadDriver(wakeUp: mailbox.wakeUp, transfers)
      serve(driver, .threads, configuration, mailbox: mailbox, shared: shared)
    } catch {
      shared.start(.threads, error: error)
    }
  }

  private static func serve<Driver: TransferDriver & ~Copyable>(
    _ driver: consuming Driver, _ transport: Client.Transport, _ configuration: Client.Configuration,
    mailbox: Mailbox, shared: ClientShared
  ) {
    do throws(DeviceError) {
      try ThreadRights.giveUp()
    } catch {
      return shared.start(transport, error: error)
    }
    var engine = Engine(driver: driver, memory: [], mailbox: mailbox, shared: shared, configuration: configuration)
    shared.start(transport, error: nil)
    engine.run()
  }
}
