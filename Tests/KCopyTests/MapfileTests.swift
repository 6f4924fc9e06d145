import FaultKit
import KCopy
import Testing

@Suite("Mapfiles of ddrescue")
struct MapfileTests {
  private static func map(_ text: String) throws(MapfileError) -> Mapfile { try Mapfile(Array(text.utf8)) }

  private static func error(of text: String) -> MapfileError? {
    do throws(MapfileError) {
      _ = try map(text)
      return nil
    } catch {
      return error
    }
  }

  @Test("One that ddrescue wrote is read block by block, neighbours of one status as one")
  func whole() throws {
    let text = """
      # Mapfile. Created by GNU ddrescue version 1.27
      # Command line: ddrescue /dev/sda /dev/sdb map
      # current_pos  current_status  current_pass
      0x00120000     *               1
      #      pos        size  status
      0x00000000  0x00117000  +
      0x00117000  0x00000200  -
      0x00117200  0x00001000  /
      0x00118200  0x00007E00  *
      0x00120000  0x00048000  ?
      0x00168000  0x00001000  +
      0x00169000  0x00001000  +

      """
    let map = try Self.map(text)
    #expect(map.blocks.map(\.status) == [.finished, .bad, .unscraped, .untrimmed, .untried, .finished])
    #expect(map.ranges(of: .finished) == [0..<0x117000, 0x168000..<0x16A000])
    #expect(map.ranges(of: .bad) == [0x117000..<0x117200])
  }

  @Test("One that partclone wrote begins where its file system does, and what is in use is its finished part")
  func partclone() throws {
    let text = """
      # Domain logfile created by partclone.ext4 v0.3.23
      # Source: /dev/sda1
      # Offset: 0x00100000
      # current_pos  current_status
      0x00500000     ?
      #      pos        size  status
      0x00100000  0x00001000  +
      0x00101000  0x003FE000  ?
      0x004FF000  0x00001000  +

      """
    #expect(try Self.map(text).ranges(of: .finished) == [0x100000..<0x101000, 0x4FF000..<0x500000])
  }

  @Test(
    "Each way to write the same is taken",
    arguments: [
      "0 + 1\n0 16 +\n16 8 -\n", "0 +\n0 16 +\n16 8 -", "0 + 1\r\n0 16 +\r\n16 8 -\r\n", "\n\n# c\n 0x0 + 1\n\t0 0x10 +\n 0X10 010 -\n",
      "0 + 1 # here\n0 16+\n16 8 - and so on\n", "0 F 3\n0 8 +\n8 8 +\n020 8 -\n", "+0 G\n-0 +16 +\n+16 8 -\n#",
      "0 + 1\n0 0 ?\n0 16 +\n16 8 -\n",
    ])
  func ways(text: String) throws {
    let map = try Self.map(text)
    #expect(map.blocks == [Mapfile.Block(0..<16, .finished), Mapfile.Block(16..<24, .bad)])
  }

