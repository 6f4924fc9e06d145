import CSystemShims
import FuseKit
import Glibc
import Locking
import Testing

extension MountedTests {
  @Suite
  struct SessionTests {
    @Test func `stop ends although a client holds a file open`() throws {
      try withMount { mount in
        let file = try mount.open("rendered")
        defer { close(file) }
        let stop = Background { mount.session.stop() }
        #expect(stop.wait() != nil)
        #expect(!mount.isMounted)
        #expect(readOnce(file) == .failure(Failure(errno: ENOTCONN)))
        mount.session.stop()
      }
    }

    @Test func `stop ends although a reader waits, whose late answer goes nowhere`() throws {
      try withMount { mount in
        let reader = try Child.reading(mount.path(of: "stream"))
        #expect(eventually { mount.fileSystem.waitingReads == 1 })
        let stop = Background { mount.session.stop() }
        #expect(stop.wait() != nil)
        #expect(reader.wait()?.output == "errno \(ECONNABORTED)\n")
        #expect(mount.fileSystem.publish("late") == 1)
        #expect(mount.fileSystem.interrupts.isEmpty)
      }
    }

    @Test func `stop answers the requests that have come before it`() throws {
      try withMount(threads: 1) { mount in
        // The one thread that serves is held in this read.
        let first = try Child.reading(mount.path(of: "meeting"))
        #expect(eventually { mount.fileSystem.state.withLock { $0.meeting } == 1 })
        let askers = try (0..<20).map { _ in try Child(["/usr/bin/stat", "-f", "-c", "%c", mount.path]) }
        #expect(eventually { askers.allSatisfy { $0.awaitsAnswer } })
        let stop = Background { mount.session.stop() }
        mount.fileSystem.state.withLock { $0.meeting += 1 }
        #expect(stop.wait() != nil)
        #expect(first.wait()?.output == "met\n")
        #expect(askers.map { $0.wait()?.output } == Array(repeating: "1000\n", count: 20))
      }
    }

    @Test func `stop ends a waiting reader although a forked child holds copies of all descriptors`() throws {
      try withMount { mount in
        let child = kcs_fork()
        if child == 0 {
          sleep(60)
          _exit(0)
        }
        defer {
          kill(child, SIGKILL)
          waitpid(child, nil, 0)
        }
        try #require(child > 0)
        let reader = try Child.reading(mount.path(of: "stream"))
        #expect(eventually { mount.fileSystem.waitingReads == 1 })
        mount.session.stop()
        #expect(reader.wait()?.output == "errno \(ECONNABORTED)\n")
      }
    }

