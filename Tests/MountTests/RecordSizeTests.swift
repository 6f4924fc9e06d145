import FaultKit
import Glibc
import Testing

@Suite("Records of every size and byte")
struct RecordSizeTests {
  /// Each writes the file `$T/record` to `$J` in pieces of its own size.
  static let writers = [
    "cat \"$T/record\" > \"$J\"", "tee \"$J\" < \"$T/record\" > /dev/null", "IFS= read -r line < \"$T/record\"; echo \"$line\" > \"$J\"",
    "cp \"$T/record\" \"$J\"", "dd if=\"$T/record\" of=\"$J\" bs=4095 status=none", "sed \"w $J\" \"$T/record\" > /dev/null",
    "python3 -I -S -c 'import sys; open(sys.argv[2], \"w\").writelines(open(sys.argv[1]))' \"$T/record\" \"$J\"",
    "busybox dd if=\"$T/record\" of=\"$J\" bs=511 2> /dev/null",
  ]

  /// Bytes without the newline.
  static let sizes = [4 << 10, (16 << 10) + 1, (64 << 10) - 1, 64 << 10]

  /// A record of `size` bytes that copies, blanks in its middle or, in JSON, in front of its brace.
  private func record(_ bench: Workbench, size: Int, isObject: Bool) throws -> (text: String, destination: String) {
    let (source, destination) = (try bench.file("source", [1, 2, 3]), try bench.file("destination", []))
    let (head, tail) = isObject ? ("{\"from\": \"\(source)\", \"to\": [\"\(destination)\"]", "}") : ("from=\(source)", " to=\(destination)")
    let blanks = String(repeating: " ", count: size - head.utf8.count - tail.utf8.count)
    return (head + blanks + tail, destination)
  }

  @Test("Up to 64 KiB it is taken, whatever the pieces that it comes in", arguments: writers, [false, true])
  func taken(writer: String, isObject: Bool) throws {
    try withDaemon { bench, daemon in
      for size in Self.sizes {
        let (text, destination) = try record(bench, size: size, isObject: isObject)
        #expect(text.utf8.count == size)
        _ = try bench.file("record", Array("\(text)\n".utf8))
        let outcome = try shell(writer, environment: ["J": daemon.path("jobs/n\(size)"), "T": bench.disk])
        #expect(outcome.succeeded && outcome.errorText.isEmpty, "\(size): \(outcome)")
        #expect(try daemon.job("n\(size)").result() == "ok")
        #expect(try Files.read(destination) == [1, 2, 3])
      }
      #expect(try daemon.jobNames == Self.sizes.map { "n\($0)" }.sorted() && daemon.refusals.isEmpty)
    }
  }

  @Test("One byte more is E2BIG, nothing is left, and the rest is no record of its own", arguments: writers, [false, true])
  func tooLong(writer: String, isObject: Bool) throws {
    try withDaemon { bench, daemon in
      let (text, destination) = try record(bench, size: (64 << 10) + 1, isObject: isObject)
      _ = try bench.file("record", Array("\(text)\n".utf8))
      let outcome = try shell(writer, environment: ["J": daemon.path("jobs/x"), "T": bench.disk])
      #expect(!outcome.succeeded, "\(outcome)")
      try daemon.expectNoJobs()
      let refusals = try daemon.refusals
      #expect(refusals.first?["error"] == "E2BIG" && refusals.first?["job"] == "x", "\(refusals)")
      #expect(try Files.read(destination).isEmpty)
      try daemon.copy("from=\(bench.disk)/source to=\(destination)", as: "x")
    }
  }

  @Test("In a batch one that is too long ends what is taken, and the descriptor takes the next")
  func tooLongInBatch() throws {
    try withDaemon { _, daemon in
      let file = try OpenFile(daemon.path("submit"), O_RDWR)
      let (good, long) = ("op=none name=a\n", "op=none context=" + String(repeating: "x", count: 64 << 10) + "\n")
      #expect(try file.write(Array((good + long).utf8)) == good.utf8.count)
      #expect(try errnoName { _ = try file.write(Array(long.utf8)) } == "E2BIG")
      try file.writeAll(Array("op=none name=b\n".utf8))
      #expect(String(decoding: try file.readToEnd(), as: UTF8.self) == "a\nb\n")
      try file.close()
      #expect(try daemon.jobNames == ["a", "b"])
    }
  }

  @Test("A record of one byte is refused, whatever the byte", arguments: [1...8, 11...31, 33...91, 93...255])
  func oneByte(bytes: ClosedRange<UInt8>) throws {
    try withDaemon { _, daemon in
      for byte in bytes where byte != UInt8(ascii: "#") && byte != UInt8(ascii: "{") && byte != 13 {
        let error = try errnoName { try Files.write(daemon.path("jobs/x\(byte)"), [byte, 10]) }
        #expect(error == "EINVAL", "byte \(byte)")
        try Files.write(daemon.path("errors"), "clear\n", flags: O_WRONLY)
      }
      try daemon.expectNoJobs()
    }
  }

  static let bytes: [(title: String, text: @Sendable (String) -> [UInt8])] = [
    ("a NUL alone", { _ in [0, 10] }), ("a NUL in front", { [0] + Array($0.utf8) + [10] }), ("a NUL behind", { Array($0.utf8) + [0, 10] }),
    ("a NUL between words", { Array($0.replacing(" to=", with: "\0to=").utf8) + [10] }),
    ("a carriage return between words", { Array($0.replacing(" to=", with: "\rto=").utf8) + [10] }),
    ("an escape", { Array("\($0) context=\u{1b}[2J\n".utf8) }), ("a DEL", { Array("\($0) context=a\u{7f}\n".utf8) }),
    ("a C1 control", { Array("\($0) context=a\u{85}b\n".utf8) }), ("half a UTF-8 sequence", { Array("\($0) context=".utf8) + [0xc3, 10] }),
    ("an overlong slash", { Array("\($0) context=".utf8) + [0xc0, 0xaf, 10] }),
    ("a surrogate", { Array("\($0) context=".utf8) + [0xed, 0xa0, 0x80, 10] }),
    ("a NUL escaped in JSON", { _ in Array("{\"op\": \"none\", \"context\": \"a\\u0000b\"}\n".utf8) }),
    ("a newline escaped in JSON", { _ in Array("{\"op\": \"none\", \"context\": \"a\\nb\"}\n".utf8) }),
  ]

  @Test("Control characters and what is not UTF-8 are EINVAL, and no such byte is shown", arguments: bytes.indices)
  func controls(index: Int) throws {
    let (title, text) = Self.bytes[index]
    try withDaemon { bench, daemon in
      let record = "from=\(try bench.file("source", [1])) to=\(try bench.file("destination", []))"
      #expect(try errnoName { try Files.write(daemon.path("jobs/x"), text(record)) } == "EINVAL", "\(title)")
      try daemon.expectNoJobs()
      let errors = try Files.read(daemon.path("errors"))
      #expect(errors.dropLast().allSatisfy { $0 >= 32 && $0 != 127 } && errors.last == 10, "\(title)")
      #expect(String(validating: errors, as: UTF8.self) != nil && errors.firstRange(of: [0xc2, 0x85]) == nil, "\(title)")
      #expect(try daemon.refusals.map { $0["error"] } == ["EINVAL"], "\(title)")
      #expect(try Files.read(bench.disk + "/destination").isEmpty)
    }
  }
}
