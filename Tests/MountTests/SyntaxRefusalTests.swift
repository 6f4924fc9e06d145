import FaultKit
import Glibc
import Testing

@Suite("Records that are refused for what they say")
struct SyntaxRefusalTests {
  static let wording = [
    Refusal("a word without =", "EINVAL", culprit: "hello") { _ in "hello" },
    Refusal("an unknown key", "EINVAL", culprit: "form=") { "form=\($0.source.path) to=\($0.destination.path)" },
    Refusal("a key given twice", "EINVAL") { "from=\($0.source.path) from=\($0.source.path) to=\($0.destination.path)" },
    Refusal("no source", "EINVAL") { "to=\($0.destination.path)" },
    Refusal("no destination", "EINVAL") { "from=\($0.source.path)" },
    Refusal("65 destinations", "EINVAL") { box in
      "from=\(box.file)@0+512B " + (0..<65).map { "to=\(box.destination.path)@\($0)s" }.joined(separator: " ")
    },
    Refusal("an open quote", "EINVAL") { "from='\($0.source.path) to=\($0.destination.path)" },
    Refusal("a control character", "EINVAL") { "from=\($0.source.path) to=\($0.destination.path) context=a\u{7}b" },
    Refusal("a NUL", "EINVAL") { "from=\($0.source.path) to=\($0.destination.path) context=a\0b" },
    Refusal("a relative path", "EINVAL", culprit: "from=source") { "from=source to=\($0.destination.path)" },
    Refusal("an unknown operation", "EINVAL", culprit: "op=move") { "from=\($0.source.path) to=\($0.destination.path) op=move" },
    Refusal("an unknown value of create", "EINVAL", culprit: "create=maybe") { "from=\($0.source.path) to=\($0.fresh) create=maybe" },
    Refusal("a context over 256 bytes", "EINVAL", "E2BIG") {
      "from=\($0.source.path) to=\($0.destination.path) context=" + String(repeating: "x", count: 257)
    },
    Refusal("malformed JSON", "EINVAL") { _ in "{\"from\": \"/x\", }" },
    Refusal("JSON with an unknown key", "EINVAL") { "{\"form\": \"\($0.source.path)\", \"to\": [\"\($0.destination.path)\"]}" },
  ]

  @Test("Syntax", arguments: wording)
  func syntax(refusal: Refusal) throws { try refusal.check() }

  static let places = [
    Refusal("a start without a unit", "EINVAL", culprit: "@4096") { "from=\($0.source.path)@4096 to=\($0.destination.path)" },
    Refusal("a count without a unit", "EINVAL", culprit: "+8") { "from=\($0.source.path)@0+8 to=\($0.destination.path)" },
    Refusal("a destination's start without a unit", "EINVAL", culprit: "@2048") {
      "from=\($0.source.path)@0+1M to=\($0.destination.path)@2048"
    },
    Refusal("an unknown unit", "EINVAL") { "from=\($0.source.path)@4x to=\($0.destination.path)" },
    Refusal("a small letter for a unit", "EINVAL") { "from=\($0.source.path)@4k to=\($0.destination.path)" },
    Refusal("an empty start", "EINVAL") { "from=\($0.source.path)@ to=\($0.destination.path)" },
    Refusal("a negative start", "EINVAL") { "from=\($0.source.path)@-4K to=\($0.destination.path)" },
    Refusal("a start over 64 bits", "EINVAL", "ERANGE") { "from=\($0.source.path)@99999999999999999999B to=\($0.destination.path)" },
    Refusal("a start that overflows by its unit", "EINVAL", "ERANGE") { "from=\($0.source.path)@99999999T to=\($0.destination.path)" },
    Refusal("a count of 0", "EINVAL") { "from=\($0.source.path)@0+0 to=\($0.destination.path)" },
    Refusal("an empty source", "EINVAL") { "from=\(try $0.bench.file("empty", [])) to=\($0.destination.path)" },
    Refusal("a destination's count unlike the source's", "EINVAL") { "from=\($0.source.path)@0+1M to=\($0.destination.path)@0+2M" },
    Refusal("a start inside a sector of a device", "EINVAL") { "from=\($0.source.path)@1B+512B to=\($0.destination.path)" },
    Refusal("a count that ends inside a sector", "EINVAL") { "from=\($0.source.path)@0+513B to=\($0.destination.path)" },
    Refusal("a destination inside a sector", "EINVAL") { "from=\($0.source.path)@0+1M to=\($0.destination.path)@100B" },
    Refusal("a file's tail inside a device's sector", "EINVAL") { "from=\($0.file) to=\($0.destination.path)" },
    Refusal("512 bytes to a device with blocks of 4096", "EINVAL") { box in
      "from=\(box.source.path)@0+512B to=\(try box.bench.loop(sectorSize: 4096).path)"
    },
    Refusal("a start at 512 of a device with blocks of 4096", "EINVAL") { box in
      "from=\(try box.bench.loop(sectorSize: 4096).path)@512B+4096B to=\(box.destination.path)"
    },
    Refusal("a word that names something as a whole and as a region", "EINVAL") { box in
      let whole = try box.bench.file("file@0", [1, 2, 3])
      return "from=\(whole) to=\(box.destination.path)"
    },
  ]

