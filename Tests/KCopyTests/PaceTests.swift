import CSystemShims
import FaultKit
import KCopy
import Locking
import Synchronization
import Testing

@Suite("How much of a device a client takes, and whose turn it is")
struct PaceTests {
  // MARK: Throttle

  @Test(
    "Throttled to 10 the devices are busy a tenth of the time, by the block layer's own clock", arguments: zip(transports, [true, false]))
  func throttled(_ transport: Client.Transport, _ slowsSource: Bool) throws {
    try withWorkbench { bench in
      let size = 4 << 20
      let fault = try bench.faultDevice(size: size)
      let disk = try bench.loop(size: size)
      let from = Region(try bench.open(slowsSource ? fault.path : disk.path, .reading))
      let to = Region(try bench.open(slowsSource ? disk.path : fault.path))
      let client = try bench.client(transport, subjob: 64 << 10, slots: 2)
      try client.update { $0.throttle = 10 }
      // Much longer than what a machine with too much to do adds to a transfer, and than a tick of the clock.
      try fault.setDelay(0.03)
      let notified = Notified()
      let copy = try client.copy(from: from, to: [to], notify: notified.handler)
      try eventually("it has begun") { client.bytesWritten > 0 }
      // A machine that stops for a moment within a transfer makes the device busy for so long: then another window tells.
      var shares: [Double] = []
      let moved = client.bytesWritten
      for _ in 0..<4 where shares.last.map({ (8...12).contains($0) }) != true {
        let (begin, busy) = (kcs_monotonic(), try fault.loop.counters.busy)
        pause(.milliseconds(3500))
        let elapsed = Double(kcs_monotonic() - begin) / 1e6
        shares.append(Double(try fault.loop.counters.busy - busy) / elapsed * 100)
      }
      #expect((8...12).contains(shares.last ?? 0), "busy \(shares) % of the time")
      #expect(client.bytesWritten > moved && notified.all.isEmpty, "it goes on")
      try fault.setDelay(0)
      try client.update { $0.throttle = 100 }
      #expect(try notified.wait()[0].isComplete && copy.progress.bytesDone == size)
    }
  }

