import FaultKit
import Glibc
import Testing

@Suite("Many records on one descriptor")
struct RecordBatchTests {
  @Test("A text of every kind of record, comment and line end may be split at every byte")
  func split() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", [1, 2, 3], inMemory: true)
      let record = { (name: String) throws in "from=\(source) to=\(try bench.file(name, [], inMemory: true))" }
      let copy = try bench.file("c", [], inMemory: true)
      let object = #"{"context": "}\\\"\u00e9{é", "name": "c", "from": "\#(source)", "to": ["\#(copy)"]}"#
      let text = """
        # a 'comment \\\r

        \(try record("a")) name=a\r
          \(try record("b")) \\
         name=b
        \t
        \(object)
        \(try record("d")) context='#\\'\\'' "é' name=d

        """
      let script = """
        import os, sys
        text, mount = sys.argv[1].encode(), sys.argv[2]
        for cut in range(1, len(text)):
            fd = os.open(mount + "/submit", os.O_RDWR)
            for part in (text[:cut], text[cut:]):
                if os.write(fd, part) != len(part): print("short write, cut at", cut)
            names = os.read(fd, 4096).decode()
            os.close(fd)
            if names != "a\\nb\\nc\\nd\\n": sys.exit(f"names {names!r}, cut at {cut}")
            for job in (mount + "/jobs/" + name for name in names.split()):
                if open(job + "/result").read() != "ok\\n": print("cut at", cut)
                os.rmdir(job)
        """
      let outcome = try python(script, text, daemon.mount)
      #expect(outcome.succeeded && outcome.text.isEmpty, "\(outcome)")
      for name in ["a", "b", "c", "d"] { #expect(try Files.read(bench.memory + "/" + name) == [1, 2, 3], "\(name)") }
      #expect(try daemon.jobNames.isEmpty && daemon.refusals.isEmpty)
    }
  }

  /// A bad line, and the errno that it must give. `a0` is the name of the first record.
  static let bad = [
    ("rubbish", "EINVAL"), ("op=none after", "EINVAL"), ("from=/nonexistent to=/nonexistent", "ENOENT"), ("op=none context=\0", "EINVAL"),
    ("{\"op\": \"none\",}", "EINVAL"), ("op=none name=12", "EINVAL"), ("op=none client=nobody", "EINVAL ENOENT"),
    ("op=none name=there", "EEXIST EISDIR"),
  ]

  @Test("The good ones before a bad one stand, wherever it is; the rest is not made", arguments: bad, [0, 1, 5])
  func badLine(bad: (line: String, errnos: String), position: Int) throws {
    try withDaemon { _, daemon in
      _ = try daemon.submit("op=none", as: "there")
      let before = (0..<position).map { "op=none name=a\($0)\n" }.joined()
      let rest = bad.line + "\n" + (position...5).map { "op=none name=a\($0)\n" }.joined()
      let file = try OpenFile(daemon.path("submit"), O_RDWR)
      if position > 0 { #expect(try file.write(Array((before + rest).utf8)) == before.utf8.count) }
      let error = try errnoName { _ = try file.write(Array(rest.utf8)) }
      #expect(bad.errnos.split(separator: " ").contains(Substring(error)), "\(error)")
      let names = (0..<position).map { "a\($0)" }
      #expect(try daemon.jobNames == names + ["there"])
      #expect(try daemon.refusals.map { $0["error"] } == [error])
      // The descriptor takes more, and a read gives the names in the order of their records.
      try file.writeAll(Array("op=none name=last\n".utf8))
      #expect(String(decoding: try file.readToEnd(), as: UTF8.self) == (names + ["last"]).map { $0 + "\n" }.joined())
      try file.close()
      for name in names + ["last"] { #expect(try daemon.job(name).result() == "ok") }
    }
  }

  @Test("Names are read back in order, in pieces of any size, in between and at the end", arguments: [1, 2, 3, 7, 4096])
  func namesInPieces(size: Int) throws {
    try withDaemon { _, daemon in
      let file = try OpenFile(daemon.path("submit"), O_RDWR)
      var text = ""
      for round in 0..<3 {
        let batch = (0..<10).map { "op=none context=\(round * 10 + $0)" + ($0 % 2 == 0 ? "\n" : " name=n\(round)-\($0)\n") }
        #expect(try file.write(Array(batch.joined().utf8)) == batch.joined().utf8.count)
        // A name that is half read goes on where it stopped.
        text += String(decoding: try file.read(size), as: UTF8.self)
      }
      while case let bytes = try file.read(size), !bytes.isEmpty { text += String(decoding: bytes, as: UTF8.self) }
      try file.close()
      let names = text.split(separator: "\n").map(String.init)
      #expect(names.count == 30 && text.hasSuffix("\n"), "\(text)")
      for (index, name) in names.enumerated() { #expect(try daemon.job(name).status()["context"] == "\(index)", "\(name)") }
      #expect(try Set(names) == Set(daemon.jobNames))
    }
  }

  @Test("Thousands in one write(2), more than the kernel hands over at once")
  func thousands() throws {
    try withDaemon { _, daemon in
      let filler = String(repeating: "x", count: 240)
      let text = (0..<5000).map { "op=none context=\($0)-\(filler)\n" }.joined()
      #expect(text.utf8.count > 1 << 20)
      let file = try OpenFile(daemon.path("submit"), O_RDWR)
      try file.writeAll(Array(text.utf8))
      let names = String(decoding: try file.readToEnd(), as: UTF8.self).split(separator: "\n").map(String.init)
      try file.close()
      #expect(names.count == 5000 && names.compactMap { Int($0) } == names.compactMap { Int($0) }.sorted())
      for index in [0, 1, 2499, 4999] where index < names.count {
        #expect(try daemon.job(names[index]).result() == "ok")
        #expect(try daemon.job(names[index]).status()["context"].hasPrefix("\(index)-"))
      }
      #expect(try daemon.jobNames.count == 5000)
    }
  }

  @Test("A shell sees the good names and the error of a batch with a bad line", arguments: SubmitClient.shells)
  func shellBatch(name: String) throws {
    try withDaemon { bench, daemon in
      let batch = try bench.file("batch", Array("op=none name=a\nop=none name=b\nrubbish\nop=none name=c\n".utf8))
      let script = "{ cat \"$B\" >&3; echo \"code $?\"; while read -r id; do echo \"$id\"; done <&3; } 3<>\"$M/submit\""
      let outcome = try shell(script, with: name, environment: ["B": batch, "M": daemon.mount])
      #expect(outcome.line == "code 1\na\nb" && outcome.errorText.contains("Invalid argument"), "\(outcome)")
      #expect(try daemon.jobNames == ["a", "b"])
    }
  }
}
