import FaultKit
import Glibc
import Testing

/// A daemon that lacks something, and a load that is the same for each of them: it fills what can be filled, works beside that, and
/// empties it again.
struct ExhaustionLoad {
  let bench: Workbench
  let daemon: Daemon
  private let arguments: [String]
  private let start: Holdings

  /// - Parameter launcher: starts the daemon in want.
  init(_ bench: Workbench, options: [String] = [], launcher: [String] = []) throws {
    self.bench = bench
    daemon = try bench.daemon(options: options, launcher: launcher)
    let bytes = Pattern.bytes(100_003, seed: 1)
    let source = try bench.loop(size: 1 << 20)
    try source.fill(seed: 2)
    let destination = try bench.loop(size: 1 << 20)
    arguments = [daemon.mount, bench.disk, try bench.file("source", bytes), source.path, destination.path]
    start = try Holdings(afterStartOf: daemon)
  }

  /// Does rounds of it.
  ///
  /// - Parameter fills: whether a round begins with jobs and clients until no more are taken.
  /// - Returns: what was taken and what was refused, as `KIND ERRNO` or `KIND ok`, and how often.
  func run(rounds: Int = 1, fills: Bool = true) throws -> [String: Int] {
    let command = pythonCommand(PythonHelp.begin + Self.script, arguments + ["\(rounds)", fills ? "fill" : ""])
    let lines = try command.run().orThrow().text.split(separator: "\n")
    return Dictionary(
      uniqueKeysWithValues: lines.map { line in
        let words = line.split(separator: " ")
        return ("\(words[0]) \(words[1])", Int(words[2]) ?? 0)
      })
  }

  /// Descriptors of rings that the daemon has.
  var rings: Int {
    get throws {
      let folder = "/proc/\(daemon.process.pid)/fd/"
      return try Files.names(in: folder).count { Files.target(folder + $0) == "anon_inode:[io_uring]" }
    }
  }

  /// What a daemon in want must come through: every record is taken or refused for the want, copies are right, the mount answers
  /// meanwhile; nothing is left of it, and more rounds take no more memory.
  ///
  /// - Parameters:
  ///   - errors: what it may refuse.
  ///   - isRelieved: whether everything is taken again when the load is over.
  ///   - relieving: what ends the want, if it isn't the load itself.
  /// - Returns: what a round came to.
  @discardableResult func check(
    lacking errors: Set<String> = ["ENOBUFS"], isRelieved: Bool = true, sourceLocation: SourceLocation = #_sourceLocation,
    relieving: () throws -> Void = {}
  ) throws -> [String: Int] {
    let outcome = try run()
    try expect(outcome, lacking: errors, sourceLocation: sourceLocation)
    try expectNothingLeft()
    let before = try Holdings(daemon).memory
    try expect(try run(rounds: 4), lacking: errors, sourceLocation: sourceLocation)
    try expectNothingLeft()
    let grown = try Holdings(daemon).memory - before
    #expect(grown < 8 << 20, "four rounds more took \(grown) bytes", sourceLocation: sourceLocation)
    guard isRelieved else { return outcome }
    try relieving()
    let relieved = try run(fills: false)
    #expect(relieved.keys.allSatisfy { $0.hasSuffix(" ok") }, "\(relieved)", sourceLocation: sourceLocation)
    try expectNothingLeft()
    return outcome
  }

  private func expect(_ outcome: [String: Int], lacking errors: Set<String>, sourceLocation: SourceLocation) throws {
    let wrong = outcome.keys.filter { key in
      let (kind, result) = (key.prefix { $0 != " " }, key.drop { $0 != " " }.dropFirst())
      // What was taken ends well; but of a draft its devices are looked at after it was taken.
      return result != "ok" && (!errors.contains(String(result)) || kind.hasSuffix("-result") && kind != "draft-result")
    }
    let refusals = try daemon.refusals
    #expect(wrong.isEmpty, "\(outcome), \(refusals)", sourceLocation: sourceLocation)
    for refusal in refusals {
      #expect(errors.union(["EINVAL", "ENOENT"]).contains(refusal["error"]), "\(refusal)", sourceLocation: sourceLocation)
      #expect(!refusal["text"].isEmpty, "\(refusal)", sourceLocation: sourceLocation)
    }
  }

