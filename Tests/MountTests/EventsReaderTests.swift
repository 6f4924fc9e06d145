import FaultKit
import Testing

/// A program that reads `events`, whose path is its last argument or `$E`.
struct EventsReader: Sendable, CustomTestStringConvertible {
  let program: String
  let arguments: [String]
  /// The state of the last record that it prints before it ends.
  var last = "done"
  /// It waits in poll(2) before each read(2).
  var polls = false
  var testDescription: String { ([program] + arguments).joined(separator: " ") }

  static let loop = "while read -r line; do echo \"$line\"; case $line in *state=done*) exit;; esac; done < \"$0\""

  static let all =
    [
      EventsReader(program: "head", arguments: ["-n1"], last: "queued"), EventsReader(program: "grep", arguments: ["-m1", "state=done"]),
      EventsReader(program: "sed", arguments: ["-u", "/state=done/q"]),
      EventsReader(program: "perl", arguments: ["-ne", "print; exit if /state=done/"]),
      EventsReader(
        program: "python3",
        arguments: ["-c", "import sys\nfor line in open(sys.argv[1]):\n  print(line, end='')\n  if 'state=done' in line: break"]),
      EventsReader(program: "busybox", arguments: ["head", "-n1"], last: "queued"),
      EventsReader(program: "busybox", arguments: ["sh", "-c", loop], polls: true),
    ] + ["bash", "dash", "zsh"].map { EventsReader(program: $0, arguments: ["-c", loop]) }
}

@Suite("Programs that read events")
struct EventsReaderTests {
  @Test("Each has its lines as they come, and ends when it has what it wants", arguments: EventsReader.all)
  func lines(reader: EventsReader) throws {
    try withDaemon { bench, daemon in
      let events = daemon.path("events")
      let process = try Command(reader.program, reader.arguments + [events]).start()
      if reader.polls {
        try eventually("it polls") { try Files.text("/proc/\(process.pid)/wchan").contains("poll") }
      } else {
        try process.awaitRead(of: events)
      }
      let source = try bench.file("source", Pattern.bytes(100, seed: 1))
      try daemon.copy("from=\(source) to=\(bench.disk)/copy create=yes context='a  b'")
      let outcome = try process.wait(within: .seconds(10))
      let records = try outcome.text.split(separator: "\n").map { try Words($0) }
      #expect(outcome.succeeded && records.allSatisfy { $0["job"] == "job" && $0["context"] == "a  b" }, "\(outcome)")
      #expect(records.last?["state"] == reader.last && records.map { $0.number("seq") }.ascendsByOne, "\(outcome)")
    }
  }

