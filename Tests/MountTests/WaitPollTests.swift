import FaultKit
import Testing

@Suite("poll, epoll and select on wait and result")
struct WaitPollTests {
  /// Runs a script with the directory of a queued job, which ends at once when the script cancels it, and with the file's name.
  private func check(_ script: String, _ file: String, prints lines: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let queued = try daemon.submit("op=none", as: "queued")
      let begin = PythonHelp.begin + "job, name = sys.argv[1:]\nfd = os.open(job + '/' + name, os.O_RDONLY | os.O_NONBLOCK)\n"
      // Without a time limit of its own: at its end poll looks once more, and who was not woken would not be seen.
      let outcome = try pythonCommand(begin + script, [queued.path, file]).start().wait(within: .seconds(20))
      #expect(outcome.text == lines + "\n", "\(outcome)", sourceLocation: sourceLocation)
      try held.letGo()
      #expect(try held.job.result() == "ok", sourceLocation: sourceLocation)
    }
  }

  @Test("epoll tells of the end until it is read when level-triggered, and once when edge-triggered", arguments: ["wait", "result"])
  func triggers(file: String) throws {
    let script = """
      level, edge = select.epoll(), select.epoll()
      level.register(fd, select.EPOLLIN)
      edge.register(fd, select.EPOLLIN | select.EPOLLET)
      ready = [(fd, select.EPOLLIN)]
      print(level.poll(0), edge.poll(0))
      when_blocked(put, job + "/ctl", "cancel")
      print(edge.poll() == ready, edge.poll(0), level.poll(0) == ready, level.poll(0) == ready)
      """
    try check(script, file, prints: "[] []\nTrue [] True True")
  }

  @Test("select wakes for the end as readable, and finds nothing exceptional", arguments: ["wait", "result"])
  func selected(file: String) throws {
    let script = """
      print(select.select([fd], [], [fd], 0))
      when_blocked(put, job + "/ctl", "cancel")
      print(select.select([fd], [], [fd]) == ([fd], [], []), select.select([], [], [fd], 0))
      """
    try check(script, file, prints: "([], [], [])\nTrue ([], [], [])")
  }

  @Test("Who polls an open file of a job that is removed is woken with POLLERR and POLLHUP", arguments: ["wait", "result", "status"])
  func removed(file: String) throws {
    let script = """
      put(job + "/ctl", "cancel")
      until(lambda: open(job + "/state").read() == "cancelled\\n")
      os.read(fd, 65536) if name == "status" else None
      poll = select.poll()
      poll.register(fd, 0)
      print(poll.poll(0))
      when_blocked(os.rmdir, job)
      gone = [(fd, select.POLLERR | select.POLLHUP)]
      print(poll.poll() == gone, poll.poll(0) == gone)
      epoll = select.epoll()
      epoll.register(fd, select.EPOLLIN | select.EPOLLET)
      print(epoll.poll()[0][1] & (select.EPOLLERR | select.EPOLLHUP) == select.EPOLLERR | select.EPOLLHUP)
      """
    try check(script, file, prints: "[]\nTrue True\nTrue")
  }

  @Test("A thousand open files in one epoll all become readable with the end")
  func many() throws {
    let script = """
      import resource
      resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
      files = {os.open(job + "/" + name, os.O_RDONLY | os.O_NONBLOCK) for _ in range(1000)}
      epoll = select.epoll()
      for file in files: epoll.register(file, select.EPOLLIN | select.EPOLLET)
      print(epoll.poll(0))
      when_blocked(put, job + "/ctl", "cancel")
      seen = set()
      while seen != files: seen |= {file for file, _ in epoll.poll()}
      print(epoll.poll(0), {attempt(os.read, file, 1 << 16)[:15] for file in files})
      """
    try check(script, "wait", prints: "[]\n[] {b'state=cancelled'}")
  }

  @Test("O_NONBLOCK counts from when fcntl sets it, and no longer when it is cleared", arguments: ["wait", "result"])
  func setLater(file: String) throws {
    let script = """
      flags = fcntl.fcntl(fd, fcntl.F_GETFL)
      def end():
          until(lambda: "request_wait_answer" in where(threading.main_thread().native_id))
          put(job + "/ctl", "cancel")
      print(attempt(os.read, fd, 100))
      other = os.open(job + "/" + name, os.O_RDONLY)
      fcntl.fcntl(other, fcntl.F_SETFL, fcntl.fcntl(other, fcntl.F_GETFL) | os.O_NONBLOCK)
      print(attempt(os.read, other, 100))
      fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
      threading.Thread(target=end).start()
      print(attempt(os.read, fd, 15))
      """
    try check(script, file, prints: "EAGAIN\nEAGAIN\n" + (file == "wait" ? "b'state=cancelled'" : "ECANCELED"))
  }
}