  @Test("A file that says nothing has no blocks", arguments: ["", "\n", "# only this", "0 ?\n", "0 ? 1\n0 0 ?\n"])
  func nothing(text: String) throws { #expect(try Self.map(text).blocks.isEmpty) }

  @Test(
    "What is wrong is said with its line",
    arguments: [
      ("x\n", 1, "POS STATUS"), ("# c\n\n0 x 1\n", 3, "POS STATUS"), ("0 + 0\n", 1, "PASS"), ("-1 + 1\n", 1, "POS STATUS"), ("0", 1, "POS"),
      ("0 + 1\n0 5 x\n", 2, "POS SIZE STATUS"), ("0 + 1\n0 5\n+\n", 2, "POS SIZE STATUS"), ("0 + 1\n0 -1 ?\n", 2, "POS SIZE STATUS"),
      ("0 + 1\n5 0 +\n", 2, "SIZE above 0"), ("0 + 1\n0 5 +\n\n#\n6 5 +\n", 5, "ends, at 5"), ("0 + 1\n0 5 +\n4 5 +", 3, "ends, at 5"),
      ("0 + 1\n0 99999999999999999999 +\n", 2, "above 2^63-1"), ("9223372036854775808 + 1\n", 1, "above 2^63-1"),
      ("0x + 1\n", 1, "POS STATUS"), ("0 + 1\n0 0xffffffffffffffffffffff +\n", 2, "above 2^63-1"),
      ("0 + 1\n09 5 +\n", 2, "POS SIZE STATUS"),
    ])
  func errors(text: String, line: Int, part: String) throws {
    let error = try #require(Self.error(of: text))
    #expect(error.line == line && error.text.contains(part), "\(error)")
  }

  @Test("Ends are at most 2^63-1, as a device whose length ddrescue could not find has it")
  func far() throws {
    let most = UInt64(Int64.max)
    #expect(try Self.map("0 ? 1\n0 0x7FFFFFFFFFFFFFFF ?\n").blocks == [Mapfile.Block(0..<most, .untried)])
    #expect(try Self.map("0 ? 1\n5 0x7FFFFFFFFFFFFFFF ?\n0x7FFFFFFFFFFFFFFF 9 +\n").blocks == [Mapfile.Block(5..<most, .untried)])
  }

  @Test("In pieces of any length it is the same, and so is its error", arguments: 1...9)
  func pieces(length: Int) throws {
    for text in ["# comment\n0x0 + 1\n0 16 +\n16 0x8 -\n# end", "0 + 1\r\n0 16 +\r\n17 8 -\r\n"] {
      let bytes = Array(text.utf8)
      var reader = MapfileReader()
      let result = Result { () throws(MapfileError) -> Mapfile in
        for start in stride(from: 0, to: bytes.count, by: length) {
          try reader.read(Array(bytes[start..<min(start + length, bytes.count)]))
        }
        return try reader.finish()
      }
      #expect((try? result.get()) == (try? Self.map(text)))
      if case .failure(let error) = result { #expect(error == Self.error(of: text)) }
    }
  }

  @Test("ddrescuelog takes and refuses the same files, and finds the same blocks in them", arguments: 0..<8)
  func likeDdrescue(seed: UInt64) throws {
    try withWorkbench { bench in
      var chance = SeededGenerator(seed: seed)
      let texts = (0..<100).map { _ in MapfileMaker.text(&chance) }
      for (index, text) in texts.enumerated() { try Files.write("\(bench.disk)/\(index)", text) }
      // Of each file: what is wrong with it, else the sectors of each status.
      let script = """
        cd "$1"
        for ((i = 0; i < $2; i++)); do
          if ! ddrescuelog --force --show-status $i >/dev/null 2>$i.error; then
            sed -n 's/.*line \\([0-9]*\\): .*/error \\1/p' $i.error
          else
            for status in '?' '*' / - +; do echo "$status" $(ddrescuelog --block-size=1 --list-blocks="$status" $i); done | tr '\\n' ';'
            echo
          fi
        done
        """
      let lines = try Command("bash", ["-c", script, "bash", bench.disk, "\(texts.count)"]).run().orThrow().text.split(separator: "\n")
      try #require(lines.count == texts.count)
      for (text, line) in zip(texts, lines) {
        do throws(MapfileError) {
          let map = try Self.map(text)
          let listed = "?*/-+".utf8.map { status in
            let bytes = map.ranges(of: Mapfile.Status(rawValue: status)!).joined().map { " \($0)" }.joined()
            return "\(Character(Unicode.Scalar(status)))\(bytes);"
          }
          #expect(line == listed.joined(), "\(text)")
        } catch {
          #expect(line == "error \(error.line)", "\(error.text): \(text)")
        }
      }
    }
  }
}

/// Makes mapfiles of a few blocks with a few bytes, most of them good, in all ways to write them.
private enum MapfileMaker {
  static func text(_ chance: inout SeededGenerator) -> String {
    var text = ""
    func pick(_ choices: [String]) -> String { choices.randomElement(using: &chance)! }
    func rarely(_ other: [String], _ usual: String) -> String { Int.random(in: 0..<40, using: &chance) == 0 ? pick(other) : usual }
    func number(_ value: Int) -> String {
      rarely(
        ["-1", "", "x", "09", "-0", "1e1"],
        pick([String(value), "0x" + String(value, radix: 16, uppercase: true), "0" + String(value, radix: 8)]))
    }
    func gap() -> String { pick([" ", "  ", "\t", rarely([""], " ")]) }
    func end() -> String { pick(["\n", "\n", "\r\n", "\n\n", "\n# remark\n", " # tail\n", rarely(["", "\0\n", " +\n"], "\n")]) }

    text += pick(["", "# head\n", "\n# head\n  #more\n"])
    text += number(Int.random(in: 0...99, using: &chance)) + gap() + rarely(["x", "", "0"], pick(["?", "*", "/", "-", "+", "F", "G"]))
    text += pick(["", " 1", "  2", rarely([" 0", " -1", " x", "7"], " 3")]) + end()
    var position = pick(["0", "0", "5", "64"]) == "0" ? 0 : Int.random(in: 1...99, using: &chance)
    for _ in 0..<Int.random(in: 0...6, using: &chance) {
      let size = Int.random(in: 1...20, using: &chance)
      let shown = rarely(["0", "\(position + 1)"], number(position))
      text += pick(["", "", " ", rarely(["#"], "")]) + shown + gap() + rarely(["0", "-1"], number(size)) + gap()
      text += rarely(["x", "", "F", "1"], pick(["?", "*", "/", "-", "+"])) + end()
      position += size
    }
    return text
  }
}
