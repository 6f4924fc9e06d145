import FaultKit
import Testing

@testable import KCopy

@Suite("When copies are due")
struct DueCopiesTests {
  @Test("Whoever is due first comes first, in whatever order they were given, and of those at the same time the earlier copy")
  func order() {
    var random = SeededGenerator(seed: 1)
    var due = DueCopies()
    var wanted: [[UInt64]] = []
    for serial in 0..<UInt64(1000) {
      let time = random.next() % 100
      due.insert(.init(time: time, task: Int(serial), serial: serial))
      wanted.append([time, serial])
      guard serial % 3 == 0 else { continue }
      // In between the first one is taken.
      wanted.sort { $0.lexicographicallyPrecedes($1) }
      #expect(due.first.map { [$0.time, $0.serial] } == wanted.removeFirst())
      due.removeFirst()
    }
    wanted.sort { $0.lexicographicallyPrecedes($1) }
    for entry in wanted {
      #expect(due.first.map { [$0.time, $0.serial] } == entry)
      due.removeFirst()
    }
    #expect(due.first == nil)
  }
}
