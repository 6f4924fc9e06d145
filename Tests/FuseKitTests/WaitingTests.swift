import CSystemShims
import FuseKit
import Glibc
import Locking
import Testing

extension MountedTests {
  @Suite
  struct WaitingTests {
    @Test func `A read of a stream waits until another thread answers it`() throws {
      try withMount { mount in
        let reader = try Child.reading(mount.path(of: "stream"))
        #expect(eventually { mount.fileSystem.waitingReads == 1 })
        #expect(!reader.hasEnded)
        #expect(mount.fileSystem.publish("news") == 1)
        #expect(reader.wait()?.output == "news\n")
      }
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGKILL])
    func `A signal ends a waiting reader, and its waiter hears of it once`(_ signal: Int32) throws {
      try withMount { mount in
        let reader = try Child(["/bin/cat", mount.path(of: "stream")])
        #expect(eventually { mount.fileSystem.waitingReads == 1 })
        #expect(kill(reader.pid, signal) == 0)
        #expect(reader.wait()?.signal == signal)
        #expect(eventually { mount.fileSystem.interrupts.count == 1 })
        #expect(mount.fileSystem.publish("late") == 0)
        #expect(eventually { mount.fileSystem.openHandles == 0 })
        #expect(mount.fileSystem.interrupts == [1])
      }
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGKILL])
    func `A signal ends a waiting writer`(_ signal: Int32) throws {
      try withMount { mount in
        let writer = try Child(["/bin/dd", "if=/dev/zero", "of=\(mount.path(of: "gate"))", "bs=100", "count=1", "status=none"])
        #expect(eventually { mount.fileSystem.waitingWrites == 1 })
        #expect(kill(writer.pid, signal) == 0)
        let end = try #require(writer.wait())
        // dd handles SIGINT itself, and may leave by exit.
        #expect(end.signal == signal || (signal == SIGINT && end.signal == 0))
        #expect(mount.fileSystem.interrupts == [1])
      }
    }

    @Test func `A write waits until another thread answers it`() throws {
      try withMount { mount in
        let writer = try Child(["/bin/sh", "-c", "echo record > \(mount.path(of: "gate"))"])
        #expect(eventually { mount.fileSystem.waitingWrites == 1 })
        mount.fileSystem.openGate()
        #expect(writer.wait()?.code == 0)
      }
    }

    @Test func `A read with O_NONBLOCK does not wait, also when the flag came after open`() throws {
      try withMount { mount in
        let stream = try mount.open("stream")
        defer { close(stream) }
        #expect(fcntl(stream, F_SETFL, O_NONBLOCK) == 0)
        #expect(readOnce(stream) == .failure(Failure(errno: EAGAIN)))
      }
    }

    @Test func `Two readers and a writer of one open stream do not wait for each other`() throws {
      try withMount { mount in
        let path = mount.path(of: "stream")
        let readers = try Child(["/bin/sh", "-c", "exec 3<>\(path); head -c 4 <&3 & head -c 4 <&3 & echo x >&3; wait"])
        // With a file position there would be one at most: the second sleeps on the position's lock, deaf to signals.
        #expect(eventually { mount.fileSystem.waitingReads == 2 })
        #expect(eventually { mount.fileSystem.content(of: "stream") == "x\n" })
        #expect(mount.fileSystem.publish("both") == 2)
        #expect(readers.wait()?.output == "bothboth")
        let stream = try mount.open("stream")
        defer { close(stream) }
        #expect(failure { Int32(lseek(stream, 0, SEEK_SET)) } == ESPIPE)
      }
    }

    @Test func `A poll that sleeps is woken, and asks again`() throws {
      try withMount { mount in
        let file = try mount.open("rendered")
        defer { close(file) }
        let sleeper = Background { () -> Int16 in
          var request = pollfd(fd: file, events: Int16(POLLPRI), revents: 0)
          return poll(&request, 1, 20_000) == 1 ? request.revents : 0
        }
        #expect(eventually { mount.fileSystem.state.withLock { !$0.wakers.isEmpty } })
        #expect(sleeper.value == nil)
        mount.fileSystem.wakePollers(UInt32(POLLPRI | POLLERR))
        #expect(sleeper.wait() == Int16(POLLPRI | POLLERR))
        #expect(mount.fileSystem.state.withLock { $0.polls } >= 2)
      }
    }

    @Test func `A waker outlives its file and its mount`() throws {
      var waker: PollWaker?
      try withMount { mount in
        let file = try mount.open("rendered")
        var request = pollfd(fd: file, events: Int16(POLLPRI), revents: 0)
        #expect(poll(&request, 1, 1) == 0)
        waker = mount.fileSystem.state.withLock { $0.wakers.values.first }
        close(file)
        #expect(eventually { mount.fileSystem.openHandles == 0 })
        waker?.wake()
      }
      #expect(waker != nil)
      waker?.wake()
    }

    @Test func `Answers and interrupts race, and each read ends exactly once`() throws {
      let readsEach = 200
      try withMount { mount in
        let readers = try (0..<4).map { _ in try Child.reading(mount.path(of: "stream"), times: readsEach) }
        // A reader that waits has its signal handler.
        #expect(eventually { mount.fileSystem.waitingReads == readers.count })
        var published = 0
        var turn = 0
        #expect(
          eventually(within: 60) {
            published += mount.fileSystem.publish("x")
            let reader = readers[turn % readers.count]
            if !reader.hasEnded { kill(reader.pid, SIGUSR1) }
            turn += 1
            return readers.allSatisfy(\.hasEnded)
          })
        let ends = readers.flatMap { ($0.wait()?.output ?? "").split(separator: "\n") }
        let interrupts = mount.fileSystem.interrupts
        #expect(ends.count == readers.count * readsEach)
        #expect(ends.filter { $0 == "x" }.count == published)
        #expect(ends.filter { $0 == "errno \(EINTR)" }.count == interrupts.count)
        #expect(published + interrupts.count == ends.count)
        #expect(Set(interrupts).count == interrupts.count)
        #expect(mount.fileSystem.waitingReads == 0)
      }
    }
  }
}
