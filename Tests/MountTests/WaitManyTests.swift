import FaultKit
import Glibc
import Testing

@Suite("Many and odd readers of wait and result")
struct WaitManyTests {
  private func threads(of daemon: Daemon) throws -> Int { try Files.names(in: "/proc/\(daemon.process.pid)/task").count }

  @Test("A thousand blocked readers take no thread of the daemon each, hold up nobody, and all are told")
  func thousand() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script = """
        import os, resource, sys, threading
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        threading.stack_size(1 << 16)
        texts = []
        def read(name):
            file = os.open(sys.argv[1] + "/" + name, os.O_RDONLY)
            texts.append(os.read(file, 1 << 16))
        threads = [threading.Thread(target=read, args=(name,)) for name in ["wait", "result"] * 500]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(sum(text == b"ok\\n" for text in texts), sum(text.startswith(b"state=done\\n") for text in texts))
        """
      let before = try threads(of: daemon)
      let readers = try pythonCommand(script, [held.job.path]).start()
      for name in ["wait", "result"] { try readers.awaitRead(of: "\(held.job.path)/\(name)", byThreads: 500, within: .seconds(30)) }
      // Admission's and the copy's own may come and go.
      #expect(try threads(of: daemon) <= before + 8)
      #expect(try held.job.value("state") == "running" && daemon.submit("op=none", as: "barrier").value("state") == "queued")
      try held.letGo()
      #expect(try readers.wait(within: .seconds(30)).text == "500 500\n")
    }
  }

  @Test(
    "A handled signal ends a read with EINTR, whether its handler restarts calls or not, and the next read waits on",
    arguments: [true, false])
  func alarm(restarts: Bool) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      // Python itself would read again.
      let script =
        PythonHelp.begin + """
          libc = ctypes.CDLL(None, use_errno=True)
          signal.signal(signal.SIGALRM, lambda *_: None)
          signal.siginterrupt(signal.SIGALRM, sys.argv[2] == "false")
          fd, text = os.open(sys.argv[1] + "/result", os.O_RDONLY), ctypes.create_string_buffer(100)
          print(libc.read(fd, text, 100), errno.errorcode.get(ctypes.get_errno()))
          print(libc.read(fd, text, 100), text.value)
          """
      let reader = try pythonCommand(script, [held.job.path, "\(restarts)"]).start()
      try reader.awaitRead(of: held.job.path + "/result")
      reader.signal(SIGALRM)
      try eventually("the read has ended") { reader.text == "-1 EINTR\n" }
      try reader.awaitRead(of: held.job.path + "/result")
      try held.letGo()
      #expect(try reader.wait(within: .seconds(20)).text == "-1 EINTR\n3 b'ok\\n'\n")
    }
  }

  @Test("Two threads that read one descriptor both sleep where a signal reaches them, and SIGKILL ends their process")
  func twoThreads() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script =
        PythonHelp.begin + """
          fd, texts = os.open(sys.argv[1] + "/result", os.O_RDONLY), []
          threads = [threading.Thread(target=lambda: texts.append(os.read(fd, 100))) for _ in range(2)]
          for thread in threads: thread.start()
          # Where a thread of Python waits for its turn is no place of ours.
          until(lambda: all(where(t.native_id)[:5] not in ("0", "futex") for t in threads))
          print([open(f"/proc/self/task/{t.native_id}/stat").read().rsplit(")", 1)[1].split()[0] for t in threads])
          for thread in threads: thread.join()
          print(sorted(texts))
          """
      let readers = try (0..<2).map { _ in try pythonCommand(script, [held.job.path]).start() }
      for reader in readers {
        try eventually("it has looked: \(reader.errorText)") { reader.text.contains("\n") }
        #expect(reader.text == "['S', 'S']\n")
      }
      readers[0].signal(SIGKILL)
      #expect(try readers[0].wait(within: .seconds(2)).ending == .signal(SIGKILL))
      try held.letGo()
      #expect(try readers[1].wait(within: .seconds(20)).text == "['S', 'S']\n[b'', b'ok\\n']\n")
    }
  }

  @Test("A process that forks while a thread of it waits goes on waiting, whatever becomes of the child and its descriptor")
  func forked() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script =
        PythonHelp.begin + """
          fd, texts = os.open(sys.argv[1] + "/result", os.O_RDONLY), []
          reader = threading.Thread(target=lambda: texts.append(os.read(fd, 100)))
          reader.start()
          until(lambda: "request_wait_answer" in where(reader.native_id))
          if not (child := os.fork()): os._exit(3)
          print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
          if not (child := os.fork()):
              os.read(fd, 100)
              os._exit(4)
          until(lambda: "request_wait_answer" in open(f"/proc/{child}/wchan").read())
          os.kill(child, signal.SIGTERM)
          print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "request_wait_answer" in where(reader.native_id))
          reader.join()
          print(texts)
          """
      let reader = try pythonCommand(script, [held.job.path]).start()
      try eventually("both children are gone: \(reader.errorText)") { reader.text == "3\n-15 True\n" }
      try held.letGo()
      #expect(try reader.wait(within: .seconds(20)).text == "3\n-15 True\n[b'ok\\n']\n")
    }
  }

  @Test("Readers that wait when a job is cancelled get its text or its errno", arguments: ["queued", "running"])
  func cancelled(state: String) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let job = try state == "queued" ? daemon.submit("op=none", as: "queued") : held.job
      let script =
        PythonHelp.begin + """
          def read(name): texts[name] = attempt(os.read, os.open(sys.argv[1] + "/" + name, os.O_RDONLY), 15)
          texts = {}
          threads = [threading.Thread(target=read, args=(name,)) for name in ["result", "wait"]]
          for thread in threads: thread.start()
          for thread in threads: thread.join()
          print(texts["result"], texts["wait"])
          """
      let reader = try pythonCommand(script, [job.path]).start()
      for name in ["wait", "result"] { try reader.awaitRead(of: "\(job.path)/\(name)") }
      #expect(try job.control("cancel") == "")
      try held.letGo()
      #expect(try reader.wait(within: .seconds(20)).text == "ECANCELED b'state=cancelled'\n")
    }
  }
}
