import Testing

@testable import JobFS

@Suite("Open files, and what is kept of them for each user")
struct HandlesTests {
  private static func handle(_ uid: UInt32) -> Handle { Handle(.directory(Listing([])), openedBy: uid) }

  @Test("A uid has so many files open and no more, root as many as it wants; a close makes room")
  func files() throws {
    let handles = Handles()
    let numbers = (0..<Handles.mostFiles).compactMap { _ in handles.add(Self.handle(1)) }
    #expect(numbers.count == Handles.mostFiles && handles.add(Self.handle(1)) == nil)
    for uid in [2, 0] as [UInt32] { #expect(handles.add(Self.handle(uid)) != nil) }
    #expect(handles.remove(numbers[0]) != nil && handles.remove(numbers[0]) == nil)
    #expect(handles.add(Self.handle(1)) != nil && handles.add(Self.handle(1)) == nil)
    for _ in 0..<Handles.mostFiles { #expect(handles.add(Self.handle(0)) != nil) }
  }

  @Test("The texts and lists that a uid has begun to read take so many bytes and no more; each open file counts with its last")
  func bytes() throws {
    let handles = Handles()
    let (first, second, other, root) = (Self.handle(1), Self.handle(1), Self.handle(2), Self.handle(0))
    let numbers = [first, second, other, root].map { handles.add($0) }
    #expect(handles.charge(first, bytes: Handles.mostBytes) && !handles.charge(second, bytes: 1))
    #expect(handles.charge(first, bytes: Handles.mostBytes - 10) && handles.charge(second, bytes: 10) && !handles.charge(second, bytes: 11))
    #expect(handles.charge(other, bytes: Handles.mostBytes) && handles.charge(root, bytes: 2 * Handles.mostBytes))
    #expect(handles.remove(try #require(numbers[0])) === first)
    #expect(handles.charge(second, bytes: Handles.mostBytes))
    for number in numbers.dropFirst() { _ = handles.remove(try #require(number)) }
    // Nothing is left of an account that is empty.
    let next = Self.handle(1)
    _ = handles.add(next)
    #expect(handles.charge(next, bytes: Handles.mostBytes))
  }
}