  /// The daemon holds what it held at its start, but for threads that wait for the next device or ring.
  func expectNothingLeft() throws { try start.expectAgain(daemon) }

  private static let script = """
    import collections
    mount, place, source, device, target, rounds, fills = sys.argv[1:]
    content, blocks, outcome = open(source, "rb").read(), open(device, "rb").read(), collections.Counter()
    jobs, clients = mount + "/jobs/", mount + "/clients/"

    def read(path):
        with open(path, "rb") as file: return file.read()

    def write(path, text, flags=os.O_WRONLY | os.O_CREAT):
        fd = os.open(path, flags, 0o644)
        try: os.write(fd, text.encode() + b"\\n")
        finally:
            try: os.close(fd)
            # What the write has said already.
            except OSError: pass

    def tried(kind, action, *arguments):
        result = attempt(action, *arguments)
        outcome[kind + " " + (result if isinstance(result, str) else "ok")] += 1
        return not isinstance(result, str)

    def told(error, action, *arguments):
        # A name in jobs/ is gone only when the kernel has released the file.
        if (said := attempt(action, *arguments)) not in (error, "ENOBUFS"): outcome[f"bad-record {said}"] += 1

    def gone(name):
        until(lambda: attempt(os.rmdir, jobs + name) in (None, "ENOENT"))

    def ended(kind, name):
        outcome[kind + "-result " + read(jobs + name + "/result").decode().strip()] += 1

    def job(kind, name, record, check=None):
        if tried(kind, write, jobs + name, record):
            with open(jobs + name + "/wait", "rb", buffering=0) as file:
                poll = select.poll()
                poll.register(file, select.POLLIN)
                poll.poll(60000)
            said = attempt(read, jobs + name + "/result")
            outcome[kind + "-result " + (said if isinstance(said, str) else "ok")] += 1
            if check and not check(): outcome[kind + "-bytes wrong"] += 1
            gone(name)

    def part(path, start, count):
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(count)

    def fresh(path):
        try: os.unlink(path)
        except FileNotFoundError: pass
        return path

    def work(number):
        n, at = str(number), number << 17
        copy = fresh(f"{place}/copy{n}")
        job("file", "file" + n, f"from={source} to={copy} create=yes", lambda: read(copy) == content)
        odd = fresh(f"{place}/odd{n}")
        job("odd", "odd" + n, f"from={source}@5B+70001B to={odd} create=yes", lambda: read(odd) == content[5:70006])
        two = [fresh(f"{place}/{side}{n}") for side in ("left", "right")]
        job("two", "two" + n, f"from={device}@0+64K to={two[0]} to={two[1]} create=yes", lambda: all(read(side) == blocks[:65536] for side in two))
        zero = fresh(f"{place}/zero{n}")
        job("zero", "zero" + n, f"op=zero to={zero}@0+64K create=yes", lambda: read(zero) == bytes(65536))
        job("block", "block" + n, f"from={device}@{at}B+64K to={target}@{at}B", lambda: part(target, at, 65536) == blocks[at:at + 65536])
        job("none", "none" + n, "op=none")
        told("EINVAL", write, jobs + "bad" + n, f"form={source} to={copy}")
        told("ENOENT", write, jobs + "bad" + n, f"from={place}/nothing to={copy}")
        told("ENOENT", write, jobs + "bad" + n, f"from={source} to={copy} client=nobody")
        tried("check", write, mount + "/check", f"from={source} to={copy} create=yes", os.O_WRONLY)
        draft = f"{jobs}.draft{n}"
        write(draft, f"from={source} to={fresh(copy)} create=yes")
        if tried("draft", os.rename, draft, jobs + "draft" + n):
            # What its devices say comes as the job's failure.
            said = attempt(read, f"{jobs}draft{n}/result")
            outcome["draft-result " + (said if isinstance(said, str) else "ok")] += 1
            gone("draft" + n)
        else: os.unlink(draft)
        submit = os.open(mount + "/submit", os.O_RDWR)
        batch = "".join(f"op=none name=batch{n}-{m}\\n" for m in range(5))
        if tried("batch", os.write, submit, batch.encode()):
            for name in os.read(submit, 4096).decode().split(): read(jobs + name + "/wait"); gone(name)
        os.close(submit)
        if tried("client", os.mkdir, clients + n):
            tried("pages", write, f"{clients}{n}/pages", "512", os.O_WRONLY)
            job("own", "own" + n, f"from={source} to={copy} client={n}")
            until(lambda: attempt(os.rmdir, clients + n) is None)
        with open(mount + "/events", "rb", buffering=0) as events:
            os.set_blocking(events.fileno(), False)
            while events.read(65536): pass
        for name in ("version", "stats", "metrics", "list", "errors"): read(mount + "/" + name)
        for path in [copy, odd, zero] + two: fresh(path)

    def fill():
        # In a client of their own, for op=none waits for all that its client was given.
        held, made = 0, 0
        holds = tried("made", os.mkdir, clients + "held") and tried("rate", write, clients + "held/rate", "1K", os.O_WRONLY)
        while holds and held < 64 and tried("held", write, f"{jobs}held{held}", f"from={source} to={place}/held{held} create=yes client=held"):
            held += 1
        while tried("made", os.mkdir, f"{clients}made{made}"): made += 1
        return held, made, holds

    def empty(held, made, holds):
        for number in range(held):
            write(f"{jobs}held{number}/ctl", "cancel", os.O_WRONLY)
            attempt(read, f"{jobs}held{number}/result")
            gone(f"held{number}")
            os.unlink(f"{place}/held{number}")
        for name in ["held"] * holds + [f"made{number}" for number in range(made)]: until(lambda: attempt(os.rmdir, clients + name) is None)

    for _ in range(int(rounds)):
        filled = fill() if fills else None
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4 if fills else 1)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        if filled: empty(*filled)
    for key in outcome: print(key, outcome[key])
    """
}

