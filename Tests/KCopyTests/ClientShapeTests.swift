import CSystemShims
import FaultKit
import Glibc
import KCopy
import Locking
import Synchronization
import Testing

@Suite("The shape of a client that changes while its copies run")
struct ClientShapeTests {
  /// Copies that follow one another until they are stopped, and whether each of them was complete.
  private final class Traffic: Sendable {
    private let client: Client
    private let source: Device
    private let destination: Device
    private let isStopping = Atomic(false)
    private let rounds = Atomic(0)
    private let failures = Atomic(0)
    private let running = Atomic(0)

    init(_ client: Client, from source: Device, to destination: Device, copies: Int) throws {
      (self.client, self.source, self.destination) = (client, source, destination)
      for index in 0..<copies {
        running.add(1, ordering: .relaxed)
        try next(index)
      }
    }

    private func next(_ index: Int) throws {
      let count = source.size
      try client.copy(from: Region(source), to: [Region(destination, start: UInt64(index) * count, count: count)]) { notification in
        if !notification.isComplete { self.failures.add(1, ordering: .relaxed) }
        self.rounds.add(1, ordering: .relaxed)
        if !self.isStopping.load(ordering: .relaxed), (try? self.next(index)) != nil { return }
        self.running.subtract(1, ordering: .releasing)
      }
    }

    /// Waits until so many more copies have ended.
    func wait(_ more: Int) throws {
      let target = rounds.load(ordering: .relaxed) + more
      try eventually(within: .seconds(30), "copies go on") { rounds.load(ordering: .relaxed) >= target }
    }

    /// Ends it; returns how many copies were not complete.
    func stop() throws -> Int {
      isStopping.store(true, ordering: .relaxed)
      try eventually(within: .seconds(30), "the last copies end") { running.load(ordering: .acquiring) == 0 }
      return failures.load(ordering: .relaxed)
    }
  }

  @Test(
    "Up and down under copies: the data is right, the memory is that of the new shape, and copies go on within it", arguments: transports)
  func resized(_ transport: Client.Transport) async {
    await #expect(processExitsWith: .success) { [isRing = (transport == .ring) as Bool] in
      try withWorkbench { bench in
        let (copies, count) = (6, 1 << 20)
        let bytes = Pattern.bytes(count, seed: 1)
        let source = try bench.openFile("source", bytes, .reading)
        let destination = try bench.openFile("destination", [])
        let client = try bench.client(isRing ? .ring : .threads, pages: 1024, subjob: 256 << 10)
        let traffic = try Traffic(client, from: source, to: destination, copies: copies)
        for pages in [64, 4096, 256, 64, 8192, 100] {
          try traffic.wait(copies)
          try client.update { $0.pages = pages }
          #expect(client.configuration.pages == pages)
          try eventually("only the memory of \(pages) pages is left") { try ClientMemoryTests.transferBytes() == pages * 4096 }
          try traffic.wait(3 * copies)
          #expect(client.pagesFree <= pages)
          #expect(try ClientMemoryTests.transferBytes() == pages * 4096)
        }
        #expect(try traffic.stop() == 0)
        #expect(client.pagesFree == 100 && client.pagesPeak <= 8192)
        let found = try Files.read(bench.memory + "/destination")
        try #require(found.count == copies * count)
        for index in 0..<copies { #expect(Pattern.difference(Array(found[index * count..<(index + 1) * count]), from: bytes) == nil) }
      }
    }
  }

