import CSystemShims
import FaultKit
import Glibc
import KCopy
import Testing

@testable import Admission

@Suite("A thread that acts as the caller")
struct ActingTests {
  /// A process of some user's, and the caller that it is.
  private static func withCaller<R>(_ arguments: [String], uid: UInt32 = 1234, _ body: (Caller) throws -> R) throws -> R {
    let child = try Command("setpriv", arguments + ["sleep", "60"]).start()
    defer { #expect(throws: Never.self) { try child.end() } }
    try eventually("`setpriv` is ready: \(child.errorText)") { try Files.text("/proc/\(child.pid)/comm") == "sleep\n" }
    return try body(try #require(Caller(uid: uid, gid: uid, pid: child.pid)))
  }

  private static let alice = ["--reuid=1234", "--regid=1234", "--groups=3456,7"]

  /// Lines of this thread's status.
  private static func status(_ keys: String...) throws -> [String] {
    try Files.text("/proc/thread-self/status").split(separator: "\n").map(String.init).filter { line in
      keys.contains { line.hasPrefix($0 + ":") }
    }
  }

  @Test("It has the caller's effective ids, groups and capabilities, and root's real and saved ids, which nobody but root may signal")
  func identity() throws {
    try Self.withCaller(Self.alice) { caller in
      let keys = ["Uid", "Gid", "Groups", "CapEff", "CapPrm"]
      let before = try keys.map { try Self.status($0)[0] }
      let during = try caller.acting(failure: { Objection($0, "") }) { () throws(Objection) in
        Result { try keys.map { try Self.status($0)[0] } }
      }.get()
      #expect(during[0] == "Uid:\t0\t1234\t0\t1234" && during[1] == "Gid:\t0\t1234\t0\t1234", "\(during)")
      #expect(during[2].split(whereSeparator: { ":\t ".contains($0) }) == ["Groups", "7", "3456"])
      #expect(during[3] == "CapEff:\t0000000000000000" && during[4] == before[4])
      #expect(try keys.map { try Self.status($0)[0] } == before)
    }
  }

  @Test("A process of the caller can't signal it")
  func signals() throws {
    try withWorkbench { bench in
      chmod(bench.disk, 0o777)
      let script = """
        import errno, os, sys, time
        while not os.path.exists(sys.argv[1] + "/go"): time.sleep(0.01)
        try: os.kill(int(sys.argv[2]), 0); print("allowed")
        except OSError as e: print(errno.errorcode[e.errno])
        """
      let arguments = [
        "--reuid=1234", "--regid=1234", "--clear-groups", "python3", "-I", "-S", "-c", script, bench.disk, "\(kcs_gettid())",
      ]
      let killer = try Command("setpriv", arguments).start()
      try Self.withCaller(Self.alice) { caller in
        try caller.acting(failure: { Objection($0, "") }) { () throws(Objection) in
          Result {
            try Files.write(bench.disk + "/go", [])
            try eventually("it has tried") { killer.text.hasSuffix("\n") }
          }
        }.get()
      }
      #expect(try killer.wait().line == "EPERM")
    }
  }

  @Test("An error in there ends it too, and the thread is itself again")
  func failing() throws {
    try Self.withCaller(Self.alice) { caller in
      let before = try Self.status("Uid", "Gid", "Groups", "CapEff")
      #expect(throws: Objection(EIO, "within")) {
        try caller.acting(failure: { Objection($0, "") }) { () throws(Objection) in throw Objection(EIO, "within") }
      }
      #expect(try Self.status("Uid", "Gid", "Groups", "CapEff") == before)
    }
  }

  @Test("Root with fewer capabilities has those only, and one with all is not another")
  func capabilities() throws {
    try Self.withCaller(["--bounding-set=-dac_override", "--inh-caps=-all"], uid: 0) { caller in
      let during = try caller.acting(failure: { Objection($0, "") }) { () throws(Objection) in Result { try Self.status("CapEff")[0] } }
        .get()
      let own = try #require(UInt64(try Self.status("CapEff")[0].split(separator: "\t")[1], radix: 16))
      #expect(UInt64(during.split(separator: "\t")[1], radix: 16) == own & ~(1 << 1))
    }
  }

  @Test("The threads of what is opened for a caller, and what is asked about it, are the daemon's")
  func threads() throws {
    try withStage { stage in
      try Self.withCaller(Self.alice) { caller in
        let path = try stage.bench.file("file", [UInt8](repeating: 1, count: 4096))
        chmod(path, 0o666)
        let endpoint = try stage.admission.openDestination(path, creates: false, for: caller)
        // Those of other tests are their callers for a moment.
        try eventually("no thread is the caller") {
          let tasks = try Files.names(in: "/proc/self/task").compactMap { try? Files.text("/proc/self/task/\($0)/status") }
          return tasks.allSatisfy { !$0.contains("Uid:\t0\t1234") && !$0.contains("Uid:\t1234") }
        }
        stage.close(endpoint)
      }
    }
  }

  @Test("A file is made as the caller, also in a directory that they may write but not read, and removed as the caller")
  func creates() throws {
    try withStage { stage in
      try Self.withCaller(Self.alice) { caller in
        let box = stage.bench.disk + "/box"
        try Files.makeDirectory(box)
        chmod(box, 0o733)
        let endpoint = try stage.admission.openDestination(box + "/made", creates: true, for: caller)
        let facts = try Files.facts(box + "/made")
        #expect(facts.uid == 1234)
        // A directory that forbids it by now keeps the file.
        chmod(box, 0o711)
        stage.admission.undo(endpoint)
        #expect(Files.exists(box + "/made"))
        chmod(box, 0o733)
        let second = try stage.admission.openDestination(box + "/second", creates: true, for: caller)
        stage.admission.undo(second)
        #expect(!Files.exists(box + "/second"))
        let objection = #expect(throws: Objection.self) {
          try stage.admission.openDestination(stage.bench.disk + "/fresh", creates: true, for: caller)
        }
        #expect(objection?.errno == EACCES)
      }
    }
  }
}
