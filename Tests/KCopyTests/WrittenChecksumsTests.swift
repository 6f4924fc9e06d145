import FaultKit
import Testing

@testable import KCopy

@Suite("Checksums of what was written")
struct WrittenChecksumsTests {
  /// What each destination was given last, unit by unit: the checksum and the piece that it came with.
  private struct Model {
    struct Unit: Equatable {
      var checksum: UInt64
      var range: Range<UInt64>
    }

    var units: [[Unit?]]

    func piece(of destination: Int, in range: Range<UInt64>) -> (start: UInt64, checksum: UInt64, end: UInt64)? {
      for start in range {
        guard let unit = units[destination][Int(start)], unit.range.lowerBound == start else { continue }
        // A piece counts while all of it is what was given last.
        if unit.range.allSatisfy({ units[destination][Int($0)] == unit }) { return (start, unit.checksum, unit.range.upperBound) }
      }
      return nil
    }
  }

  @Test("Whatever pieces destinations are given, in any order and over each other: found is what each was given last", arguments: 0..<40)
  func model(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let (units, step) = (64, UInt64(1) << (seed % 2 == 0 ? 10 : 28))
    var checksums = WrittenChecksums()
    var model = Model(units: Array(repeating: Array(repeating: nil, count: units), count: 3))
    for turn in 0..<200 {
      let start = UInt64.random(in: 0..<UInt64(units), using: &random)
      let range = start..<min(start + UInt64.random(in: 1...4, using: &random), UInt64(units))
      let destinations = UInt64.random(in: 1...7, using: &random)
      let bytes = range.lowerBound * step..<range.upperBound * step
      let isForgotten = turn % 7 == 0
      let checksum = UInt64.random(in: 0..<3, using: &random)
      if isForgotten { checksums.forget(bytes, for: destinations) } else { checksums.note(checksum, of: bytes, for: destinations) }
      for destination in 0..<3 where destinations >> UInt64(destination) & 1 != 0 {
        // What reaches into the range is worth nothing any more, all of it.
        for unit in range {
          guard let old = model.units[destination][Int(unit)] else { continue }
          for part in old.range where model.units[destination][Int(part)] == old { model.units[destination][Int(part)] = nil }
        }
        if !isForgotten { for unit in range { model.units[destination][Int(unit)] = .init(checksum: checksum, range: range) } }
      }
      for destination in 0..<3 {
        let looked = UInt64.random(in: 0..<UInt64(units), using: &random)
        let found = checksums.piece(of: destination, in: looked * step..<UInt64(units) * step)
        let expected = model.piece(of: destination, in: looked..<UInt64(units))
        #expect(found?.start == expected.map { $0.start * step } && found?.checksum == expected?.checksum)
        #expect(found?.end == expected.map { $0.end * step })
      }
    }
  }

  @Test("Only so many are kept; what is there already changes all the same")
  func most() {
    var checksums = WrittenChecksums(most: 2)
    for start in 0..<4 as Range<UInt64> { checksums.note(start, of: start * 4096..<(start + 1) * 4096, for: 1) }
    #expect(checksums.count == 2 && checksums.piece(of: 0, in: 8192..<16384) == nil)
    checksums.note(9, of: 0..<4096, for: 1)
    #expect(checksums.piece(of: 0, in: 0..<4096)?.checksum == 9 && checksums.count == 2)
    checksums.forget(0..<4096, for: 1)
    #expect(checksums.piece(of: 0, in: 0..<4096) == nil && checksums.count == 1)
  }

  @Test("Who is given the same piece later shares it: it costs nothing")
  func shared() {
    var checksums = WrittenChecksums()
    checksums.note(5, of: 0..<4096, for: 0b01)
    checksums.note(5, of: 0..<4096, for: 0b10)
    #expect(checksums.count == 1 && checksums.piece(of: 1, in: 0..<4096)?.checksum == 5)
    checksums.note(6, of: 0..<4096, for: 0b10)
    #expect(checksums.count == 2 && checksums.piece(of: 0, in: 0..<4096)?.checksum == 5)
    #expect(checksums.piece(of: 1, in: 0..<4096)?.checksum == 6)
  }
}