    @Test func `Two callers of stop both return when it is done`() throws {
      try withMount { mount in
        let stops = (0..<2).map { _ in
          Background { () -> Bool in
            mount.session.stop()
            return mount.isMounted
          }
        }
        for stop in stops { #expect(stop.wait() == false) }
      }
    }

    @Test func `An unmount from outside is told once, and stop may be called from there`() throws {
      try withMount { mount in
        let session = mount.session
        let counter = Counter()
        session.whenEnded {
          session.stop()
          counter.increment()
        }
        let file = try mount.open("rendered")
        #expect(failure { umount2(mount.path, 0) } == EBUSY)
        close(file)
        #expect(eventually { mount.fileSystem.openHandles == 0 && umount2(mount.path, 0) == 0 })
        #expect(eventually { counter.value == 1 })
        session.stop()
        let late = Counter()
        session.whenEnded { late.increment() }
        #expect(late.value == 1)
        #expect(counter.value == 1)
      }
    }

    @Test func `A lazy unmount from outside serves open files until the last is closed`() throws {
      try withMount { mount in
        let counter = Counter()
        mount.session.whenEnded { counter.increment() }
        let file = try mount.open("rendered")
        #expect(kcs_detach_mount(mount.path) == 0)
        #expect(readOnce(file) == .success("state=done\n"))
        #expect(counter.value == 0)
        close(file)
        #expect(eventually { counter.value == 1 })
      }
    }

    @Test func `stop is told, also of a session that was never started`() throws {
      try withMount { mount in
        let counter = Counter()
        mount.session.whenEnded { counter.increment() }
        mount.session.stop()
        mount.session.stop()
        #expect(counter.value == 1)
      }
      let path = try temporaryDirectory()
      defer { rmdir(path) }
      let session = try Session(serving: MemoryFileSystem(), at: path, source: "none", type: "fusekit-test", options: [])
      let counter = Counter()
      session.whenEnded { counter.increment() }
      #expect(mountedPaths().contains(path))
      session.stop()
      #expect(counter.value == 1)
      #expect(!mountedPaths().contains(path))
      #expect(throws: FuseError.self) { try session.start() }
    }

    @Test func `A session that goes out of scope takes its mount along`() throws {
      let path = try temporaryDirectory()
      defer { rmdir(path) }
      do {
        let session = try Session(serving: MemoryFileSystem(), at: path, source: "none", type: "fusekit-test", options: [])
        try session.start(threads: 3)
        #expect(mountedPaths().contains(path))
      }
      #expect(!mountedPaths().contains(path))
    }

    @Test func `An open and a lookup whose answers cannot arrive are given back`() throws {
      try withMount { mount in
        let opener = try Child(["/bin/cat", mount.path(of: "slow-open")])
        let asker = try Child(["/bin/ls", mount.path(of: "elsewhere/slow-lookup")])
        #expect(eventually { mount.fileSystem.keepsOpen && mount.fileSystem.keepsLookup })
        mount.session.stop()
        #expect(opener.wait()?.code == 1)
        #expect(asker.wait()?.code == 2)
        mount.fileSystem.answerKeptOpens()
        mount.fileSystem.answerKeptLookups()
        let (opened, open) = mount.fileSystem.state.withLock { ($0.handlesEverOpened, $0.openHandles.count) }
        #expect(opened == 1 && open == 0)
        #expect(mount.fileSystem.lookups(of: "slow-lookup", in: "elsewhere") == 0)
      }
    }

    @Test func `An open and a lookup can be answered later`() throws {
      try withMount { mount in
        let opener = try Child(["/bin/cat", mount.path(of: "slow-open")])
        let asker = try Child(["/bin/ls", mount.path(of: "elsewhere/slow-lookup")])
        #expect(eventually { mount.fileSystem.keepsOpen && mount.fileSystem.keepsLookup })
        mount.fileSystem.answerKeptOpens()
        mount.fileSystem.answerKeptLookups()
        #expect(opener.wait()?.code == 0)
        #expect(asker.wait()?.code == 0)
      }
    }

    @Test func `A mount that cannot be made says why`() throws {
      let failure = #expect(throws: FuseError.self) {
        _ = try Session(serving: MemoryFileSystem(), at: "/nonexistent/mount", source: "none", type: "fusekit-test", options: [])
      }
      #expect(failure?.errno == ENOENT)
      let path = try temporaryDirectory()
      defer { rmdir(path) }
      let unknown = #expect(throws: FuseError.self) {
        _ = try Session(serving: MemoryFileSystem(), at: path, source: "none", type: "fusekit-test", options: ["no_such_option"])
      }
      #expect(unknown?.errno == EINVAL)
      #expect(!mountedPaths().contains(path))
    }

    @Test func `A source with a comma is one word of the mount table`() throws {
      let path = try temporaryDirectory()
      defer { rmdir(path) }
      let session = try Session(serving: MemoryFileSystem(), at: path, source: "a,ro,b", type: "fusekit-test", options: ["noexec"])
      defer { session.stop() }
      var facts = statvfs()
      try session.start()
      #expect(statvfs(path, &facts) == 0)
      #expect(facts.f_flag & UInt(ST_RDONLY) == 0)
      #expect(facts.f_flag & UInt(ST_NOSUID) != 0)
    }
  }
}