  @Test("Fewer pages than are in use: nothing starts before they are given back, and then the old memory goes", arguments: transports)
  func shrunkInUse(_ transport: Client.Transport) async {
    await #expect(processExitsWith: .success) { [isRing = (transport == .ring) as Bool] in
      try withWorkbench { bench in
        let bytes = Pattern.bytes(1 << 20, seed: 1)
        let source = try bench.openFile("source", bytes, .reading)
        let fault = try bench.faultDevice(size: 1 << 20)
        let hung = try bench.open(fault.path)
        let other = try bench.openFile("other", [])
        let client = try bench.client(isRing ? .ring : .threads, pages: 1024, subjob: 64 << 10, slots: 8)
        let (first, second) = (Notified(), Notified())
        try fault.holding(.write) {
          try client.copy(from: Region(source), to: [Region(hung)], notify: first.handler)
          try eventually("all slots are in use") { client.pagesFree == 1024 - 8 * 16 }
          try client.update { $0.pages = 32 }
          try eventually("the new bound holds") { client.pagesFree == 0 }
          let copy = try client.copy(from: Region(source), to: [Region(other, start: 0, count: 1 << 20)], notify: second.handler)
          pause(.milliseconds(150))
          #expect(copy.progress.startedAt == 0 && second.all.isEmpty && client.pagesPeak == 8 * 16)
          #expect(try ClientMemoryTests.transferBytes() == (1024 + 32) * 4096)
          try client.update { $0.pages = 512 }
          #expect(try second.wait()[0].isComplete, "with room again it starts")
          #expect(first.all.isEmpty && client.pagesPeak <= 512)
          try client.update { $0.pages = 32 }
        }
        #expect(try first.wait()[0].isComplete)
        try eventually("the old memories are gone") { try ClientMemoryTests.transferBytes() == 32 * 4096 }
        #expect(client.pagesFree == 32)
        #expect(Pattern.difference(try fault.loop.contents(), from: bytes) == nil)
        #expect(Pattern.difference(try Files.read(bench.memory + "/other"), from: bytes) == nil)
      }
    }
  }

  @Test("A shape that is refused changes nothing, and copies go on", arguments: transports)
  func refused(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Pattern.bytes(1 << 20, seed: 1), .reading)
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(transport, pages: 256, subjob: 256 << 10)
      let before = client.configuration
      let refusals: [(String, @Sendable (inout Client.Configuration) -> Void)] = [
        ("EINVAL", { $0.pages = 63 }), ("EINVAL", { $0.pages = 0 }), ("EINVAL", { $0.subjob = 2 << 20 }), ("EINVAL", { $0.subjob = 5000 }),
        ("EINVAL", { $0.slots = 0 }), ("EINVAL", { $0.throttle = 0 }), ("EINVAL", { $0.throttle = 101 }), ("EINVAL", { $0.rate = 0 }),
        ("ENOMEM", { $0.pages = 1 << 40 }), ("ENOMEM", { $0.pages = Int.max }), ("EINVAL", { ($0.slots, $0.pages) = (0, 1 << 40) }),
      ]
      for (name, change) in refusals {
        #expect(try refusal { try client.update(change) } == name)
        #expect(client.configuration == before && client.pagesFree == 256)
      }
      #expect(try copyAndWait(client, from: Region(source), to: [Region(destination, start: 0, count: 1 << 20)]).isComplete)
      #expect(client.pagesPeak <= 256)
    }
  }

  @Test("Sub-jobs and slots change for a copy that runs", arguments: transports)
  func subJobs(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(1 << 20, seed: 1)
      let source = try bench.openFile("source", bytes, .reading)
      let fault = try bench.faultDevice(size: 1 << 20)
      let client = try bench.client(transport, subjob: 128 << 10, slots: 1)
      let to = Region(try bench.open(fault.path))
      let notified = Notified()
      try fault.holding(.write) {
        try client.copy(from: Region(source), to: [to], notify: notified.handler)
        try fault.awaitRequest(.write)
        try client.update { ($0.subjob, $0.slots) = (32 << 10, 4) }
        try eventually("four slots are in use") { client.bytesRead == (128 + 3 * 32) << 10 }
      }
      #expect(try notified.wait()[0].isComplete)
      #expect(client.pagesPeak == 32 + 3 * 8, "never more than one large and three small ones")
      #expect(Pattern.difference(try fault.loop.contents(), from: bytes) == nil)
    }
  }

  @Test("Destroy from a notification: the thread ends, and the memory goes", arguments: transports)
  func destroyedFromNotification(_ transport: Client.Transport) async {
    await #expect(processExitsWith: .success) { [isRing = (transport == .ring) as Bool] in
      try withWorkbench { bench in
        let source = try bench.openFile("source", Pattern.bytes(1 << 20, seed: 1), .reading)
        let destination = try bench.openFile("destination", [])
        var configuration = Client.Configuration()
        configuration.transport = isRing ? .ring : .threads
        let notified = Notified()
        do {
          let client = try Client(configuration)
          let prepared = try client.prepareNotification(notified.handler)
          try client.copy(from: Region(source), to: [Region(destination, start: 0, count: 1 << 20)]) { [client] notification in
            client.destroy()
            notified.handler(notification)
            // What was prepared before holds the client until it is fired.
            prepared.fire()
          }
        }
        #expect(try notified.wait(2).allSatisfy(\.isComplete))
        try eventually("its memory is gone") { try ClientMemoryTests.transferBytes() == 0 }
        try eventually("its thread is gone") {
          try Files.names(in: "/proc/self/task").allSatisfy { (try? Files.text("/proc/self/task/\($0)/comm")) != "kcopy-client\n" }
        }
      }
    }
  }
}
