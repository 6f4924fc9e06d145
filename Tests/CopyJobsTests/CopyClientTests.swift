import Glibc
import KCopy
import Locking
import Testing

@testable import CopyJobs

@Suite("A client: its values, its jobs and those who wait for them")
struct CopyClientTests {
  static func client() throws -> CopyClient {
    try CopyClient("a", number: 2, uid: 0, gid: 0, .init())
  }

  @Test("Each value is set by itself, is the engine's too, and has the time of its change")
  func values() throws {
    let client = try Self.client()
    defer { client.destroy() }
    var expected = client.shape
    let settings: [ClientSetting] = [.pages(8192), .throttle(50), .rate(1 << 20), .subjob(65536), .slots(2), .mostJobs(3), .rate(nil)]
    for setting in settings {
      let before = client.changedAt(setting.parameter)
      try client.change(setting)
      setting.apply(to: &expected)
      #expect(client.shape == expected && client.changedAt(setting.parameter) >= before)
    }
    let engine = client.engine.configuration
    #expect(engine.pages == 8192 && engine.throttle == 50 && engine.rate == nil && engine.subjob == 65536 && engine.slots == 2)
    #expect(client.changedAt(.pages) >= client.madeAt && client.changedAt(.pages) <= client.changedAt(.rate))
  }

  @Test("Pages below one sub-job are EINVAL, and so is a sub-job beyond the pages; pages that can't be had are ENOMEM")
  func unfit() throws {
    let client = try Self.client()
    defer { client.destroy() }
    let shape = client.shape
    #expect(throws: Refusal(errno: EINVAL, column: 0, text: "255 pages of 4096 bytes do not hold one sub-job of 1048576 bytes")) {
      try client.change(.pages(255))
    }
    #expect(throws: Refusal(errno: EINVAL, column: 0, text: "4096 pages of 4096 bytes do not hold one sub-job of 33554432 bytes")) {
      try client.change(.subjob(32 << 20))
    }
    #expect(throws: Refusal(errno: ENOMEM, column: 0, text: "1099511627776 pages of 4096 bytes cannot be had")) {
      try client.change(.pages(1 << 40))
    }
    #expect(client.shape == shape && client.engine.configuration.pages == shape.pages)
    try client.change(.pages(256))
    #expect(client.shape.pages == 256)
  }

  @Test("When nobody waits for it any more, a change is taken back")
  func abandoned() throws {
    let client = try Self.client()
    defer { client.destroy() }
    let (shape, changed) = (client.shape, client.changedAt(.pages))
    var asked = 0
    try client.change(.pages(512)) {
      asked += 1
      #expect(client.engine.configuration.pages == 512)
      return false
    }
    #expect(asked == 1 && client.shape == shape && client.engine.configuration.pages == shape.pages && client.changedAt(.pages) == changed)
    #expect(throws: Refusal.self) {
      try client.change(.pages(1)) {
        Issue.record("asked about a refusal")
        return true
      }
    }
  }

  @Test("One job more than max_jobs is ENOBUFS; a job that leaves, or a larger number, makes room")
  func limit() throws {
    let client = try Self.client()
    defer { client.destroy() }
    try client.change(.mostJobs(2))
    let first = try client.enter(for: 0)
    let second = try client.enter(for: 0)
    #expect(second > first && client.jobs == 2 && client.lastTicket == second)
    #expect(throws: Refusal(errno: ENOBUFS, column: 0, text: "the client a has 2 unfinished jobs already")) { try client.enter(for: 0) }
    client.leave(first)
    let third = try client.enter(for: 0)
    #expect(throws: Refusal.self) { try client.enter(for: 0) }
    try client.change(.mostJobs(1))
    #expect(client.jobs == 2)
    try client.change(.mostJobs(3))
    let fourth = try client.enter(for: 0)
    for ticket in [second, third, fourth] { client.leave(ticket) }
    try client.change(.mostJobs(0))
    #expect(throws: Refusal.self) { try client.enter(for: 0) }
    #expect(client.jobs == 0 && client.lastTicket == fourth && client.movedAt >= client.madeAt)
  }

  @Test("A uid that has taken all places leaves others an eighth of so many, or one")
  func shares() throws {
    let client = try Self.client()
    defer { client.destroy() }
    try client.change(.mostJobs(16))
    var tickets = try (0..<16).map { _ in try client.enter(for: 1) }
    #expect(throws: Refusal.self) { try client.enter(for: 1) }
    tickets += try [2, 2, 3].map { try client.enter(for: $0) }
    #expect(throws: Refusal.self) { try client.enter(for: 2) }
    tickets.append(try client.enter(for: 3))
    for uid in [1, 2, 3] as [UInt32] { #expect(throws: Refusal.self) { try client.enter(for: uid) } }
    for ticket in tickets { client.leave(ticket) }
    try client.change(.mostJobs(1))
    tickets = try [1, 2].map { try client.enter(for: $0) }
    for uid in [1, 2] as [UInt32] { #expect(throws: Refusal.self) { try client.enter(for: uid) } }
    for ticket in tickets { client.leave(ticket) }
  }

  @Test("Who waits through a ticket is told once, when all up to it have left in whatever order, and not of later ones")
  func turns() throws {
    let client = try Self.client()
    defer { client.destroy() }
    let told = Locked<[String]>([])
    func observe(_ name: String, _ ticket: UInt64) -> UInt64? { client.observe(through: ticket) { told.withLock { $0.append(name) } } }
    #expect(observe("none", client.lastTicket) == nil && client.haveLeft(through: 0))
    let tickets = try (0..<4).map { _ in try client.enter(for: 0) }
    #expect(observe("second", tickets[1]) != nil && observe("third", tickets[2]) != nil && observe("first", tickets[0]) != nil)
    let gone = try #require(observe("gone", tickets[0]))
    client.stopObserving(gone)
    client.leave(tickets[1])
    client.leave(tickets[3])
    #expect(told.withLock { $0.isEmpty } && !client.haveLeft(through: tickets[1]))
    client.leave(tickets[0])
    #expect(told.withLock { $0.sorted() } == ["first", "second"])
    #expect(client.haveLeft(through: tickets[1]) && !client.haveLeft(through: tickets[2]))
    #expect(observe("late", tickets[1]) == nil && observe("fourth", tickets[3]) != nil)
    let fifth = try client.enter(for: 0)
    client.leave(tickets[2])
    #expect(told.withLock { $0.sorted() } == ["first", "fourth", "second", "third"] && client.jobs == 1)
    client.leave(fifth)
    #expect(told.withLock { $0.count } == 4)
  }

  @Test("A stop tells all who wait, once")
  func stopped() throws {
    let client = try Self.client()
    defer { client.destroy() }
    let told = Locked(0)
    let ticket = try client.enter(for: 0)
    for _ in 0..<3 { #expect(client.observe(through: ticket) { told.withLock { $0 += 1 } } != nil) }
    client.endWaits()
    #expect(told.withLock { $0 } == 3)
    client.leave(ticket)
    #expect(told.withLock { $0 } == 3)
  }

  @Test("A hundred thousand jobs that leave from the last to the first take no time, with a thousand who wait")
  func many() throws {
    let client = try Self.client()
    defer { client.destroy() }
    let told = Locked(0)
    let tickets = try (0..<100_000).map { _ in try client.enter(for: 0) }
    for index in stride(from: 0, to: 100_000, by: 100) { _ = client.observe(through: tickets[index]) { told.withLock { $0 += 1 } } }
    for ticket in tickets.reversed() { client.leave(ticket) }
    #expect(told.withLock { $0 } == 1000 && client.jobs == 0)
  }
}
