import FaultKit
import Testing

@Suite("Changes of status: poll, epoll, select, inotify")
struct StatusPollTests {
  /// Runs a script with the directory of a queued job, its status read once.
  private func check(_ script: String, prints lines: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let queued = try daemon.submit("op=none", as: "queued")
      let begin = """
        job = sys.argv[1]
        fd = os.open(job + "/status", os.O_RDONLY)
        def state(): return os.pread(fd, 1 << 16, 0).split()[0].decode()
        state()
        changed = select.POLLPRI | select.POLLERR

        """
      let outcome = try pythonCommand(PythonHelp.begin + begin + script, [queued.path]).start().wait(within: .seconds(20))
      #expect(outcome.text == lines + "\n", "\(outcome)", sourceLocation: sourceLocation)
      try held.letGo()
      #expect(try held.job.result() == "ok", sourceLocation: sourceLocation)
    }
  }

  static let changes = "state=paused\nstate=queued\nstate=paused\nstate=queued\nstate=cancelled"

  @Test("poll is POLLPRI and POLLERR at each change of state, until status is read from 0", arguments: ["pread", "lseek"])
  func polled(way: String) throws {
    let script = """
      def again():
          if "\(way)" == "pread": return state()
          os.lseek(fd, 0, os.SEEK_SET)
          return os.read(fd, 1 << 16).split()[0].decode()
      poll = select.poll()
      poll.register(fd, select.POLLPRI)
      for word in ["pause", "resume", "pause", "resume", "cancel"]:
          if poll.poll(0): print("ready before", word)
          when_blocked(put, job + "/ctl", word)
          if poll.poll() != [(fd, changed)] or poll.poll(0) != [(fd, changed)]: print("not ready after", word)
          print(again())
      print(poll.poll(0))
      """
    try check(script, prints: Self.changes + "\n[]")
  }

  @Test("epoll does the same, level- and edge-triggered")
  func epolled() throws {
    let script = """
      level, edge = select.epoll(), select.epoll()
      level.register(fd, select.EPOLLPRI)
      edge.register(fd, select.EPOLLPRI | select.EPOLLET)
      for word in ["pause", "resume", "pause", "resume", "cancel"]:
          if level.poll(0) or edge.poll(0): print("ready before", word)
          when_blocked(put, job + "/ctl", word)
          if edge.poll() != [(fd, changed)] or level.poll(0) != [(fd, changed)]: print("not ready after", word)
          print(state())
      print(level.poll(0), edge.poll(0))
      """
    try check(script, prints: Self.changes + "\n[] []")
  }

  @Test("select names it among the exceptional ones, and poll without events has POLLERR alone")
  func selected() throws {
    let script = """
      poll = select.poll()
      poll.register(fd, 0)
      print(select.select([], [], [fd], 0), poll.poll(0))
      when_blocked(put, job + "/ctl", "pause")
      print(select.select([], [], [fd]) == ([], [], [fd]), poll.poll(0) == [(fd, select.POLLERR)], state())
      print(select.select([], [], [fd], 0), poll.poll(0))
      """
    try check(script, prints: "([], [], []) []\nTrue True state=paused\n([], [], []) []")
  }

  @Test("Each open file is armed for itself, and what is not read stays to be told")
  func independent() throws {
    let script = """
      other = os.open(job + "/status", os.O_RDONLY)
      os.read(other, 1 << 16)
      poll = select.poll()
      for file in (fd, other): poll.register(file, select.POLLPRI)
      put(job + "/ctl", "pause")
      put(job + "/ctl", "resume")
      print(sorted(poll.poll()) == [(fd, changed), (other, changed)], state(), poll.poll(0) == [(other, changed)])
      put(job + "/ctl", "cancel")
      until(lambda: open(job + "/state").read() == "cancelled\\n")
      print(sorted(poll.poll()) == [(fd, changed), (other, changed)], state(), poll.poll(0) == [(other, changed)])
      """
    try check(script, prints: "True state=queued True\nTrue state=cancelled True")
  }

  @Test("From running to done there is one change, however much is copied meanwhile")
  func copied() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script =
        PythonHelp.begin + """
          fd = os.open(sys.argv[1] + "/status", os.O_RDONLY)
          poll = select.poll()
          poll.register(fd, select.POLLPRI)
          state = ""
          while state != "state=done":
              if state: poll.poll()
              state = os.pread(fd, 1 << 16, 0).split()[0].decode()
              print(state)
          print(poll.poll(0))
          """
      let poller = try pythonCommand(script, [held.job.path]).start()
      try eventually("it has read") { poller.text == "state=running\n" }
      try held.letGo()
      #expect(try poller.wait(within: .seconds(20)).text == "state=running\nstate=done\n[]\n")
    }
  }

  @Test("inotify tells of each change of state on status and on the job's directory")
  func notified() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let watcher = try Command(
        "inotifywait", ["-m", "-e", "modify", "--format", "%e %w%f", held.job.path, held.job.path + "/status"]
      ).start()
      try eventually("the watches are set: \(watcher.errorText)") { watcher.errorText.contains("established") }
      // A file and its directory have one event each; inotify drops one that equals the last unread one.
      func events() -> Int { watcher.text.split(separator: "\n").count { $0 == "MODIFY \(held.job.path)/status" } }
      for (index, change) in ["pause", "resume", "pause", "resume"].enumerated() {
        let before = events()
        #expect(try held.job.control(change) == "")
        try eventually("change \(index) is told twice: \(watcher.text)") { events() >= before + 2 }
      }
      let before = events()
      try held.letGo()
      #expect(try held.job.result() == "ok")
      try eventually("the end is told twice: \(watcher.text)") { events() >= before + 2 }
      try watcher.end()
    }
  }

  @Test("inotifywait on status waits for the end as cat of wait does, in a shell")
  func shellLoop() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script = """
        exec 3< <(inotifywait -m -q -e modify "$J/status")
        echo watching
        while read -r state < "$J/state" && [ "$state" = running ]; do read -r _ <&3; done
        echo "$state"
        kill $!
        """
      let waiter = try shellCommand(script, environment: ["J": held.job.path]).start()
      try eventually("it watches: \(waiter.errorText)") { try waiter.text == "watching\n" && watches(of: waiter.pid) }
      try held.letGo()
      #expect(try waiter.wait(within: .seconds(20)).text == "watching\ndone\n")
    }
  }

  /// Whether a child of the process has set an inotify watch.
  private func watches(of pid: Int32) throws -> Bool {
    let children = try Files.text("/proc/\(pid)/task/\(pid)/children").split(separator: " ")
    return children.contains { child in
      let folder = "/proc/\(child)/fdinfo"
      let descriptors = (try? Files.names(in: folder)) ?? []
      return descriptors.contains { (try? Files.text("\(folder)/\($0)").contains("inotify wd")) == true }
    }
  }
}
