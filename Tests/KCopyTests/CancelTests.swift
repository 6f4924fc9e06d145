import FaultKit
import KCopy
import Testing

@Suite("A copy that is cancelled")
struct CancelTests {
  static let size = 1 << 20
  static let subjob = 64 << 10
  static let slots = 2

  @Test(
    "While a device hangs it is cancelling; the notification comes when the device has answered, and no write starts after",
    arguments: transports)
  func hungWrite(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Pattern.bytes(Self.size, seed: 1), .reading)
      let fault = try bench.faultDevice(size: Self.size)
      let destination = try bench.open(fault.path)
      let client = try bench.client(transport, subjob: Self.subjob, slots: Self.slots)
      let notified = Notified()
      let flushes = try fault.count(.flush)
      try fault.holding(.write) {
        let copy = try client.copy(from: Region(source), to: [Region(destination)], notify: notified.handler)
        try fault.awaitRequest(.write)
        try eventually("both slots are read") { client.bytesRead == UInt64(Self.slots * Self.subjob) }
        copy.cancel()
        try eventually(within: .seconds(2), "the cancel is taken") { copy.progress.phase == .cancelling }
        copy.cancel()
        pause(.milliseconds(150))
        #expect(notified.all.isEmpty, "writes are in flight")
        #expect(copy.progress.destinations[0].state == .running)
      }
      let notification = try notified.wait()[0]
      #expect(notification.wasCancelled && !notification.isComplete)
      #expect(notification.progress.destinations[0].state == .cancelled)
      #expect(notification.progress.writeErrors == 0 && notification.progress.firstError == nil)
      #expect(notification.progress.bytesDurable == 0)
      client.destroy()
      let written = try fault.requests.filter { $0.kind == .write }.reduce(0) { $0 + $1.bytes }
      #expect(written == Self.slots * Self.subjob, "what was in flight, and nothing more")
      #expect(try fault.count(.flush) == flushes)
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test("While the source hangs, nothing is written after the cancel", arguments: transports)
  func hungRead(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice(size: Self.size)
      let source = try bench.open(fault.path, .reading)
      let disk = try bench.loop(size: Self.size)
      let before = try disk.fill(seed: 2)
      let destination = try bench.open(disk.path)
      let client = try bench.client(transport, subjob: Self.subjob, slots: Self.slots)
      let notified = Notified()
      let written = try disk.counters.bytesWritten
      try fault.holding(.read) {
        let copy = try client.copy(from: Region(source), to: [Region(destination)], notify: notified.handler)
        try fault.awaitRequest(.read)
        copy.cancel()
        try eventually(within: .seconds(2), "the cancel is taken") { copy.progress.phase == .cancelling }
        pause(.milliseconds(100))
        #expect(notified.all.isEmpty)
      }
      #expect(try notified.wait()[0].wasCancelled)
      #expect(try disk.counters.bytesWritten == written)
      #expect(Pattern.difference(try disk.contents(), from: before) == nil)
    }
  }

  @Test("While a flush hangs it waits for it, and what was flushed is done", arguments: transports)
  func hungFlush(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(Self.size, seed: 1)
      let source = try bench.openFile("source", bytes, .reading)
      let fault = try bench.faultDevice(size: Self.size)
      let destination = try bench.open(fault.path)
      let client = try bench.client(transport)
      let notified = Notified()
      try fault.holding(.flush) {
        let copy = try client.copy(from: Region(source), to: [Region(destination)], notify: notified.handler)
        try eventually("it flushes") { copy.progress.phase == .flush }
        #expect(copy.progress.bytesDone == Self.size && copy.progress.bytesDurable == 0)
        copy.cancel()
        try eventually(within: .seconds(2), "the cancel is taken") { copy.progress.phase == .cancelling }
        pause(.milliseconds(100))
        #expect(notified.all.isEmpty)
      }
      let notification = try notified.wait()[0]
      #expect(notification.wasCancelled)
      #expect(notification.progress.destinations[0].state == .done)
      #expect(Pattern.difference(try fault.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("Before its turn it ends at once, while the one before it hangs", arguments: transports)
  func queued(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Pattern.bytes(Self.size, seed: 1), .reading)
      let fault = try bench.faultDevice(size: Self.size)
      let destination = try bench.open(fault.path)
      let other = try bench.openFile("other", [])
      let client = try bench.client(transport, pages: 16, subjob: Self.subjob)
      let (first, second) = (Notified(), Notified())
      try fault.holding(.write) {
        try client.copy(from: Region(source), to: [Region(destination)], notify: first.handler)
        try fault.awaitRequest(.write)
        let copy = try client.copy(from: Region(source), to: [Region(other, start: 0, count: 1 << 20)], notify: second.handler)
        copy.cancel()
        let notification = try second.wait()[0]
        #expect(notification.wasCancelled && notification.progress.startedAt == 0)
        #expect(notification.progress.destinations[0].state == .cancelled && notification.progress.destinations[0].bytesDone == 0)
        #expect(first.all.isEmpty)
      }
      #expect(try first.wait()[0].isComplete)
      #expect(try Files.read(bench.memory + "/other").isEmpty)
    }
  }

  @Test("After its notification a cancel changes nothing", arguments: transports)
  func tooLate(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Pattern.bytes(Self.size, seed: 1), .reading)
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(transport)
      let notified = Notified()
      let region = Region(destination, start: 0, count: source.size)
      let copy = try client.copy(from: Region(source), to: [region], notify: notified.handler)
      let notification = try notified.wait()[0]
      copy.cancel()
      #expect(try copyAndWait(client, from: Region(source), to: [region]).isComplete, "the next copy has its place")
      #expect(notified.all.count == 1 && copy.progress == notification.progress)
    }
  }
}
