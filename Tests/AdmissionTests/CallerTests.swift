import CSystemShims
import FaultKit
import Glibc
import Testing

@testable import Admission

@Suite("Whoever opened the file")
struct CallerTests {
  @Test("This process is seen, and served")
  func own() throws {
    let caller = try #require(Caller(uid: geteuid(), gid: getegid(), pid: getpid()))
    #expect(caller.uid == geteuid() && caller.gid == getegid() && caller.pid == getpid() && caller.process == getpid())
    #expect(caller.objection == nil)
    // Any thread is its process.
    #expect(Caller(uid: geteuid(), gid: getegid(), pid: kcs_gettid())?.process == getpid())
    #expect(Caller.process(ofThread: kcs_gettid()) == getpid())
  }

  @Test("Uid, gid, umask and process of another process are the kernel's")
  func other() throws {
    let script = "umask 027; exec setpriv --reuid=1234 --regid=2345 --clear-groups sleep 60"
    let child = try ready(shellCommand(script)) { try uid(of: $0.pid) == 1234 }
    defer { end(child) }
    let caller = try #require(Caller(uid: 1234, gid: 2345, pid: child.pid))
    #expect(caller.uid == 1234 && caller.gid == 2345 && caller.process == child.pid && caller.umask == 0o027)
    #expect(caller.objection == nil)
    // A request that carries another uid than its process has is not this process's.
    #expect(Caller(uid: 1235, gid: 2345, pid: child.pid) == nil)
    #expect(Caller(uid: 0, gid: 0, pid: child.pid) == nil)
  }

  @Test("A thread of another process is seen as that process")
  func thread() throws {
    let script = """
      import threading, time
      def run():
          print(threading.get_native_id())
          time.sleep(60)
      threading.Thread(target=run, daemon=True).start()
      time.sleep(60)
      """
    let child = try ready(pythonCommand(script, [])) { $0.text.hasSuffix("\n") }
    defer { end(child) }
    let thread = try #require(Int32(child.text.dropLast()))
    #expect(thread != child.pid)
    #expect(Caller.process(ofThread: thread) == child.pid)
    #expect(Caller(uid: geteuid(), gid: getegid(), pid: thread)?.process == child.pid)
  }

  @Test("Who can't be seen is nobody: pid 0, negative ones, and a process that has ended")
  func unseen() throws {
    let child = try Command("true").start()
    try child.wait()
    for pid in [0, -1, child.pid] {
      #expect(Caller(uid: geteuid(), gid: getegid(), pid: pid) == nil)
      #expect(Caller.process(ofThread: pid) == nil)
    }
  }

  @Test(
    "In another mount or user namespace a path can mean something else: refused",
    arguments: [("mnt", "exec unshare --mount sleep 60"), ("user", "exec unshare --user sleep 60")])
  func namespace(kind: String, script: String) throws {
    let own = try link("/proc/self/ns/\(kind)")
    let child = try ready(shellCommand(script)) { try link("/proc/\($0.pid)/ns/\(kind)") != own }
    defer { end(child) }
    let caller = try #require(Caller(uid: geteuid(), gid: getegid(), pid: child.pid))
    #expect(caller.objection == "the caller is in another mount or user namespace, or below another root")
    // Served all the same, what it has is its own root, and no rights of its user namespace.
    let guest = try #require(Caller(uid: geteuid(), gid: getegid(), pid: child.pid, foreigners: .atTheirRoot))
    #expect(guest.objection == nil && (guest.root != nil) == (kind == "mnt"))
    #expect(guest.kept.contains("capabilities=0 ") == (kind == "user"))
    // After a restart nobody knows where that root was.
    let kept = try #require(Caller(kept: guest.kept, uid: geteuid(), gid: getegid()))
    #expect((kept.objection == nil) == (kind == "user"))
  }

  @Test("In another network, pid or time namespace paths are the same: served")
  func harmless() throws {
    let own = try link("/proc/self/ns/uts")
    let child = try ready(shellCommand("exec unshare --uts --net sleep 60")) { try link("/proc/\($0.pid)/ns/uts") != own }
    defer { end(child) }
    let caller = try #require(Caller(uid: geteuid(), gid: getegid(), pid: child.pid))
    #expect(caller.objection == nil)
  }

  @Test("Below another root a path is another one: refused")
  func root() throws {
    let directory = try TemporaryDirectory()
    defer { #expect(throws: Never.self) { try directory.release() } }
    let script = "import os, sys, time\nos.chroot(sys.argv[1])\nprint('below')\ntime.sleep(60)"
    let child = try ready(pythonCommand(script, [directory.path])) { $0.text == "below\n" }
    defer { end(child) }
    let caller = try #require(Caller(uid: geteuid(), gid: getegid(), pid: child.pid))
    #expect(caller.objection == "the caller is in another mount or user namespace, or below another root")
  }

  /// Starts a program and waits until it is what the test wants.
  private func ready(_ command: Command, _ condition: (ChildProcess) throws -> Bool) throws -> ChildProcess {
    let child = try command.start()
    try eventually("`\(command.program)` is ready: \(child.errorText)") { try condition(child) }
    return child
  }

  private func end(_ child: ChildProcess) {
    #expect(throws: Never.self) { try child.end() }
  }

  private func uid(of process: Int32) throws -> UInt32 { try Files.facts("/proc/\(process)").uid }

  private func link(_ path: String) throws -> String {
    try #require(KernelText.link(path))
  }
}
