import FaultKit
import Glibc
import Testing

@Suite("check")
struct CheckTests {
  /// Writes to `check` on one descriptor, and reads what is answered.
  private func check(_ daemon: Daemon, _ text: String) throws -> (errno: String, answer: [Words]) {
    let file = try OpenFile(daemon.path("check"), O_RDWR)
    defer { try? file.close() }
    let errno = try errnoName { try file.writeAll(Array(text.utf8)) }
    return (errno, try lines(file))
  }

  private func lines(_ file: OpenFile) throws -> [Words] {
    try String(decoding: file.readToEnd(), as: UTF8.self).split(separator: "\n").map { try Words($0) }
  }

  @Test("A good record is answered in the form that its job's spec has, with what each destination is, and nothing starts")
  func resolved() throws {
    try withDaemon { bench, daemon in
      let events = try Events(daemon)
      let source = try bench.loop()
      try source.fill(seed: 1)
      let destinations = try (0..<2).map { _ in try bench.loop() }
      let before = try destinations.map { try $0.fill(seed: 2) }
      let record = "to=\(destinations[0].path) to=\(destinations[1].path)@1M from=\(source.path)@0+2048s retries=1 context='a b'"
      let checked = try check(daemon, "# a comment\n\n\(record)\n")
      #expect(checked.errno.isEmpty && checked.answer.count == 1)
      let answer = try #require(checked.answer.first)
      for index in 0..<2 {
        #expect(answer.keys.contains("dest\(index)_id") && answer["dest\(index)_size"].prefix { $0.isNumber } == "\(4 << 20)", "\(answer)")
      }
      // Nothing holds them, and nothing is left.
      for device in destinations { try OpenFile(device.path, O_RDWR | O_EXCL).close() }
      #expect(try daemon.jobNames.isEmpty && Files.text(daemon.path("list")).isEmpty && daemon.client("default").value("jobs") == "0")
      #expect(try events.take().isEmpty && daemon.refusals.isEmpty)
      for (device, bytes) in zip(destinations, before) { #expect(try Pattern.difference(device.contents(), from: bytes) == nil) }

      let spec = try Words(daemon.copy(record).text("spec"))
      let own = answer.pairs.filter { spec.keys.contains($0.key) }
      #expect(own.map(\.key) == spec.keys && own.map(\.value) == spec.pairs.map(\.value), "\(answer)")
    }
  }

  @Test("create=yes makes no file, a file to be grown is not grown, and a file that is there keeps its bytes")
  func files() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(10_000, seed: 1))
      let (old, fresh) = (try bench.file("old", [1, 2, 3]), bench.disk + "/fresh")
      let checked = try check(daemon, "from=\(source) to=\(old)@1K to=\(fresh) create=yes\n")
      #expect(checked.errno.isEmpty && checked.answer.count == 1 && checked.answer.first?["create"] == "yes")
      #expect(try !Files.exists(fresh) && Files.read(old) == [1, 2, 3] && daemon.jobNames.isEmpty)
      #expect(try Files.names(in: bench.disk) == ["memory", "mnt", "old", "source"].filter { Files.exists(bench.disk + "/" + $0) })
      try daemon.copy("from=\(source) to=\(old)@1K to=\(fresh) create=yes")
    }
  }

  @Test(
    "Every kind of record is answered in its order, by the byte as well as at once; other readers have none of it", arguments: [1, 65536])
  func batch(size: Int) throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.file("source", Pattern.bytes(4096, seed: 1)), try bench.file("destination", []))
      let object = "{\"from\": {\"path\": \"\(source)\", \"start\": 512, \"count\": 1024}, \"to\": [\"\(destination)\"]}"
      let text =
        "op=none context=first\nfrom=\(source) \\\n  to=\(destination)\n\(object)op=zero to=\(destination)@0+1K\r\nop=none name=last\n"
      let (file, other) = (try OpenFile(daemon.path("check"), O_RDWR), try OpenFile(daemon.path("check"), O_RDWR))
      for start in stride(from: 0, to: text.utf8.count, by: size) { try file.writeAll(Array(text.utf8.dropFirst(start).prefix(size))) }
      let answers = try lines(file)
      #expect(answers.count == 5 && answers.first?["context"] == "first" && answers.last?["op"] == "none", "\(answers)")
      #expect(
        answers.dropFirst(1).first?["from"].hasSuffix("@0+4096B") == true && answers.dropFirst(3).first?["op"] == "zero", "\(answers)")
      #expect(answers.dropFirst(2).first?["from"].hasSuffix("@512B+1024B") == true, "\(answers)")
      #expect(try other.readToEnd().isEmpty && file.readToEnd().isEmpty)
      try file.close()
      try other.close()
      #expect(try daemon.jobNames.isEmpty && Files.read(destination).isEmpty)
    }
  }

  static let refusals = [
    Refusal("an unknown key", "EINVAL", culprit: "form=") { "form=\($0.source.path) to=\($0.destination.path)" },
    Refusal("a number without a unit", "EINVAL", culprit: "@100") { "from=\($0.source.path)@100 to=\($0.destination.path)" },
    Refusal("a source that is not there", "ENOENT", culprit: "/nothing") { "from=\($0.bench.disk)/nothing to=\($0.destination.path)" },
    Refusal("a destination that is not there", "ENOENT", culprit: "/fresh") { "from=\($0.source.path) to=\($0.fresh)" },
    Refusal("a device that is too small", "ENOSPC") { "from=\($0.source.path) to=\($0.destination.path)@1M" },
    Refusal("a source region past its end", "ERANGE") { "from=\($0.source.path)@3M+2M to=\($0.destination.path)" },
    Refusal("regions that overlap", "EINVAL") { "from=\($0.source.path)@0+1M to=\($0.source.path)@512K" },
    Refusal("a file of this mount", "ELOOP", "EPERM") { "from=\($0.source.path) to=\($0.daemon.path("README"))" },
    Refusal("a held destination", "EBUSY") { box in
      let holder = try OpenFile(box.destination.path, O_RDWR | O_EXCL)
      box.bench.atEnd { try holder.close() }
      return "from=\(box.source.path) to=\(box.destination.path)"
    },
    Refusal("a client that is not there", "ENOENT", culprit: "client=") { _ in "op=none client=nobody" },
  ]

  @Test(
    "A bad record is refused with submit's errno, its refusal is in errors, and the good ones before it are answered", arguments: refusals)
  func refused(refusal: Refusal) throws {
    try withWorkbench { bench in
      let box = try Refused(bench)
      let record = try refusal.record(box)
      let checked = try check(box.daemon, "op=none context=good\n\(record)\n")
      #expect(refusal.errors.contains(checked.errno), "\(checked)")
      #expect(checked.answer.map { $0["context"] } == ["good"], "\(checked)")
      let entry = try #require(try box.daemon.refusals.last)
      #expect(entry["error"] == checked.errno && entry["record"].hasPrefix(record.prefix(20)) && !entry["text"].isEmpty, "\(entry)")
      #expect(try box.daemon.jobNames.isEmpty && !Files.exists(box.fresh))

      // submit says the same of it.
      #expect(try errnoName { try Files.write(box.daemon.path("submit"), record + "\n", flags: O_WRONLY) } == checked.errno)
      let other = try #require(try box.daemon.refusals.last)
      #expect(other["text"] == entry["text"] && other["column"] == entry["column"], "\(other)")
      #expect(try box.daemon.refusals.count == 2 && box.daemon.jobNames.isEmpty)
    }
  }

  @Test("A destination that an unfinished job writes is EBUSY, and free when that has ended")
  func busy() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let record = "from=\(try bench.loop().path) to=\(held.destination.path)\n"
      #expect(try check(daemon, record).errno == "EBUSY")
      try held.letGo()
      #expect(try held.job.result() == "ok" && check(daemon, record).errno.isEmpty)
    }
  }

  @Test("Half a record is refused at close, a shell reads the answer on one descriptor, and a later record needs no other")
  func shells() throws {
    try withDaemon { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      let environment = ["C": daemon.path("check"), "R": "from=\(source) to=\(bench.disk)/copy create=yes"]
      let script = "{ for i in 1 2; do echo \"$R context=$i\" >&3 && read -r line <&3 && echo \"$line\"; done; } 3<>\"$C\""
      for name in ["bash", "dash", "zsh", "busybox"] {
        let outcome = try shell(script, with: name, environment: environment)
        #expect(try outcome.text.split(separator: "\n").map { try Words($0)["context"] } == ["1", "2"], "\(name): \(outcome)")
      }
      let half = try shell("/bin/echo -n \"$R\" > \"$C\"", environment: environment)
      #expect(try !half.succeeded && daemon.refusals.last?["error"] == "EINVAL", "\(half)")
      #expect(try Files.mode(daemon.path("check")) == 0o100666 && daemon.jobNames.isEmpty && !Files.exists(bench.disk + "/copy"))
    }
  }

  @Test("A record that was checked a hundred times leaves no descriptor and no thread behind")
  func nothingLeft() throws {
    try withDaemon { bench, daemon in
      let (source, destination) = (try bench.loop(), try bench.loop())
      func held() throws -> [Int] { try ["fd", "task"].map { try Files.names(in: "/proc/\(daemon.process.pid)/\($0)").count } }
      let record = "from=\(source.path) to=\(destination.path)\n"
      #expect(try check(daemon, record).answer.count == 1)
      let before = try held()
      #expect(try check(daemon, String(repeating: record, count: 100)).answer.count == 100)
      try eventually("all is as before") { try zip(held(), before).allSatisfy { $0 <= $1 + 2 } }
    }
  }
}
