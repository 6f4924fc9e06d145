import CSystemShims
import FaultKit
import KCopy
import Locking
import Synchronization
import Testing

@Suite("The life of a client and its notifications")
struct ClientLifeTests {
  static let bytes = Pattern.bytes(1 << 20, seed: 1)

  @Test("Notifications come one after the other, on one thread, that is none of the caller's", arguments: transports)
  func serial(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.bytes, .reading)
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(transport, pages: 64, subjob: 64 << 10)
      let inside = Atomic(0)
      let threads = Locked<Set<Int32>>([])
      let together = Atomic(0)
      let done = Semaphore()
      for index in 0..<100 {
        try client.copy(
          from: Region(source, start: 0, count: 10_000), to: [Region(destination, start: UInt64(index * 10_000), count: 10_000)]
        ) { _ in
          if inside.add(1, ordering: .sequentiallyConsistent).newValue != 1 { together.add(1, ordering: .relaxed) }
          threads.withLock { _ = $0.insert(kcs_gettid()) }
          pause(.microseconds(200))
          inside.subtract(1, ordering: .sequentiallyConsistent)
          done.signal()
        }
      }
      for _ in 0..<100 { #expect(done.wait(until: kcs_monotonic() + 30_000_000_000)) }
      #expect(together.load(ordering: .relaxed) == 0)
      #expect(threads.withLock { $0.count } == 1)
      #expect(!threads.withLock { $0.contains(kcs_gettid()) })
    }
  }

  @Test("A notification may ask for the next copy", arguments: transports)
  func chained(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.bytes, .reading)
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(transport)
      let notified = Notified()
      let chain = Chain(client, source, destination, notified)
      try chain.next()
      #expect(try notified.wait(16).allSatisfy(\.isComplete))
      #expect(Pattern.difference(try Files.read(bench.memory + "/destination"), from: Self.bytes) == nil)
    }
  }

  /// Copies that each begin the next one.
  private final class Chain: Sendable {
    let client: Client
    let source: Device
    let destination: Device
    let notified: Notified
    private let position = Atomic<UInt64>(0)

    init(_ client: Client, _ source: Device, _ destination: Device, _ notified: Notified) {
      (self.client, self.source, self.destination, self.notified) = (client, source, destination, notified)
    }

    func next() throws {
      let start = position.load(ordering: .relaxed)
      guard start < 1 << 20 else { return }
      position.store(start + 1 << 16, ordering: .relaxed)
      try client.copy(
        from: Region(source, start: start, count: 1 << 16), to: [Region(destination, start: start, count: 1 << 16)]
      ) { notification in
        // One that isn't given leaves the test a notification short.
        try? self.next()
        self.notified.handler(notification)
      }
    }
  }

  @Test("Destroy waits for the copies that the client has, and refuses new ones with ESHUTDOWN meanwhile and after", arguments: transports)
  func destroyWaits(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.bytes, .reading)
      let fault = try bench.faultDevice(size: 1 << 20)
      let destination = try bench.open(fault.path)
      let other = try bench.openFile("other", [])
      let client = try bench.client(transport)
      let notified = Notified()
      let isDestroyed = Atomic(false)
      let destroyed = Semaphore()
      try fault.holding(.write) {
        try client.copy(from: Region(source), to: [Region(destination)], notify: notified.handler)
        try fault.awaitRequest(.write)
        try SystemThread("destroyer") {
          client.destroy()
          isDestroyed.store(true, ordering: .releasing)
          destroyed.signal()
        }.detach()
        try eventually("copies are refused") {
          try refusal { try client.copy(from: Region(source), to: [Region(other, start: 0, count: 1 << 20)]) { _ in } } == "ESHUTDOWN"
        }
        pause(.milliseconds(100))
        #expect(!isDestroyed.load(ordering: .acquiring) && notified.all.isEmpty)
      }
      #expect(destroyed.wait(until: kcs_monotonic() + 30_000_000_000))
      #expect(notified.all.map(\.isComplete) == [true], "the copy was notified before destroy returned")
      #expect(try refusal { try client.copy(from: Region(source), to: [Region(other, start: 0, count: 1 << 20)]) { _ in } } == "ESHUTDOWN")
      client.destroy()
    }
  }

  @Test("Destroy from a notification returns at once, and the copies behind it are still notified", arguments: transports)
  func destroyFromNotification(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.bytes, .reading)
      let destination = try bench.openFile("destination", [])
      var configuration = Client.Configuration()
      configuration.transport = transport
      let client = try Client(configuration)
      let notified = Notified()
      try client.copy(from: Region(source, start: 0, count: 512), to: [Region(destination, start: 0, count: 512)]) { notification in
        client.destroy()
        notified.handler(notification)
      }
      var taken = 1
      for index in 1..<8 {
        let region = Region(destination, start: UInt64(index) << 20, count: 1 << 20)
        let answer = try refusal { try client.copy(from: Region(source), to: [region], notify: notified.handler) }
        #expect(["", "ESHUTDOWN"].contains(answer), "the first may have ended already")
        if answer == "" { taken += 1 }
      }
      #expect(try notified.wait(taken).allSatisfy(\.isComplete))
    }
  }

  @Test(
    "Cancels at random moments over many copies: each is notified once, and what says it is complete is", arguments: transports,
    [1, 2, 3, 4] as [UInt64])
  func cancelStorm(_ transport: Client.Transport, _ seed: UInt64) throws {
    try withWorkbench { bench in
      var random = SeededGenerator(seed: seed)
      let copies = 150
      let count = 200_000
      let source = try bench.openFile("source", Self.bytes, .reading)
      let destinations = try (0..<2).map { try bench.openFile("destination\($0)", []) }
      let client = try bench.client(transport, pages: 40, subjob: 64 << 10, slots: 2)
      let outcomes = Locked<[[KCopy.Notification]]>(Array(repeating: [], count: copies))
      var running: [Copy] = []
      for index in 0..<copies {
        let start = UInt64(index * count)
        running.append(
          try client.copy(
            from: Region(source, start: 0, count: UInt64(count)), to: destinations.map { Region($0, start: start, count: UInt64(count)) }
          ) { notification in outcomes.withLock { $0[index].append(notification) } })
        for _ in 0..<Int.random(in: 0...2, using: &random) { running.randomElement(using: &random)?.cancel() }
        if Int.random(in: 0..<8, using: &random) == 0 { pause(.microseconds(Int.random(in: 0...3000, using: &random))) }
      }
      client.destroy()
      for copy in running { copy.cancel() }
      let expected = Array(Self.bytes[..<count])
      let found = try destinations.indices.map { try Files.read(bench.memory + "/destination\($0)") }
      for (index, notifications) in outcomes.withLock({ $0 }).enumerated() {
        try #require(notifications.count == 1, "copy \(index)")
        let progress = notifications[0].progress
        #expect(progress.writeErrors == 0 && !progress.readError && progress.firstError == nil && progress.phase == .none)
        #expect(running[index].progress == progress, "nothing changes after the notification")
        for (destination, state) in progress.destinations.map(\.state).enumerated() {
          #expect(state == .done || notifications[0].wasCancelled && state == .cancelled)
          guard state == .done else { continue }
          let start = index * count
          #expect(Pattern.difference(Array(found[destination][start..<start + count]), from: expected) == nil, "copy \(index)")
        }
      }
      #expect(client.pagesFree == 40 && client.pagesPeak <= 40)
    }
  }
}
