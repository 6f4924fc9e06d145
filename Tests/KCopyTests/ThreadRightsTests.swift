import CSystemShims
import FaultKit
import Glibc
import Locking
import Testing

@testable import KCopy

/// A thread as /proc shows it.
struct ThreadFacts: CustomStringConvertible {
  let description: String
  private let lines: [Substring: [Substring]]

  /// Those of this process whose names begin so; the kernel's own that work for a ring are `iou-wrk`.
  static func all(_ names: String...) throws -> [ThreadFacts] {
    // One may end while it is looked at.
    try Files.names(in: "/proc/self/task").compactMap { try? ThreadFacts(Int32($0)!) }.filter { thread in
      names.contains { thread.name.hasPrefix($0) }
    }
  }

  init(_ number: Int32) throws {
    description = try Files.text("/proc/self/task/\(number)/status")
    lines = Dictionary(
      description.split(separator: "\n").map { line in
        let words = line.split { $0 == "\t" || $0 == " " }
        return (words[0], Array(words.dropFirst()))
      }, uniquingKeysWith: { first, _ in first })
  }

  subscript(_ key: Substring) -> [Substring] { lines[key] ?? [] }
  var name: Substring { self["Name:"].first ?? "" }
  var number: Int32 { Int32(self["Pid:"].first ?? "") ?? 0 }

  /// Real, effective, saved, and that of the file system.
  var hasNoRights: Bool {
    self["Uid:"] == ["0", "0", "0", "65534"] && self["Gid:"].last == "65534" && self["Groups:"].isEmpty && self["NoNewPrivs:"] == ["1"]
      && ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"].allSatisfy { self[$0] == ["0000000000000000"] }
  }
}

@Suite("What the threads of the engine may do")
struct ThreadRightsTests {
  @Test(
    "They have no capabilities and no groups, and files see nobody, while they copy and after; so have the kernel's own of a ring",
    arguments: transports)
  func engine(_ transport: Client.Transport) async {
    await #expect(processExitsWith: .success) { [isRing = (transport == .ring) as Bool] in
      try withWorkbench { bench in
        try run("truncate", "-s", "64M", bench.disk + "/hole").orThrow()
        let bytes = Pattern.bytes(8 << 20, seed: 1)
        let source = try bench.openFile("source", bytes, inMemory: false, .reading)
        // Written into a hole, and through the page cache: both may block.
        let destinations = try [bench.disk + "/hole", bench.file("destination", [], inMemory: true)].map {
          try Device(path: $0, access: .writing(exclusive: true))
        }
        let client = try bench.client(isRing ? .ring : .threads)
        let seen = Locked<[ThreadFacts]>([])
        let notified = Notified()
        try client.copy(from: Region(source), to: destinations.map { Region($0, start: 0, count: source.size) }) {
          let facts = (try? ThreadFacts(kcs_gettid())).map { [$0] } ?? []
          seen.withLock { $0 += facts }
          notified.handler($0)
        }
        #expect(try notified.wait()[0].isComplete)
        for destination in destinations {
          try closeAndWait(destination) { _ in
            let facts = (try? ThreadFacts(kcs_gettid())).map { [$0] } ?? []
            seen.withLock { $0 += facts }
          }
        }
        let threads = try ThreadFacts.all("kcopy-", "iou-")
        #expect(threads.contains { $0.name == "kcopy-client" } && threads.contains { $0.name == "kcopy-device" })
        for thread in threads + seen.withLock({ $0 }) { #expect(thread.hasNoRights, "\(thread)") }
        #expect(seen.withLock { $0.map(\.name) } == ["kcopy-client", "kcopy-device", "kcopy-device"])
        #expect(Pattern.difference(try Files.read(bench.memory + "/destination"), from: bytes) == nil)
      }
    }
  }

