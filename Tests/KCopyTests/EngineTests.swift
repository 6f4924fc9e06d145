import CSystemShims
import FaultKit
import Glibc
import Locking
import Synchronization
import Testing
import URing

@testable import KCopy

/// The engine on a driver that does what a kernel may do: transfers are short, come back in any order, fail, and are to be
/// tried again.
@Suite("The engine against a fickle driver")
struct EngineTests {
  /// What the driver and its test both see.
  final class Journal: Sendable {
    struct State {
      var mostInFlight = 0
      /// Transfers of a copy that were begun after its cancel had been taken.
      var lateStarts = 0
      var bytesRead = 0
    }
    let state = Locked(State())
    let copies = Locked<[Copy]>([])
  }

  /// Which faults a seed has.
  struct Faults {
    /// One transfer of so many is short; 0: none.
    var short = 3
    var again = 7
    var fail = 0
    var cancel = 0
  }

  struct FickleDriver: TransferDriver, ~Copyable {
    struct Transfer {
      var isRead: Bool
      var device: Device
      var position: UInt64
      var offset: Int
      var count: Int
      var token: UInt64
    }

    var memory: TransferMemory?
    let wakeUp: WakeUp
    let journal: Journal
    let faults: Faults
    let capacity: Int
    var random: SeededGenerator
    var pending: [Transfer] = []

    var now: UInt64 { kcs_monotonic() }
    mutating func attach(_ memory: TransferMemory, as arena: Int) { self.memory = memory }
    mutating func detach(_ arena: Int) { memory = nil }

    mutating func read(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64) {
      take(Transfer(isRead: true, device: device, position: position, offset: place.offset, count: count, token: token))
    }

    mutating func readBack(_ device: Device, at position: UInt64, into place: Place, count: Int, token: UInt64) {
      read(device, at: position, into: place, count: count, token: token)
    }

    mutating func write(_ device: Device, at position: UInt64, from place: Place, count: Int, token: UInt64) {
      take(Transfer(isRead: false, device: device, position: position, offset: place.offset, count: count, token: token))
    }

    mutating func hash(_ digest: RegionDigest, _ place: Place, count: Int, token: UInt64) {}

    private mutating func take(_ transfer: Transfer) {
      pending.append(transfer)
      let inFlight = pending.count
      // With one copy at a time, whatever starts is that copy's.
      let isLate = journal.copies.withLock { $0.count == 1 && $0[0].progress.phase == .cancelling }
      journal.state.withLock {
        $0.mostInFlight = max($0.mostInFlight, inFlight)
        if isLate { $0.lateStarts += 1 }
      }
    }

    mutating func advance(until deadline: UInt64?, into completions: inout [Completion]) {
      if pending.isEmpty {
        if let deadline { wakeUp.wait(until: deadline) } else { wakeUp.wait() }
        return
      }
      if happens(faults.cancel) { journal.copies.withLock { $0 }.randomElement(using: &random)?.cancel() }
      for _ in 0..<Int.random(in: 1...pending.count, using: &random) {
        let transfer = pending.remove(at: Int.random(in: pending.indices, using: &random))
        completions.append(Completion(token: transfer.token, result: perform(transfer)))
      }
    }

    private mutating func happens(_ oneOf: Int) -> Bool { oneOf > 0 && Int.random(in: 0..<oneOf, using: &random) == 0 }

    private mutating func perform(_ transfer: Transfer) -> Int64 {
      if happens(faults.again) { return Int64(Bool.random(using: &random) ? -EINTR : -EAGAIN) }
      if happens(faults.fail) { return Int64([-EIO, -ENOSPC, 0].randomElement(using: &random)!) }
      let count = happens(faults.short) ? Int.random(in: 1...transfer.count, using: &random) : transfer.count
      guard let memory, let local = transfer.device.local else { return Int64(-ENXIO) }
      let descriptor = local.description(at: transfer.position, count: count).descriptor
      guard transfer.isRead else {
        return memory.write(to: descriptor, at: transfer.position, from: transfer.offset, count: count)
      }
      let result = memory.read(from: descriptor, at: transfer.position, into: transfer.offset, count: count)
      journal.state.withLock { $0.bytesRead += Int(result) }
      return result
    }
  }

  static let size = 700_000
  static let bytes = Pattern.bytes(size, seed: 1)

