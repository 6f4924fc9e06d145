import FaultKit
import Glibc
import Testing

@Suite("A daemon that lacks descriptors, memory, threads or io_uring")
struct ExhaustionTests {
  @Test(
    "Jobs and clients that would take the last descriptors are ENOBUFS, and what the daemon looks at is never in want",
    arguments: [40, 64, 100])
  func descriptors(limit: Int) throws {
    try withWorkbench { bench in
      let load = try ExhaustionLoad(bench, options: ["state=\(bench.memory)/state"], launcher: ["prlimit", "--nofile=\(limit):\(limit)"])
      let outcome = try load.check()
      #expect(outcome["held ENOBUFS"] == 1 && outcome["made ENOBUFS"] == 1, "\(outcome)")
      #expect(outcome["none ok"] == 4 && outcome["batch ok"] == 4, "what opens nothing needs none: \(outcome)")
      #expect(try load.daemon.refusals.contains { $0["text"].contains("descriptors") })
    }
  }

  @Test("Where io_uring is refused, copies go by threads, with the same results", arguments: [EPERM, ENOSYS])
  func noRing(errno: Int32) throws {
    try withWorkbench { bench in
      let load = try ExhaustionLoad(bench, launcher: Want.ringRefused(by: errno))
      #expect(try load.rings == 0)
      try load.check()
      #expect(try load.rings == 0)
    }
  }

  @Test(
    "Where no memory, or too little, may be locked, copies go without a ring, or through memory that isn't registered",
    arguments: [0, 256 << 10])
  func noLockedMemory(limit: Int) throws {
    try withWorkbench { bench in
      let load = try ExhaustionLoad(bench, launcher: Want.lockedMemory(limit))
      try load.check()
    }
  }

  @Test("Whatever RLIMIT_STACK says, threads have enough", arguments: ["262144", "unlimited"])
  func stack(limit: String) throws {
    try withWorkbench { bench in
      let load = try ExhaustionLoad(bench, launcher: ["prlimit", "--stack=\(limit):\(limit)"])
      let places = (0..<64).map { "to=\(bench.disk)/d\($0)" }.joined(separator: " ")
      #expect(try load.daemon.copy("from=\(bench.disk)/source \(places) create=yes").status().number("dests") == 64)
      try run("rmdir", load.daemon.job("job").path).orThrow()
      try load.check()
    }
  }

  @Test("With the least address space that a daemon starts with, and somewhat more, it refuses what it has no memory for and goes on")
  func addressSpace() throws {
    try withWorkbench { bench in
      var least = 64
      while true {
        let limit = ["prlimit", "--as=\(least << 20):\(least << 20)"]
        let mount = bench.disk + "/least"
        if !Files.exists(mount) { try Files.makeDirectory(mount) }
        // What can't start says so and leaves no mount.
        guard let daemon = try? Daemon(on: mount, launcher: limit) else {
          least += 16
          if least > 1024 { throw Missing("1 GiB is not enough to start") }
          continue
        }
        try daemon.release()
        break
      }
      for more in [0, 128] {
        let bytes = (least + more) << 20
        let load = try ExhaustionLoad(bench, launcher: ["prlimit", "--as=\(bytes):\(bytes)"])
        try load.check(lacking: ["ENOBUFS", "ENOMEM"], isRelieved: more > 0)
        let client = load.daemon.client("default")
        #expect(try client.set("pages", "1000000") == "ENOMEM")
        #expect(try client.value("pages") == "4096")
        try load.daemon.release()
      }
    }
  }

  @Test(
    "Without a thread to be had, a record or client that needs one is ENOBUFS; those that were accepted end well all the same",
    arguments: [true, false])
  func threads(withRing: Bool) throws {
    try withWorkbench { bench in
      let group = try bench.keep(TaskGroup())
      let load = try ExhaustionLoad(bench, launcher: group.launcher + (withRing ? [] : Want.ringRefused(by: EPERM)))
      try group.fill()
      // Its devices have no thread yet.
      let first = try load.check(relieving: group.relieve)
      #expect(first["made ENOBUFS"] == 2 && first["file ENOBUFS"] == 4 && first["block ENOBUFS"] == 4, "\(first)")
      #expect(first["none ok"] == 4, "\(first)")
      // Now there are a few: enough for the destinations of some jobs, and not for their sources.
      try group.fill()
      for _ in 0..<4 {
        let second = try load.check(relieving: group.relieve)
        #expect(second["file ok"] ?? 0 > 0, "\(second)")
        try group.fill()
      }
      try group.relieve()
    }
  }
}
