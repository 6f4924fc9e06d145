import FaultKit
import Glibc
import KCopy
import Testing

@Suite("The memory of a client")
struct ClientMemoryTests {
  @Test(
    "Pages that do not hold one sub-job, and sub-jobs that are no pages, are EINVAL",
    arguments: [
      (255, 1 << 20, 8), (0, 4096, 8), (-1, 4096, 8), (256, 0, 8), (256, -4096, 8), (256, 1000, 8), (256, 4097, 8), (256, 4096, 0),
      (1 << 20, 1 << 32, 8),
    ])
  func refuses(_ shape: (pages: Int, subjob: Int, slots: Int)) throws {
    var configuration = Client.Configuration()
    (configuration.pages, configuration.subjob, configuration.slots) = shape
    #expect(try refusal { _ = try Client(configuration) } == "EINVAL")
  }

  @Test("Pages that nobody has are ENOMEM", arguments: [1 << 40, Int.max / 4096 + 1, Int.max])
  func tooMany(_ pages: Int) throws {
    var configuration = Client.Configuration()
    configuration.pages = pages
    #expect(try refusal { _ = try Client(configuration) } == "ENOMEM")
  }

  @Test("Pages that the process's control group hasn't are ENOMEM, and not the end of the process")
  func controlGroup() async {
    await #expect(processExitsWith: .success) {
      // The old hierarchy has memory apart, the new one has all in one.
      let isOld = Files.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes")
      let group = (isOld ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup") + "/kcopyfs-test-\(getpid())"
      if !isOld { try? Files.write("/sys/fs/cgroup/cgroup.subtree_control", "+memory", flags: O_WRONLY) }
      try Files.makeDirectory(group)
      defer {
        try? Files.write(group + "/../cgroup.procs", "\(getpid())", flags: O_WRONLY)
        try? Files.removeDirectory(group)
      }
      try Files.write(group + (isOld ? "/memory.limit_in_bytes" : "/memory.max"), "\(256 << 20)", flags: O_WRONLY)
      try Files.write(group + "/cgroup.procs", "\(getpid())", flags: O_WRONLY)
      var configuration = Client.Configuration()
      let client = try Client(configuration)
      #expect(try refusal { try client.update { $0.pages = 70_000 } } == "ENOMEM")
      #expect(client.configuration.pages == 4096)
      configuration.pages = 60_000
      #expect(try refusal { _ = try Client(configuration) } == "ENOMEM", "three quarters at most")
      try client.update { $0.pages = 20_000 }
      client.destroy()
    }
  }

  @Test(
    "As many copies as you like share a pool of one sub-job, or a larger one, and all pages come back", arguments: transports,
    [16, 17, 40, 256])
  func sharedPool(_ transport: Client.Transport, _ pages: Int) throws {
    try withWorkbench { bench in
      let copies = 60
      let count = 300_000
      let bytes = Pattern.bytes(copies * count, seed: 1)
      let source = try bench.openFile("source", bytes, .reading)
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(transport, pages: pages, subjob: 64 << 10)
      let notified = Notified()
      for index in 0..<copies {
        let start = UInt64(index * count)
        try client.copy(
          from: Region(source, start: start, count: UInt64(count)), to: [Region(destination, start: start, count: UInt64(count))],
          notify: notified.handler)
      }
      #expect(try notified.wait(copies).allSatisfy(\.isComplete))
      #expect(client.pagesPeak > 0 && client.pagesPeak <= pages, "\(client.pagesPeak)")
      #expect(client.pagesFree == pages)
      #expect(Pattern.difference(try Files.read(bench.memory + "/destination"), from: bytes) == nil)
    }
  }