  @Test("Regions", arguments: places)
  func regions(refusal: Refusal) throws { try refusal.check() }

  static let names = ["-x", "a b", "a:b", "ä", "12", "007", String(repeating: "n", count: 65)]

  @Test("A bad name is refused in submit and in jobs/, and leaves nothing", arguments: names)
  func badName(name: String) throws {
    try withWorkbench { bench in
      let box = try Refused(bench)
      let before = try box.destination.fill(seed: 3)
      let record = "from=\(box.source.path) to=\(box.destination.path)"
      let inSubmit = try errnoName { try Files.write(box.daemon.path("submit"), record + " name=\(quoted(name))\n") }
      let inJobs = try errnoName { _ = try box.daemon.submit(record, as: name) }
      let fitting = name.utf8.count > 64 ? ["EINVAL", "ENAMETOOLONG"] : ["EINVAL"]
      #expect(fitting.contains(inSubmit) && fitting.contains(inJobs), "\(inSubmit) \(inJobs)")
      try box.daemon.expectNoJobs()
      #expect(Pattern.difference(try box.destination.contents(), from: before) == nil)
    }
  }

  @Test("The text of an unknown key suggests the one that was meant")
  func suggestion() throws {
    try withDaemon { _, daemon throws in
      #expect(try errnoName { _ = try daemon.submit("form=/dev/null to=/dev/null") } == "EINVAL")
      #expect(try daemon.refusals.last?["text"] == "unknown key \"form\", did you mean \"from\"?")
      #expect(try daemon.refusals.last?["column"] == "0")
    }
  }

  @Test("Text that is not UTF-8 is refused")
  func notUTF8() throws {
    try withDaemon { _, daemon in
      let record = Array("from=/tmp/".utf8) + [0xff, 0xfe] + Array(" to=/tmp/x\n".utf8)
      #expect(try errnoName { try Files.write(daemon.path("jobs/x"), record) } == "EINVAL")
      try daemon.expectNoJobs()
      #expect(try daemon.refusals.last?["error"] == "EINVAL")
    }
  }

  @Test("errors keeps the last 32 refusals")
  func last32() throws {
    try withDaemon { _, daemon in
      for index in 0..<40 { #expect(try errnoName { _ = try daemon.submit("bad\(index)", as: "n\(index)") } == "EINVAL") }
      let refusals = try daemon.refusals
      #expect(refusals.map { $0["record"] } == (8..<40).map { "bad\($0)" })
      #expect(refusals.map { $0["job"] } == (8..<40).map { "n\($0)" })
    }
  }
}