  @Test("A shell that reads late loses none of what has come since it opened the file", arguments: ["bash", "dash", "zsh", "busybox"])
  func backlog(name: String) throws {
    try withDaemon { bench, daemon in
      let other = try Events(daemon)
      let script = """
        exec 3< "$E"; echo open
        until [ -e "$T/go" ]; do sleep 0.01; done
        while read -r line <&3; do echo "$line"; case $line in *job=last*state=done*) exit;; esac; done
        """
      let process = try shellCommand(script, with: name, environment: ["E": daemon.path("events"), "T": bench.disk]).start()
      try eventually("it has opened events") { process.text == "open\n" }
      for name in ["a", "b", "c", "d", "e", "last"] { #expect(try daemon.submit("op=none", as: name).result() == "ok") }
      try other.await("done", of: "last")
      _ = try bench.file("go", [])
      let outcome = try process.wait(within: .seconds(10))
      let numbers = try outcome.text.split(separator: "\n").dropFirst().map { try Words($0).number("seq") }
      #expect(numbers == other.numbers, "\(outcome)")
    }
  }

  @Test("dd by single bytes writes whole records, and three readers at once have the same")
  func together() throws {
    try withDaemon { _, daemon in
      let events = daemon.path("events")
      let readers = try [
        Command("dd", ["if=\(events)", "bs=1", "status=none"]), Command("cat", [events]),
        Command("stdbuf", ["-o0", "sed", "-u", "", events]),
      ].map { try $0.start() }
      for reader in readers { try reader.awaitRead(of: events) }
      for name in ["a", "b"] { #expect(try daemon.submit("op=none", as: name).result() == "ok") }
      for reader in readers {
        try eventually("it has all: \(reader.text)") {
          reader.text.split(separator: "\n").contains { $0.contains("job=b ") && $0.contains("state=done") } && reader.text.hasSuffix("\n")
        }
      }
      #expect(Set(readers.map(\.text)).count == 1)
      for reader in readers { try reader.end() }
    }
  }

  /// Gives thousands of jobs while one open file and a stopped `cat` don't read; prints what is wrong, and `all` at the end.
  static let overrun =
    PythonHelp.begin + """
      import subprocess, re
      mount, folder = sys.argv[1:]
      eager = os.open(mount + "/events", os.O_RDONLY | os.O_NONBLOCK)
      lazy = [os.open(mount + "/events", os.O_RDONLY | os.O_NONBLOCK) for _ in range(8)]
      cat = subprocess.Popen(["cat", mount + "/events"], stdout=open(folder + "/text", "wb"))
      until(lambda: "request_wait_answer" in open(f"/proc/{cat.pid}/wchan").read())
      cat.send_signal(signal.SIGSTOP)

      class Reader:
          def __init__(self, fd): self.fd, self.text, self.numbers, self.lost = fd, b"", [], 0
          def take(self):
              while True:
                  try: self.feed(os.read(self.fd, 1 << 20))
                  except BlockingIOError: return self
          def feed(self, more):
              *lines, self.text = (self.text + more).split(b"\\n")
              for line in lines:
                  lost = re.search(rb"(?:^| )lost=([0-9]+)", line)
                  if lost: self.lost += int(lost[1]); self.after = len(self.numbers)
                  else: self.numbers.append(int(re.search(rb"(?:^| )seq=([0-9]+)", line)[1]))
              return lines
          def sees(self, name):
              poll = select.poll()
              poll.register(self.fd, select.POLLIN)
              lines = []
              while not any(b"job=" + name + b" " in line and b"state=done" in line for line in lines):
                  if not poll.poll(60000): raise TimeoutError(name)
                  lines = self.feed(os.read(self.fd, 1 << 20))

      def ascends(numbers): return all(b == a + 1 for a, b in zip(numbers, numbers[1:]))

      all_of_it = Reader(eager)
      submit = os.open(mount + "/submit", os.O_RDWR)
      while lazy:
          for _ in range(100):
              os.write(submit, b"op=none\\n" * 100)
              names = b""
              while names.count(b"\\n") < 100: names += os.read(submit, 1 << 16)
              all_of_it.sees(names.split()[-1])
          late = Reader(lazy.pop()).take()
          if late.lost: break
      first, last = all_of_it.numbers[0], all_of_it.numbers[-1]
      def check(who, reader):
          if not reader.lost: print(who, "lost nothing of", last - first + 1)
          if reader.lost + len(reader.numbers) != last - first + 1 or reader.numbers[-1] != last: print(who, "has not all")
          if not ascends(reader.numbers[:reader.after]) or not ascends(reader.numbers[reader.after:]): print(who, "has not one after the other")
      if all_of_it.lost or not ascends(all_of_it.numbers): print("who reads all the time loses")
      check("an open file", late)

      cat.send_signal(signal.SIGCONT)
      end = f"seq={last} ".encode()
      until(lambda: end in open(folder + "/text", "rb").read()[-1000:])
      stopped = Reader(-1)
      stopped.feed(open(folder + "/text", "rb").read())
      check("a stopped cat", stopped)
      cat.kill()
      cat.wait()

      lost = late.lost
      put(mount + "/jobs/later", "op=none")
      late.sees(b"later")
      if late.lost != lost or not ascends(late.numbers[late.after:]): print("it does not go on")
      print("all")
      """

  @Test("Who does not read while thousands of jobs come is told how much it lost, and goes on from there")
  func lost() throws {
    try withDaemon { bench, daemon in
      let outcome = try pythonCommand(Self.overrun, [daemon.mount, bench.disk]).run()
      #expect(outcome.text == "all\n", "\(outcome)")
      #expect(try daemon.submit("op=none", as: "after").result() == "ok")
    }
  }
}