  @Test("Copies of a hundred times the pool's size at once leave the process no larger", arguments: transports)
  func processSize(_ transport: Client.Transport) async {
    await #expect(processExitsWith: .success) { [isRing = (transport == .ring) as Bool] in
      try withWorkbench { bench in
        let copies = 100
        let count = 1 << 20
        let source = try bench.openFile("source", Pattern.bytes(count, seed: 1), .reading)
        let destination = try bench.openFile("destination", [])
        let client = try bench.client(isRing ? .ring : .threads, pages: 256, subjob: 256 << 10)
        func round() throws {
          let notified = Notified()
          for index in 0..<copies {
            try client.copy(
              from: Region(source), to: [Region(destination, start: UInt64(index * count), count: UInt64(count))], notify: notified.handler)
          }
          try notified.wait(copies)
        }
        try round()
        let before = try ClientMemoryTests.residentBytes()
        for _ in 0..<5 { try round() }
        let growth = try ClientMemoryTests.residentBytes() - before
        #expect(try ClientMemoryTests.transferBytes() == 1 << 20, "the pool")
        // 100 MiB were asked for at once.  ThreadSanitizer keeps a shadow of whatever was touched.
        let isShadowed = dlsym(nil, "__tsan_init") != nil
        #expect(isShadowed || growth < 4 << 20)
      }
    }
  }

  /// The memory of all clients of the process, in bytes: mappings for huge pages that no fork copies.
  static func transferBytes() throws -> Int {
    var (sum, size) = (0, 0)
    for line in try Files.text("/proc/self/smaps").split(separator: "\n") {
      let words = line.split(separator: " ")
      if words[0] == "Size:" { size = Int(words[1]) ?? 0 }
      if words[0] == "VmFlags:", words.contains("hg"), words.contains("dc") { sum += size << 10 }
    }
    return sum
  }

  /// What the process has in memory, shared pages too, by /proc/self/smaps_rollup.
  static func residentBytes() throws -> Int {
    let line = try Files.text("/proc/self/smaps_rollup").split(separator: "\n").first { $0.hasPrefix("Rss:") }
    guard let kilobytes = line?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else { throw Missing("Rss in smaps_rollup") }
    return kilobytes << 10
  }

  @Test("A client that is destroyed gives its memory and its descriptors back", arguments: transports)
  func destroyed(_ transport: Client.Transport) async {
    await #expect(processExitsWith: .success) { [isRing = (transport == .ring) as Bool] in
      var configuration = Client.Configuration()
      configuration.transport = isRing ? .ring : .threads
      configuration.pages = 16 << 10
      let clients = try (0..<5).map { _ in try Client(configuration) }
      #expect(try ClientMemoryTests.transferBytes() == 5 * 64 << 20)
      for client in clients { client.destroy() }
      #expect(try ClientMemoryTests.transferBytes() == 0)

      configuration.pages = 256
      let descriptors = try Files.names(in: "/proc/self/fd").count
      for _ in 0..<60 { try Client(configuration).destroy() }
      // The process may open one or two for itself meanwhile.
      #expect(try Files.names(in: "/proc/self/fd").count < descriptors + 30)
    }
  }

  @Test("Several clients copy at once, each within its own pages", arguments: transports)
  func severalClients(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(2 << 20, seed: 1)
      let source = try bench.openFile("source", bytes, .reading)
      let destinations = try (0..<4).map { try bench.openFile("destination\($0)", []) }
      let clients = try (0..<4).map { try bench.client(transport, pages: 16 << $0, subjob: 64 << 10) }
      let notified = Notified()
      for piece in 0..<8 {
        for (client, destination) in zip(clients, destinations) {
          let start = UInt64(piece) << 18
          try client.copy(
            from: Region(source, start: start, count: 1 << 18), to: [Region(destination, start: start, count: 1 << 18)],
            notify: notified.handler)
        }
      }
      #expect(try notified.wait(32).allSatisfy(\.isComplete))
      for (index, client) in clients.enumerated() {
        #expect(client.pagesPeak <= 16 << index && client.pagesFree == 16 << index)
        #expect(client.bytesRead == bytes.count && client.bytesWritten == bytes.count)
        #expect(Pattern.difference(try Files.read(bench.memory + "/destination\(index)"), from: bytes) == nil)
      }
    }
  }
}
