import FaultKit
import Glibc
import KCopy
import Testing

@testable import CopyJobs

@Suite("The table of clients")
struct ClientTableTests {
  static func table() throws -> ClientTable { try ClientTable(pages: 256) }

  /// The errno of a refusal; 0 for none.
  static func errno(_ body: () throws -> Void) throws -> Int32 {
    do {
      try body()
      return 0
    } catch let refusal as CopyJobs.Refusal {
      return refusal.errno
    }
  }

  @Test("default is there from the start, is the daemon's user's, and cannot be removed")
  func standard() throws {
    let table = try Self.table()
    let client = try #require(table["default"])
    #expect(table.all.map(\.name) == ["default"] && table.count == 1 && table.client(client.number) === client)
    #expect(client.uid == geteuid() && client.gid == getegid() && client.shape.pages == 256 && client.pagesFree == 256)
    #expect(try Self.errno { try table.remove("default") } == EPERM)
    #expect(table["default"] === client && !client.isRemoved)
  }

  @Test("A client is its maker's, in the standard shape, listed after default in the order of making")
  func made() throws {
    let table = try Self.table()
    let second = try table.make("b", uid: 7, gid: 8, permissions: 0o700)
    let third = try table.make("a", uid: 9, gid: 10)
    #expect(second.uid == 7 && second.gid == 8 && second.permissions == 0o700 && third.permissions == 0o755)
    #expect(second.shape == ClientShape(.init()) && second.shape.mostJobs == 100_000)
    #expect(table.all.map(\.name) == ["default", "b", "a"] && table["b"] === second && table.client(third.number) === third)
    #expect(table.changedAt == third.madeAt && third.madeAt >= second.madeAt)
    for name in ["b", "default"] { #expect(try Self.errno { _ = try table.make(name, uid: 0, gid: 0) } == EEXIST) }
    try table.remove("b")
    try table.remove("a")
  }

  @Test("A name that no job could have is EINVAL", arguments: ["", "a b", "-a", ".", "..", "a/b", "ä", String(repeating: "a", count: 65)])
  func names(name: String) throws {
    let table = try Self.table()
    #expect(try Self.errno { _ = try table.make(name, uid: 0, gid: 0) } == EINVAL)
    #expect(table.count == 1)
  }

  @Test("The seventeenth is ENOBUFS, also while others are being made; a removed one makes room")
  func full() throws {
    let table = try Self.table()
    for number in 1..<ClientTable.most { _ = try table.make("c\(number)", uid: 0, gid: 0) }
    #expect(try Self.errno { _ = try table.make("more", uid: 0, gid: 0) } == ENOBUFS)
    #expect(try Self.errno { _ = try table.make("c1", uid: 0, gid: 0) } == EEXIST)
    try table.remove("c3")
    let more = try table.make("more", uid: 0, gid: 0)
    #expect(table.count == ClientTable.most && table.all.last === more)
    for client in table.all.dropFirst() { try table.remove(client.name) }
    #expect(table.count == 1)
  }

  @Test("A removed client's name is free, its number is not, and it takes no more jobs and values")
  func removed() throws {
    let table = try Self.table()
    let first = try table.make("a", uid: 0, gid: 0)
    try table.remove("a")
    #expect(table["a"] == nil && table.client(first.number) == nil && first.isRemoved)
    #expect(try Self.errno { _ = try first.enter(for: 0) } == ENOENT)
    #expect(try Self.errno { try first.change(.slots(1)) } == ENODEV)
    #expect(try Self.errno { try table.remove("a") } == ENOENT)
    let second = try table.make("a", uid: 0, gid: 0)
    #expect(second.number != first.number && table["a"] === second)
    try table.remove("a")
  }

  @Test("It is EBUSY until the last job has left")
  func busy() throws {
    let table = try Self.table()
    let client = try table.make("a", uid: 0, gid: 0)
    let tickets = try [client.enter(for: 0), client.enter(for: 0)]
    #expect(try Self.errno { try table.remove("a") } == EBUSY)
    client.leave(tickets[1])
    #expect(try Self.errno { try table.remove("a") } == EBUSY)
    // A refused removal changes nothing.
    client.leave(try client.enter(for: 0))
    client.leave(tickets[0])
    try table.remove("a")
  }

  @Test("A client's memory goes with it")
  func released() throws {
    func mapped() throws -> Int { Int(try Files.text("/proc/self/statm").split(separator: " ").first ?? "") ?? 0 }
    let table = try Self.table()
    let client = try table.make("a", uid: 0, gid: 0)
    // 2 GiB: more than what other tests map and unmap meanwhile.
    try client.change(.pages(1 << 19))
    let before = try mapped()
    try table.remove("a")
    try eventually("the memory is released") { try mapped() < before - 1 << 18 }
  }

  @Test("A record may name default, its uid's own and, as root's, any; others are EACCES, unknown ones ENOENT")
  func use() throws {
    let table = try Self.table()
    let mine = try table.make("mine", uid: 1000, gid: 1000)
    for uid: UInt32 in [0, 1000] { #expect(try table.use("mine", by: uid) === mine) }
    for uid: UInt32 in [0, 1000, 1001] { #expect(try table.use("default", by: uid) === table["default"]) }
    #expect(try Self.errno { _ = try table.use("mine", by: 1001) } == EACCES)
    #expect(try Self.errno { _ = try table.use("other", by: 0) } == ENOENT)
    try table.remove("mine")
  }
}
