import FaultKit
import Glibc
import Testing

@Suite("The mount while devices hang")
struct HungDeviceTests {
  /// Opens and reads every file of a tree, asks for the attributes of each and lists each directory; those that wait are opened
  /// without waiting. Prints how many answered, and the slowest answer in milliseconds.
  private static let walk = """
    import os, stat, sys, time
    slowest, count = (0, ""), 0
    def timed(what, body):
        global slowest, count
        begin = time.monotonic()
        try: body()
        except OSError as e:
            if e.errno not in (11, 13): print(what, e)
        slowest = max(slowest, ((time.monotonic() - begin) * 1000, what))
        count += 1
    def read(path):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while os.read(file, 65536): pass
        finally: os.close(file)
    for round in range(int(sys.argv[2])):
        for folder, folders, files in os.walk(sys.argv[1]):
            timed("list " + folder, lambda: os.listdir(folder))
            for name in folders + files: timed("stat " + name, lambda: os.stat(folder + "/" + name))
            for name in files:
                if name != "ctl": timed("read " + folder + "/" + name, lambda: read(folder + "/" + name))
    print("answered", count, file=sys.stdout)
    print("slowest %.1f ms: %s" % slowest, file=sys.stderr)
    """

  @Test("With an open that hangs, and a destination that hangs, every file answers, and jobs and clients come and go")
  func everythingAnswers() throws {
    // Submissions, a cancel, drafts and clients beside it.
    try withDaemon { bench, daemon in
      let opening = try bench.faultDevice()
      let writing = try bench.faultDevice()
      let source = try bench.loop()
      try source.fill(seed: 5)
      let small = try bench.file("small", Pattern.bytes(1000, seed: 1))
      // The writes to it are in flight, and its flush never comes back.
      writing.freeze()
      let stuck = try daemon.submit("from=\(source.path) to=\(writing.path)", as: "stuck")
      try stuck.reach("running")
      opening.hang()
      let opener = try shellCommand("echo 'from=\(opening.file) to=\(small)' > \(daemon.path("jobs/opening"))").start()
      let retried = try daemon.submit("from=\(small) to=\(bench.disk)/gone create=yes", as: "draft")
      #expect(try retried.result() == "ok")
      try eventually("the placeholder is there") { try daemon.jobNames.contains("opening") }

      let outcome = try python(Self.walk, daemon.mount, "20").orThrow()
      #expect(outcome.text.hasPrefix("answered "), "\(outcome)")
      print("beside hung devices: \(outcome.errorText.split(separator: "\n").last ?? "")")
      #expect(opener.running, "the open hung all the while")
      #expect(try stuck.value("state") == "running")

      try daemon.copy("from=\(small) to=\(bench.disk)/other create=yes", as: "other")
      #expect(try daemon.makeClient("night").set("rate", "1M") == "")
      try Files.removeDirectory(daemon.path("clients/night"))
      try shell(
        "echo 'from=\(small) to=\(bench.disk)/third create=yes' > $M/.d && mv $M/.d $M/drafted && cat $M/drafted/result && rm -r $M/drafted",
        environment: ["M": daemon.path("jobs")]
      ).orThrow()
      #expect(try stuck.control("cancel") == "")
      #expect(try stuck.status()["phase"] == "cancelling")
      opening.goOn()
      writing.thaw()
      #expect(try stuck.result() == "ECANCELED")
      _ = try opener.wait(within: .seconds(20))
    }
  }
}