  /// Runs copies of the source to two files on the calling thread, each copy at a place of its own; returns the notifications.
  static func run(
    _ bench: Workbench, seed: UInt64, copies: Int, _ faults: Faults, transfers: Int = 16
  ) throws -> (notifications: [[KCopy.Notification]], shared: ClientShared, journal: Journal) {
    let source = try bench.openFile("source\(seed)", bytes, .reading)
    let destinations = try (0..<2).map { try bench.openFile("destination\($0).\(seed)", []) }
    var configuration = Client.Configuration()
    configuration.pages = 60
    configuration.subjob = 64 << 10
    configuration.slots = 3
    let memory = try #require(TransferMemory(bytes: configuration.pages * PagePool.pageBytes))
    let mailbox = try Mailbox()
    let shared = ClientShared(pages: configuration.pages)
    let journal = Journal()
    let notifications = Locked<[[KCopy.Notification]]>(Array(repeating: [], count: copies))
    for index in 0..<copies {
      let start = UInt64(index * size)
      let request = CopyRequest(
        source: Region(source), destinations: destinations.map { Region($0, start: start, count: UInt64(size)) }, options: CopyOptions()
      ) { notification in notifications.withLock { $0[index].append(notification) } }
      let copy = Copy(request, mailbox: mailbox)
      journal.copies.withLock { $0.append(copy) }
      #expect(mailbox.post(.start(copy, request)))
    }
    _ = mailbox.close()
    let driver = FickleDriver(
      wakeUp: mailbox.wakeUp, journal: journal, faults: faults, capacity: transfers, random: SeededGenerator(seed: seed))
    var engine = Engine(driver: driver, memory: [memory], mailbox: mailbox, shared: shared, configuration: configuration)
    engine.run()
    return (notifications.withLock { $0 }, shared, journal)
  }

  /// Whether a copy's region of a destination holds the source.
  static func isCopied(_ bench: Workbench, _ seed: UInt64, copy: Int, destination: Int) throws -> Bool {
    let found = try Files.read(bench.memory + "/destination\(destination).\(seed)").dropFirst(copy * size).prefix(size)
    return Pattern.difference(Array(found), from: bytes) == nil
  }

  @Test(
    "Short transfers, in any order, and such as are to be tried again give whole copies, read once",
    arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
  func short(_ seed: UInt64) throws {
    try withWorkbench { bench in
      let (notifications, shared, journal) = try Self.run(bench, seed: seed, copies: 3, Faults(), transfers: Int(seed) * 3 - 1)
      #expect(notifications.map(\.count) == [1, 1, 1])
      for (copy, notification) in notifications.joined().enumerated() {
        #expect(notification.isComplete && notification.progress.bytesDurable == Self.size)
        for destination in 0...1 { #expect(try Self.isCopied(bench, seed, copy: copy, destination: destination)) }
      }
      #expect(shared.bytesRead.load(ordering: .relaxed) == 3 * Self.size)
      #expect(shared.bytesWritten.load(ordering: .relaxed) == 6 * Self.size)
      let state = journal.state.withLock { $0 }
      #expect(state.bytesRead == 3 * Self.size && state.mostInFlight <= Int(seed) * 3 - 1)
      #expect(shared.pagesFree.load(ordering: .relaxed) == 60)
    }
  }

  @Test(
    "With errors in the midst each copy ends once, and a destination is done if and only if it is whole",
    arguments: Array(10..<30) as [UInt64])
  func errors(_ seed: UInt64) throws {
    try withWorkbench { bench in
      let (notifications, shared, _) = try Self.run(bench, seed: seed, copies: 4, Faults(fail: 60))
      for (copy, notifications) in notifications.enumerated() {
        try #require(notifications.count == 1)
        let progress = notifications[0].progress
        for (index, destination) in progress.destinations.enumerated() {
          #expect((progress.writeErrors & 1 << UInt64(index) != 0) == (destination.error != nil), "seed \(seed): \(progress)")
          #expect((destination.state == .done) == (destination.error == nil && !progress.readError), "seed \(seed): \(progress)")
          #expect(destination.error.map { $0.step == .write && $0.destination == index } ?? true)
          if destination.state == .done { #expect(try Self.isCopied(bench, seed, copy: copy, destination: index), "seed \(seed)") }
          #expect(destination.bytesDurable == (destination.error == nil ? destination.bytesDone : 0))
        }
        #expect((progress.firstError == nil) == notifications[0].isComplete)
        #expect(progress.readError || progress.firstError?.step != .read)
      }
      #expect(shared.pagesFree.load(ordering: .relaxed) == 60, "seed \(seed)")
    }
  }

  @Test("After a cancel is taken no transfer starts, a rest of a short one neither", arguments: Array(40..<80) as [UInt64])
  func cancels(_ seed: UInt64) throws {
    try withWorkbench { bench in
      let (notifications, shared, journal) = try Self.run(bench, seed: seed, copies: 1, Faults(short: 2, cancel: 10))
      try #require(notifications[0].count == 1)
      let notification = notifications[0][0]
      #expect(notification.isComplete != notification.wasCancelled)
      #expect(notification.progress.writeErrors == 0 && !notification.progress.readError)
      for (index, destination) in notification.progress.destinations.enumerated() where destination.state == .done {
        #expect(try Self.isCopied(bench, seed, copy: 0, destination: index))
      }
      #expect(journal.state.withLock { $0.lateStarts } == 0)
      #expect(shared.pagesFree.load(ordering: .relaxed) == 60)
    }
  }

  @Test("A transfer that is always to be tried again ends as an error", arguments: [1, 2] as [UInt64])
  func alwaysAgain(_ seed: UInt64) throws {
    try withWorkbench { bench in
      let (notifications, _, _) = try Self.run(bench, seed: seed, copies: 1, Faults(short: 0, again: 1))
      let progress = try #require(notifications[0].first).progress
      #expect(progress.readError && progress.firstError?.step == .read)
      #expect(progress.firstError.map { [EINTR, EAGAIN, EIO].contains($0.errno) } == true)
    }
  }
}
