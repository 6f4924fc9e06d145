import CSystemShims
import FuseKit
import Glibc
import Synchronization
import Testing

@Suite(.enabled(if: getuid() == 0), .timeLimit(.minutes(2)))
struct WaitingTests {
  @Test func `A read of a stream waits until another thread answers it`() throws {
    try withMount { mount in
      let stream = try mount.open("stream")
      defer { close(stream) }
      let reader = Background { readOnce(stream) }
      #expect(eventually { mount.fileSystem.waitingReads == 1 })
      #expect(reader.value == nil)
      #expect(mount.fileSystem.publish("news\n") == 1)
      #expect(reader.wait() == .success("news\n"))
    }
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGKILL])
  func `A signal ends a waiting reader, and its waiter hears of it once`(_ signal: Int32) throws {
    try withMount { mount in
      let reader = try Child(["/bin/cat", mount.path(of: "stream")])
      #expect(eventually { mount.fileSystem.waitingReads == 1 })
      #expect(kill(reader.pid, signal) == 0)
      #expect(reader.endSignal() == signal)
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
      let end = writer.endSignal()
      // dd handles SIGINT itself, so it may also leave by exit.
      #expect(end == signal || (signal == SIGINT && end == 0))
      #expect(mount.fileSystem.interrupts == [1])
    }
  }

  @Test func `A write waits until another thread answers it`() throws {
    try withMount { mount in
      let gate = try mount.open("gate", O_WRONLY)
      defer { close(gate) }
      let writer = Background { writeOnce(gate, "record\n") }
      #expect(eventually { mount.fileSystem.waitingWrites == 1 })
      mount.fileSystem.openGate()
      #expect(writer.wait() == .success(7))
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

  @Test func `Two threads on one descriptor of a stream do not wait for each other`() throws {
    try withMount { mount in
      let stream = try mount.open("stream", O_RDWR)
      defer { close(stream) }
      let readers = (0..<2).map { _ in Background { readOnce(stream) } }
      // With a file position there would be one at most: the second sleeps on the position's lock, deaf to signals.
      #expect(eventually { mount.fileSystem.waitingReads == 2 })
      let writer = Background { writeOnce(stream, "x") }
      #expect(writer.wait() == .success(1))
      mount.fileSystem.publish("both")
      for reader in readers { #expect(reader.wait() == .success("both")) }
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
    let readsEach = 150
    try withMount { mount in
      let readers = try (0..<4).map { _ in
        let stream = try mount.open("stream")
        return Background { () -> [Int] in
          defer { close(stream) }
          var answered = 0
          var interrupted = 0
          for _ in 0..<readsEach {
            switch readOnce(stream) {
            case .success("x"): answered += 1
            case .failure(Failure(errno: EINTR)): interrupted += 1
            default: break
            }
          }
          return [answered, interrupted]
        }
      }
      var published = 0
      var turn = 0
      #expect(
        eventually(within: 60) {
          published += mount.fileSystem.publish("x")
          readers[turn % readers.count].signal(SIGUSR1)
          turn += 1
          return readers.allSatisfy { $0.value != nil }
        })
      let ends = readers.map { $0.wait() ?? [] }
      #expect(ends.allSatisfy { $0.reduce(0, +) == readsEach })
      #expect(ends.map { $0[0] }.reduce(0, +) == published)
      let interrupts = mount.fileSystem.interrupts
      #expect(ends.map { $0[1] }.reduce(0, +) == interrupts.count)
      #expect(Set(interrupts).count == interrupts.count)
      #expect(mount.fileSystem.waitingReads == 0)
    }
  }
}
