import CSystemShims
import FaultKit
import Locking
import Testing

@testable import KCopy

@Suite("The flushes of a device")
struct FlushTrainTests {
  @Test("Who boards first drives, the others ride, and who boards after the departure waits for the next")
  func train() {
    let train = FlushTrain()
    let answers = Locked<[String]>([])
    func passenger(_ name: String) -> FlushTrain.Passenger { { result in answers.withLock { $0.append("\(name)\(result)") } } }
    #expect(train.board(passenger("a")), "somebody has to drive")
    #expect(!train.board(passenger("b")))
    let first = train.depart()
    #expect(first?.count == 2)
    #expect(!train.board(passenger("c")), "it is driven already")
    for passenger in first ?? [] { passenger(5) }
    #expect(answers.withLock { $0 } == ["a5", "b5"], "the failure is not told to who boarded later")
    for passenger in train.depart() ?? [] { passenger(0) }
    #expect(answers.withLock { $0 } == ["a5", "b5", "c0"])
    #expect(train.depart() == nil)
    #expect(train.board(passenger("d")), "after the end of the drive somebody has to drive again")
  }

  /// Sets the faults of a device from a passenger's closure.
  struct FaultSwitch: @unchecked Sendable {
    // It only replaces a file.
    let fault: FaultDevice

    func set(_ faults: [FaultDevice.Fault]) -> Int32 { (try? fault.setFaults(faults)) == nil ? -1 : 0 }
  }

  /// A device with faults, a small source, and a client.
  static func setUp(
    _ bench: Workbench, _ transport: Client.Transport
  ) throws -> (fault: FaultDevice, device: Device, source: Device, client: Client) {
    let source = try bench.openFile("source", Pattern.bytes(4096, seed: 1), .reading)
    let fault = try bench.faultDevice(size: 1 << 20)
    let device = try bench.open(fault.path)
    return (fault, device, source, try bench.client(transport))
  }

  static func region(_ device: Device, _ index: Int) -> Region { Region(device, start: UInt64(index) << 12, count: 4096) }

  /// Keeps the flush of a device in flight until `body` returns or throws: by a passenger that does not get off.
  ///
  /// Not by a gate at the device: the loop driver holds writes behind a flush.
  static func holding(_ device: Device, _ passenger: @escaping FlushTrain.Passenger = { _ in }, _ body: () throws -> Void) throws {
    let (arrived, gate) = (Semaphore(), Semaphore())
    device.flush { result in
      passenger(result)
      arrived.signal()
      gate.wait()
    }
    defer { gate.signal() }
    guard arrived.wait(until: kcs_monotonic() + 30_000_000_000) else { throw Missing("a flush that ends") }
    try body()
  }

  @Test("Copies that end while a flush is in flight ride one next flush", arguments: transports)
  func rides(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let (fault, device, source, client) = try Self.setUp(bench, transport)
      let before = try fault.count(.flush)
      let notified = Notified()
      try Self.holding(device) {
        let copies = try (0..<12).map { try client.copy(from: Region(source), to: [Self.region(device, $0)], notify: notified.handler) }
        try eventually("all of them wait for a flush") { copies.allSatisfy { $0.progress.phase == .flush } }
        #expect(notified.all.isEmpty)
      }
      #expect(try notified.wait(12).allSatisfy { $0.isComplete && $0.progress.bytesDurable == 4096 })
      #expect(try fault.count(.flush) - before == 2)
    }
  }

  @Test("Flushes that fail fail every copy that they cover, after it has written again, and none that boarded later", arguments: transports)
  func failure(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let (fault, device, source, client) = try Self.setUp(bench, transport)
      let before = try fault.count(.flush)
      let (covered, later) = (Notified(), Notified())
      let results = Locked<[Int32]>([])
      let passenger: FlushTrain.Passenger = { result in results.withLock { $0.append(result) } }
      try Self.holding(device, passenger) {
        let copies = try (0..<6).map { try client.copy(from: Region(source), to: [Self.region(device, $0)], notify: covered.handler) }
        try eventually("all of them wait for a flush") { copies.allSatisfy { $0.progress.phase == .flush } }
        try fault.setFaults([.flush])
      }
      for notification in try covered.wait(6) {
        #expect(notification.progress.writeErrors == 1 && notification.progress.bytesDurable == 0)
        #expect(notification.progress.firstError?.step == .flush && notification.progress.destinations[0].state == .failed)
      }
      #expect(results.withLock { $0 } == [0], "who rode the one before")
      let failed = try fault.count(.flush)
      #expect(failed - before >= 3, "one more after all was written again")

      try fault.setFaults([])
      try client.copy(from: Region(source), to: [Self.region(device, 0)], notify: later.handler)
      #expect(try later.wait()[0].isComplete)
      #expect(try fault.count(.flush) - failed == 1)
    }
  }

  @Test("The result of a flush goes to those who waited for it, whatever became of the one before")
  func results() throws {
    try withWorkbench { bench in
      let (fault, device, _, _) = try Self.setUp(bench, .threads)
      let results = Locked<[Int32]>([])
      let answered = Semaphore()
      let before = try fault.count(.flush)
      try fault.setFaults([.flush])
      try fault.holding(.flush) {
        // A passenger runs on the device's thread: what it does comes before the next flush.
        let faults = FaultSwitch(fault: fault)
        let cure = try Deputy { results.withLock { $0.append(faults.set([])) } }
        device.flush { result in
          results.withLock { $0.append(result) }
          cure.act()
          answered.signal()
        }
        try fault.awaitRequest(.flush, after: before)
        for _ in 0..<4 {
          device.flush { result in
            results.withLock { $0.append(result) }
            answered.signal()
          }
        }
      }
      for _ in 0..<5 { #expect(answered.wait(until: kcs_monotonic() + 30_000_000_000)) }
      #expect(results.withLock { $0 } == [5, 0, 0, 0, 0, 0])
      #expect(try fault.count(.flush) - before == 2)
    }
  }

  @Test("A copy that wrote before a flush that failed is not done by a later one: it writes again first", arguments: transports)
  func missedFlush(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let (fault, device, _, client) = try Self.setUp(bench, transport)
      let source = try bench.openFile("longer", Pattern.bytes(8192, seed: 2), .reading)
      let notified = Notified()
      var options = CopyOptions()
      // After its first block the copy waits for its rate, and not for its flush.
      options.rate = 1
      let region = Region(device, start: 0, count: 8192)
      let copy = try client.copy(from: Region(source, start: 0, count: 8192), to: [region], options: options, notify: notified.handler)
      try eventually("the first block is written") { copy.progress.bytesDone == 4096 }
      try fault.setFaults([.flush])
      let failed = try copyAndWait(client, from: Region(source, start: 0, count: 4096), to: [Self.region(device, 2)])
      #expect(failed.progress.writeErrors == 1)
      try fault.setFaults([])
      let written = client.bytesWritten
      copy.setRate(nil)
      let progress = try notified.wait()[0].progress
      #expect(progress.writeErrors == 0 && progress.destinations[0].state == .done && progress.bytesDurable == 8192)
      #expect(client.bytesWritten == written + 4096 + 8192, "what the first flush lost, the second one does not know of")
      #expect(copy.progress == progress)
    }
  }
}
