import FaultKit
import Glibc
import Testing

@Suite("Snapshots and sizes")
struct SnapshotTests {
  /// Reads a file byte by byte while another descriptor changes the job's state at a random place; then reads again from 0.
  private static let reader = """
    import json, os, random, re, shlex, sys
    path, ctl = sys.argv[1:3]
    choose = random.Random(1)
    def look(text):
        if path.endswith(".json"):
            tree = json.loads(text)
            return tree["state"], tree["pause_reason"] or ""
        words = dict(word.split("=", 1) for word in shlex.split(text))
        return words["state"], words.get("pause_reason", "user" if words["state"] == "paused" else "")
    def change(command):
        fd = os.open(ctl, os.O_WRONLY)
        os.write(fd, command + b"\\n")
        os.close(fd)
    states = {b"pause": ("paused", "user"), b"resume": ("running", "")}
    fd = os.open(path, os.O_RDONLY)
    now = states[b"resume"]
    for turn in range(30):
        command = b"pause" if turn % 2 == 0 else b"resume"
        size = os.stat(path).st_size
        cut = choose.randrange(1, size)
        text = b"".join(os.pread(fd, 1, at) for at in range(cut))
        change(command)
        while byte := os.pread(fd, 1, len(text)): text += byte
        if len(text) != size: sys.exit(f"{len(text)} bytes instead of {size} in turn {turn}")
        if look(text.decode()) != now: sys.exit(f"cut at {cut} in turn {turn}: {text.decode()}")
        now = states[command]
        again = os.pread(fd, 65536, 0).decode()
        if look(again) != now: sys.exit(f"not new from 0 in turn {turn}: {again}")
    """

  @Test("Reads of one byte never mix two snapshots, and a read at 0 begins a new one", arguments: ["status", "status.json", "../../list"])
  func oneByte(file: String) throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let outcome = try python(Self.reader, held.job.path + "/" + file, held.job.path + "/ctl")
      #expect(outcome.succeeded, "\(outcome)")
      try held.letGo()
      #expect(try held.job.result() == "ok")
    }
  }

  @Test("Each open file has a snapshot of its own, and copies of a descriptor share one")
  func perOpenFile() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let script = """
        import os, sys
        def state(fd, at=0): return os.pread(fd, 4096, at).decode().split()[0]
        path = sys.argv[1] + "/status"
        first, second = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
        copy = os.dup(first)
        print(state(first), state(second))
        open(sys.argv[1] + "/ctl", "w").write("pause\\n")
        print(state(second), os.pread(first, 14, 6).split()[0], os.pread(copy, 14, 6).split()[0])
        print(state(copy), os.pread(first, 14, 6).split()[0])
        os.lseek(first, 0, os.SEEK_END)
        print(os.read(first, 10), os.pread(first, 10, 1 << 40))
        """
      let outcome = try python(script, held.job.path)
      #expect(
        outcome.text == "state=running state=running\nstate=paused b'running' b'running'\nstate=paused b'paused'\nb'' b''\n", "\(outcome)")
      #expect(try held.job.control("resume") == "")
      try held.letGo()
      #expect(try held.job.result() == "ok")
    }
  }

  /// Prints the files whose size differs from what is read of them, by stat and by fstat; `wait` and the like are streams.
  private static let walk = """
    import os, sys
    count = 0
    for folder, _, names in os.walk(sys.argv[1]):
        for name in names:
            path = os.path.join(folder, name)
            if name in ("wait", "result", "ctl", "submit", "check", "events"): continue
            size = os.stat(path).st_size
            with open(path, "rb", buffering=0) as f:
                opened = os.fstat(f.fileno()).st_size
                text = f.readall()
            if not size == opened == len(text): print(path, size, opened, len(text))
            if not text and name != "errors": print(path, "is empty")
            count += 1
    print("files", count > 20)
    """

  @Test("Every rendered file of the tree has the size that is read", arguments: PauseTests.table.map(\.state))
  func sizes(state: String) throws {
    try withDaemon(options: ["pages=256"]) { bench, daemon in
      let staged = try PauseTests.Staged(state, lasts: true, bench, daemon)
      #expect(try errnoName { _ = try daemon.submit("rubbish", as: "x") } == "EINVAL")
      let outcome = try python(Self.walk, daemon.mount)
      #expect(outcome.line == "files True" && outcome.succeeded, "\(outcome)")
      if state == "paused" { #expect(try staged.job.control("resume") == "") }
      try staged.letGo()
      _ = try staged.job.result()
    }
  }
}
