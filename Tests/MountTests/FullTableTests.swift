import FaultKit
import Glibc
import Testing

@Suite("Tables that are full, and readers that are killed")
struct FullTableTests {
  @Test("All jobs that there may be, all that a client may have and all drafts, filled and emptied a hundred times, leave nothing")
  func hundredRounds() throws {
    try withDaemon(options: ["max_jobs=50"]) { bench, daemon in
      let source = try bench.file("source", Pattern.bytes(65536, seed: 1))
      let target = try bench.file("target", [UInt8](repeating: 0, count: 1 << 20))
      let start = try Holdings(afterStartOf: daemon)
      let script =
        PythonHelp.begin + """
          import collections
          mount, source, target, rounds = sys.argv[1:]
          jobs, small, said = mount + "/jobs/", mount + "/clients/small", collections.Counter()

          def again(action, *arguments):
              # What was closed is gone a moment later.
              until(lambda: not isinstance(attempt(action, *arguments), str))

          def draft(number): opened.append(os.open(f"{jobs}.draft{number}", os.O_WRONLY | os.O_CREAT))

          os.mkdir(small)
          put(small + "/rate", "1K")
          put(small + "/max_jobs", "3")
          for _ in range(int(rounds)):
              for number in range(3): again(put, f"{jobs}held{number}", f"from={source} to={target}@{64 * number}K client=small")
              said["client", attempt(put, jobs + "more", f"from={source} to={target}@512K client=small")] += 1
              until(lambda: attempt(os.lstat, jobs + "more") == "ENOENT")
              submit = os.open(mount + "/submit", os.O_RDWR)
              said["jobs", os.write(submit, b"op=none\\n" * 60) // 8, attempt(os.write, submit, b"op=none\\n")] += 1
              names = os.read(submit, 65536).decode().split()
              os.close(submit)
              opened = []
              for number in range(64): again(draft, number)
              said["drafts", attempt(draft, 64)] += 1
              for number, fd in enumerate(opened): os.close(fd); os.unlink(f"{jobs}.draft{number}")
              for number in range(3): put(f"{jobs}held{number}/ctl", "cancel")
              for name in names + ["held0", "held1", "held2"]:
                  said["result", attempt(lambda: open(f"{jobs}{name}/result").read().strip())] += 1
                  os.rmdir(jobs + name)
          os.rmdir(small)
          for key in sorted(said): print(*key, said[key])
          """
      func rounds(_ count: Int) throws {
        let text = try python(script, daemon.mount, source, target, "\(count)").orThrow().text
        let expected = [
          "client ENOBUFS \(count)", "drafts EDQUOT \(count)", "jobs 47 EDQUOT \(count)", "result ECANCELED \(3 * count)",
          "result ok \(47 * count)",
        ]
        #expect(text.split(separator: "\n").map(String.init) == expected)
        try start.expectAgain(daemon)
      }
      try rounds(10)
      let before = try Holdings(daemon).memory
      try rounds(90)
      let grown = try Holdings(daemon).memory - before
      #expect(grown < 8 << 20, "90 rounds took \(grown) bytes")
      try daemon.copy("from=\(source) to=\(target)")
    }
  }

  @Test("A thousand readers, each of another job, that are killed in read and poll leave nothing, and the jobs end for others")
  func killedReaders() throws {
    try withDaemon { bench, daemon in
      let start = try Holdings(afterStartOf: daemon)
      let held = try HeldJob(bench, daemon)
      // They wait for all that came before them.
      try Files.write(daemon.path("submit"), (0..<1000).map { "op=none name=after\($0)\n" }.joined(), flags: O_WRONLY)
      let script =
        PythonHelp.begin + """
          threading.stack_size(1 << 16)
          mount, first = sys.argv[1], int(sys.argv[2])
          def read(number):
              file = os.open(f"{mount}/jobs/after{number}/" + ("wait" if number % 4 else "result"), os.O_RDONLY)
              if number % 2:
                  poll = select.poll()
                  poll.register(file, select.POLLIN)
                  poll.poll()
              os.read(file, 1 << 16)
          threads = [threading.Thread(target=read, args=(number,)) for number in range(first, first + 250)]
          for thread in threads: thread.start()
          for thread in threads: until(lambda: any(word in where(thread.native_id) for word in ("request_wait_answer", "poll")))
          print("ready", flush=True)
          os.read(os.open(mount + "/events", os.O_RDONLY), 1 << 16)
          time.sleep(60)
          """
      var memory: [Int] = []
      for _ in 0..<3 {
        let readers = try stride(from: 0, to: 1000, by: 250).map { try pythonCommand(script, [daemon.mount, "\($0)"]).start() }
        for reader in readers {
          try eventually(within: .seconds(60), "they wait: \(reader.errorText)") { reader.text == "ready\n" }
        }
        for reader in readers { reader.signal(SIGKILL) }
        for reader in readers { #expect(try reader.wait(within: .seconds(10)).ending == .signal(SIGKILL)) }
        #expect(try daemon.job("after999").value("state") == "queued")
        memory.append(try Holdings(daemon).memory)
      }
      #expect(memory[2] - memory[0] < 8 << 20, "\(memory)")
      try held.letGo()
      #expect(try held.job.result() == "ok")
      for number in 0..<1000 {
        let job = daemon.job("after\(number)")
        #expect(try job.result() == "ok")
        try Files.removeDirectory(job.path)
      }
      try Files.removeDirectory(held.job.path)
      try start.expectAgain(daemon)
    }
  }
}
