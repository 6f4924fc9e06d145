import FuseKit
import Testing

@testable import JobFS

@Suite("Files whose record is not complete")
struct PlaceholderTests {
  private static let requester = Requester(uid: 7, gid: 8, pid: 1, umask: 0o022)

  private static func open(_ placeholders: Placeholders, _ name: String = "a") -> UInt64 {
    placeholders.open(name, by: requester, permissions: 0o644)
  }

  @Test("An open makes one, its name can be looked up, and it is its maker's")
  func made() throws {
    let placeholders = Placeholders()
    #expect(placeholders.lookup("a") == nil && !placeholders.contains("a"))
    let number = Self.open(placeholders)
    #expect(placeholders.contains("a") && placeholders.lookup("a") == number && placeholders.names.map(\.name) == ["a"])
    let facts = try #require(placeholders.facts(number))
    #expect(facts.uid == 7 && facts.gid == 8 && facts.permissions == 0o644)
    placeholders.setPermissions(number, 0o600)
    #expect(placeholders.facts(number)?.permissions == 0o600)
    #expect(Self.open(placeholders, "b") != number)
  }

  @Test("The last close takes the name away; the node stays until the kernel has forgotten every lookup")
  func balance() {
    let placeholders = Placeholders()
    let number = Self.open(placeholders)
    #expect(Self.open(placeholders) == number && placeholders.reopen(number) == "a" && placeholders.lookup("a") == number)
    // Three opens, three lookups: two of them by opens.
    for _ in 0..<2 {
      placeholders.release(number)
      #expect(placeholders.contains("a"))
    }
    placeholders.release(number)
    #expect(!placeholders.contains("a") && placeholders.names.isEmpty && placeholders.facts(number) != nil)
    placeholders.forget(number, lookups: 2)
    #expect(placeholders.facts(number) != nil)
    placeholders.forget(number, lookups: 1)
    #expect(placeholders.facts(number) == nil)
  }

  @Test("A node that is forgotten while it is open stays until it is closed")
  func forgotten() {
    let placeholders = Placeholders()
    let number = Self.open(placeholders)
    placeholders.forget(number, lookups: 1)
    #expect(placeholders.contains("a") && placeholders.facts(number) != nil)
    placeholders.release(number)
    #expect(!placeholders.contains("a") && placeholders.facts(number) == nil)
  }

  @Test("A name that became a job's is gone while the file is still open, and its next file is another node")
  func unlisted() {
    let placeholders = Placeholders()
    let number = Self.open(placeholders)
    #expect(placeholders.unlist("a") && !placeholders.unlist("a"))
    #expect(!placeholders.contains("a") && placeholders.lookup("a") == nil && placeholders.reopen(number) == nil)
    #expect(placeholders.facts(number) != nil)
    // The job has been removed, and the name is used again.
    let next = Self.open(placeholders)
    #expect(next != number)
    placeholders.release(number)
    placeholders.forget(number, lookups: 1)
    #expect(placeholders.facts(number) == nil && placeholders.lookup("a") == next && placeholders.names.map(\.number) == [next])
    placeholders.release(next)
    placeholders.forget(next, lookups: 2)
    #expect(placeholders.facts(next) == nil && placeholders.names.isEmpty)
  }

  @Test("What is unknown is answered so and changes nothing")
  func unknown() {
    let placeholders = Placeholders()
    #expect(placeholders.reopen(1) == nil && placeholders.facts(1) == nil && !placeholders.unlist("a"))
    placeholders.release(1)
    placeholders.forget(1, lookups: 1)
    placeholders.setPermissions(1, 0)
    #expect(placeholders.names.isEmpty)
  }
}