  @Test("A throttled client that waits takes no time: notifications come, cancels are taken, copies of others run", arguments: transports)
  func whileThrottled(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let size = 1 << 20
      let source = try bench.openFile("source", Pattern.bytes(size, seed: 1), .reading)
      let fault = try bench.faultDevice(size: size)
      let good = try bench.loop(size: size)
      let to = Region(try bench.open(fault.path))
      let other = Region(try bench.open(good.path))
      let client = try bench.client(transport, subjob: 64 << 10, slots: 1)
      try client.update { $0.throttle = 1 }
      // After a transfer of a fifth of a second its devices are left alone for twenty.
      try fault.setDelay(0.2)
      let (slow, notified) = (Notified(), Notified())
      let copy = try client.copy(from: Region(source), to: [to], notify: slow.handler)
      try eventually("a first piece was written") { client.bytesWritten == 64 << 10 }
      let requests = try fault.requests.count
      for _ in 0..<10 { try client.prepareNotification(notified.handler).fire() }
      #expect(try notified.wait(10, within: 10).allSatisfy(\.isComplete))
      let another = try bench.client(transport)
      #expect(try copyAndWait(another, from: Region(source), to: [other]).isComplete)
      copy.cancel()
      #expect(try slow.wait(within: 10)[0].wasCancelled)
      #expect(try fault.requests.count == requests && client.bytesRead <= 2 * 64 << 10, "the device was left alone meanwhile")
    }
  }

  // MARK: Rate

  @Test("A copy, and all copies of a client, take as long as their rate says; a rate that is lifted holds no longer", arguments: transports)
  func rate(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let size = 1 << 20
      let bytes = Pattern.bytes(size, seed: 1)
      let source = try bench.openFile("source", bytes, .reading)
      let disks = try (0..<2).map { _ in try bench.loop(size: size) }
      let to = try disks.map { Region(try bench.open($0.path)) }
      let client = try bench.client(transport, subjob: 64 << 10)
      func seconds(_ body: () throws -> Void) throws -> Double {
        let begin = kcs_monotonic()
        try body()
        return Double(kcs_monotonic() - begin) / 1e9
      }
      // The last piece starts when all before it are paid for, and 20 ms can be caught up.
      let notified = Notified()
      var options = CopyOptions()
      options.rate = 2 << 20
      let own = try seconds {
        try client.copy(from: Region(source), to: [to[0]], options: options, notify: notified.handler)
        try notified.wait()
      }
      #expect(own > 0.44, "\(own) s")

      try client.update { $0.rate = 4 << 20 }
      let shared = try seconds {
        for region in to { try client.copy(from: Region(source), to: [region], notify: notified.handler) }
        try notified.wait(2)
      }
      #expect(notified.all.count == 3 && notified.all.allSatisfy(\.isComplete))
      #expect(shared > 0.44, "\(shared) s")

      try client.update { $0.rate = nil }
      options.rate = 4096
      let slow = Notified()
      let copy = try client.copy(from: Region(source), to: [to[0]], options: options, notify: slow.handler)
      try eventually("it has begun") { copy.progress.bytesDone > 0 }
      #expect(copy.progress.bytesDone <= 64 << 10)
      copy.setRate(nil)
      #expect(try slow.wait(within: 30)[0].isComplete)
      #expect(Pattern.difference(try disks[0].contents(), from: bytes) == nil)
    }
  }

  // MARK: Turns

  @Test("Of copies that wait for pages the lowest priority number is first, also when it changes while they wait", arguments: transports)
  func priority(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let count = 64 << 10
      let source = try bench.openFile("source", Pattern.bytes(count, seed: 1), .reading)
      let fault = try bench.faultDevice(size: 1 << 20)
      let device = try bench.open(fault.path)
      let client = try bench.client(transport, pages: 16, subjob: count)
      let order = Locked<[Int]>([])
      let done = Semaphore()
      try fault.holding(.write) {
        var copies: [Copy] = []
        for (index, priority) in [5, 9, 3, 0, 9, 5].enumerated() {
          var options = CopyOptions()
          options.priority = priority
          options.flushes = false
          let region = Region(device, start: UInt64(index * count), count: UInt64(count))
          copies.append(
            try client.copy(from: Region(source), to: [region], options: options) { _ in
              order.withLock { $0.append(index) }
              done.signal()
            })
          // The first has the pages before the others are there.
          if index == 0 { try fault.awaitRequest(.write) }
        }
        copies[4].setPriority(1)
      }
      for _ in 0..<6 { #expect(done.wait(until: kcs_monotonic() + 30_000_000_000)) }
      #expect(order.withLock { $0 } == [0, 3, 4, 2, 5, 1])
    }
  }

  @Test(
    "A client with 10,000 copies doesn't starve one with a single one on the same device, nor a copy of its own that goes first",
    arguments: transports)
  func fairness(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let (jobs, count) = (10_000, 4096)
      let source = try bench.openFile("source", Pattern.bytes(1 << 20, seed: 1), .reading)
      let fault = try bench.faultDevice(size: 4 << 20)
      let device = try bench.open(fault.path)
      let other = try bench.openFile("other", [])
      let busy = try bench.client(transport, pages: 256, subjob: 64 << 10)
      let single = try bench.client(transport, pages: 256, subjob: 64 << 10)
      let ended = Atomic(0)
      var copies: [Copy] = []
      for index in 0..<jobs {
        // None beside one another, or the block layer makes one request of many.
        let start = UInt64(index % 256 * 2 * count)
        copies.append(
          try busy.copy(
            from: Region(source, start: start / 2, count: UInt64(count)), to: [Region(device, start: start, count: UInt64(count))]
          ) { _ in ended.add(1, ordering: .releasing) })
      }
      let end = Region(device, start: 3 << 20, count: 256 << 10)
      #expect(try copyAndWait(single, from: Region(source, start: 0, count: 256 << 10), to: [end]).isComplete)
      #expect(ended.load(ordering: .acquiring) < jobs / 2, "most of the others are not done")
      // The priority decides within a client, however many wait.
      var options = CopyOptions()
      options.priority = 0
      let notified = Notified()
      try busy.copy(from: Region(source), to: [Region(other, start: 0, count: 1 << 20)], options: options, notify: notified.handler)
      #expect(try notified.wait()[0].isComplete)
      #expect(ended.load(ordering: .acquiring) < jobs / 2)
      for copy in copies { copy.cancel() }
      busy.destroy()
      #expect(ended.load(ordering: .acquiring) == jobs, "each was notified")
    }
  }
}