/// What a daemon holds, as /proc and `stats` tell.
struct Holdings: CustomStringConvertible {
  /// Threads that stay for the next device.
  static let spare = 4

  let descriptors: Int
  /// Without those that the kernel makes for a ring.
  let threads: Int
  /// Bytes, resident.
  let memory: Int
  let pagesFree: Int
  let jobs: Int

  /// Waits for the end of its start: which place it may not copy from, for it is its own, it finds out last.
  init(afterStartOf daemon: Daemon) throws {
    try eventually("the daemon knows its own mount") {
      try errnoName { try Files.write(daemon.path("check"), "from=\(daemon.mount)/version to=/nowhere\n", flags: O_WRONLY) } == "ELOOP"
    }
    try Files.write(daemon.path("errors"), "\n", flags: O_WRONLY)
    self = try Holdings(daemon)
  }

  init(_ daemon: Daemon) throws {
    let process = "/proc/\(daemon.process.pid)"
    descriptors = try Files.names(in: process + "/fd").count
    threads = try Files.names(in: process + "/task").count { task in
      // One that has ended since is none.
      (try? Files.text("\(process)/task/\(task)/comm")).map { !$0.hasPrefix("iou-") } ?? false
    }
    let resident = try Files.text(process + "/status").split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    memory = (resident.flatMap { Int($0.filter(\.isNumber)) } ?? 0) << 10
    let stats = try Words(Files.text(daemon.path("stats")))
    pagesFree = stats.number("pages_free")
    jobs = stats.number("jobs")
  }

  /// Waits until a daemon holds this again, but for threads that wait for the next device or ring.
  func expectAgain(_ daemon: Daemon) throws {
    var now = self
    do {
      try eventually(within: .seconds(10), "the daemon holds what it held at first") {
        now = try Holdings(daemon)
        return now.descriptors == descriptors && now.threads <= threads + Holdings.spare && now.pagesFree == pagesFree && now.jobs == jobs
      }
    } catch {
      throw Missing("\(error): \(self) at first, \(now) now")
    }
  }

  var description: String {
    "\(descriptors) descriptors, \(threads) threads, \(memory >> 10) KiB, \(pagesFree) pages free, \(jobs) jobs"
  }
}
