import FaultKit
import Glibc
import Testing

@Suite("A restart with many jobs")
struct RestartManyTests {
  @Test("Two thousand that were accepted in batches are all there after kill -9, and all end", arguments: Departure.allCases)
  func all(departure: Departure) throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let count = 2000
      let folder = try bench.memory + "/copies"
      try Files.makeDirectory(folder)
      let source = try bench.file("source", Pattern.bytes(4096, seed: 1), inMemory: true)
      let records = (0..<count).map { "from=\(source) to=\(folder)/\($0) create=yes context=c\($0)\n" }
      // Each write brings 500 records; what write(2) and read(2) said is what was promised.
      let script = """
        import os, sys
        file = os.open(sys.argv[1], os.O_RDWR)
        records, names = sys.stdin.buffer.read().splitlines(True), b""
        for begin in range(0, len(records), 500):
            batch = b"".join(records[begin:begin + 500])
            while batch: batch = batch[os.write(file, batch):]
            while part := os.read(file, 65536): names += part
        sys.stdout.buffer.write(names)
        """
      let command = Command("python3", ["-I", "-S", "-c", script, mount.daemon.path("submit")], input: Array(records.joined().utf8))
      let names = try command.run().orThrow().text.split(separator: "\n").map(String.init)
      #expect(names.count == count && Set(names).count == count)
      try mount.restart(departure)
      #expect(try mount.daemon.jobNames == names.sorted())
      for name in names { #expect(try mount.job(name).result() == "ok") }
      let listed = try Files.text(mount.daemon.path("list")).split(separator: "\n").map { try Words($0) }
      #expect(listed.map { $0["job"] } == names && listed.allSatisfy { $0["state"] == "done" && $0["id"] == $0["job"] })
      let expected = Pattern.bytes(4096, seed: 1)
      for index in 0..<count where try Files.read("\(folder)/\(index)") != expected { Issue.record("\(index) is not whole") }
      #expect(try mount.job(names[7]).status()["context"] == "c7")
    }
  }
}