  @Test("A process of nobody can neither send them signals, nor move or slow them, nor look into them")
  func foreign() async {
    await #expect(processExitsWith: .success) {
      try withWorkbench { bench in
        let client = try bench.client(.ring)
        let thread = try #require(try ThreadFacts.all("kcopy-client").first)
        let script = """
          import os, sys
          thread, process = int(sys.argv[1]), sys.argv[2]
          def attempt(what):
              try: what(); print("done")
              except PermissionError: print("refused")
          attempt(lambda: os.kill(thread, 9))
          attempt(lambda: os.sched_setaffinity(thread, {0}))
          attempt(lambda: os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0)))
          attempt(lambda: os.setpriority(os.PRIO_PROCESS, thread, 19))
          for name in ["mem", "fd", "environ", "maps", "syscall"]:
              attempt(lambda: (os.listdir if name == "fd" else open)(f"/proc/{process}/task/{thread}/{name}"))
          """
        let outcome = try Command(
          "setpriv",
          [
            "--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-I", "-S", "-c", script, "\(thread.number)", "\(getpid())",
          ]
        ).run().orThrow()
        #expect(outcome.text == String(repeating: "refused\n", count: 9), "\(outcome)")
        withExtendedLifetime(client) {}
      }
    }
  }

  @Test("A root that may not change its ids gets EPERM, and no thread goes on as root")
  func impossible() async {
    await #expect(processExitsWith: .success) {
      let setUsers: UInt64 = 7
      #expect(kcs_keep_capabilities(~(1 << setUsers)) == 0)
      for transport in transports {
        var configuration = Client.Configuration()
        configuration.transport = transport
        #expect(try refusal { _ = try Client(configuration) } == "EPERM")
      }
      try withWorkbench { bench in
        let path = try bench.file("destination", [])
        #expect(try refusal { _ = try Device(path: path, access: .writing(exclusive: true)) } == "EPERM")
      }
      try eventually("no thread is left") { try ThreadFacts.all("kcopy-").isEmpty }
    }
  }

  @Test("A thread that is made by one that acts for another user is not that user's")
  func acting() async {
    await #expect(processExitsWith: .success) {
      // The saved one stays 0.
      try #require(setreuid(1000, 0) == 0 && seteuid(1000) == 0)
      let facts = Locked<ThreadFacts?>(nil)
      try SystemThread(withoutRights: "kcopy-test") {
        let found = try? ThreadFacts(kcs_gettid())
        facts.withLock { $0 = found }
      }.join()
      let found = try #require(facts.withLock { $0 })
      #expect(found.hasNoRights, "\(found)")
    }
  }

  @Test("A process that is not root's keeps what it has")
  func unprivileged() async {
    await #expect(processExitsWith: .success) {
      try #require(setgid(1000) == 0 && setuid(1000) == 0)
      let client = try Client()
      let thread = try #require(try ThreadFacts.all("kcopy-client").first)
      #expect(thread["Uid:"] == ["1000", "1000", "1000", "1000"] && thread["NoNewPrivs:"] == ["0"], "\(thread)")
      client.destroy()
    }
  }

  @Test("Memory that a client gets later is registered too, whatever the limit of locked memory")
  func laterMemory() async {
    await #expect(processExitsWith: .success) {
      var limit = rlimit(rlim_cur: 1 << 16, rlim_max: 1 << 16)
      let lockedMemory: Int32 = 8
      try #require(setrlimit(__rlimit_resource_t(UInt32(lockedMemory)), &limit) == 0)
      var configuration = Client.Configuration()
      configuration.transport = .ring
      let client = try Client(configuration)
      for pages in [8192, 4096, 16384] {
        try client.update { $0.pages = pages }
        try eventually("\(pages) pages are registered") { try ThreadFacts(getpid())["VmPin:"].first == "\(pages * 4)" }
      }
      client.destroy()
    }
  }

  @Test(
    "Reading, writing, zeroing, flushing, growing and closing what others may not open need no rights on any file system",
    arguments: ["ext4", "xfs", "btrfs", "tmpfs"],
    transports)
  func fileSystems(_ type: String, _ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let place = bench.disk + "/place"
      if type == "tmpfs" {
        _ = bench.keep(try Mount(type: type, on: place, options: "mode=0700"))
      } else {
        let loop = try bench.loop(size: 512 << 20)
        try run("mkfs.\(type)", "-q", loop.path).orThrow()
        _ = bench.keep(try Mount(type: type, device: loop.path, on: place))
      }
      let bytes = Pattern.bytes((4 << 20) + 777, seed: 1)
      let (from, to) = (place + "/from", place + "/to")
      try Files.write(from, bytes)
      try Files.write(to, [UInt8](repeating: 1, count: 4096))
      try run("chown", "1000:1000", from, to).orThrow()
      // The set-uid and the set-gid bit, and capabilities, are an executable's of its owner.
      try run("chmod", "0600", from).orThrow()
      try run("chmod", "6710", to).orThrow()
      try run("setcap", "cap_net_raw+ep", to).orThrow()
      try run("chmod", "0700", place).orThrow()
      let source = try Device(path: from, access: .reading)
      let destination = try Device(path: to, access: .writing(exclusive: true))
      let client = try bench.client(transport)
      let directory = kcs_open(place, O_RDONLY | O_DIRECTORY, 0)
      destination.syncsToo(directory: directory)
      #expect(try copyAndWait(client, from: Region(source), to: [Region(destination, start: 0, count: source.size)]).isComplete)
      #expect(try Files.facts(to).permissions == 0o710)
      #expect(try run("getcap", to).orThrow().text.isEmpty)
      #expect(Pattern.difference(try Files.read(to), from: bytes) == nil)
      #expect(try zeroAndWait(client, [Region(destination, start: 1 << 20, count: 1 << 20)]).isComplete)
      let zeroed = Pattern.patched(bytes, at: 1 << 20, with: [UInt8](repeating: 0, count: 1 << 20)[...])
      #expect(Pattern.difference(try Files.read(to), from: zeroed) == nil)
      for device in [source, destination] { try closeAndWait(device) }
    }
  }

  @Test("What a file system keeps for root is not used by a copy", arguments: transports)
  func reserve(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let loop = try bench.loop(size: 64 << 20)
      try run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "50", loop.path).orThrow()
      let mount = bench.keep(try Mount(type: "ext4", device: loop.path, on: bench.disk + "/full"))
      let path = try bench.file("full/destination", [])
      let source = try bench.openFile("source", Pattern.bytes(40 << 20, seed: 1), .reading)
      let destination = try Device(path: path, access: .writing(exclusive: true))
      let client = try bench.client(transport)
      let notification = try copyAndWait(client, from: Region(source), to: [Region(destination, start: 0, count: source.size)])
      #expect(notification.progress.firstError?.errno == ENOSPC)
      try closeAndWait(destination)
      // Root itself may.
      try Files.write(mount.path + "/root", [UInt8](repeating: 1, count: 8 << 20))
    }
  }
}
