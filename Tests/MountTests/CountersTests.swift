import FaultKit
import Testing

@Suite("stats and metrics")
struct CountersTests {
  private func stats(_ daemon: Daemon) throws -> Words { try Words(Files.text(daemon.path("stats"))) }

  @Test("stats is a line per counter, numbers all, and of its true size")
  func form() throws {
    try withDaemon { _, daemon in
      let text = try Files.text(daemon.path("stats"))
      let stats = try Words(text)
      let keys = ["jobs_queued", "jobs_running", "jobs_done", "jobs_failed", "bytes_read", "bytes_written", "pages_free"]
      #expect(stats.keys.filter(keys.contains) == keys && Set(stats.keys).count == stats.keys.count, "\(text)")
      #expect(text.split(separator: "\n").count == stats.keys.count && stats.keys.allSatisfy { stats.number($0) >= 0 }, "\(text)")
      #expect(keys.dropLast().allSatisfy { stats[$0] == "0" } && stats["pages_free"] == "4096", "\(text)")
      for file in ["stats", "metrics"] {
        let facts = try Files.facts(daemon.path(file))
        #expect(try facts.mode == 0o100444 && facts.size == Files.text(daemon.path(file)).utf8.count, "\(file)")
      }
    }
  }

  @Test("The counters move with the jobs and with the bytes that are read and written")
  func moving() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let queued = try daemon.submit("op=none", as: "queued")
      let running = try stats(daemon)
      #expect(running["jobs_running"] == "1" && running["jobs_queued"] == "1" && running["jobs_done"] == "0", "\(running)")
      #expect(running.number("pages_free") < 4096 && running.number("bytes_read") > 0, "\(running)")
      try held.letGo()
      #expect(try held.job.result() == "ok" && queued.result() == "ok")
      try eventually("both are done, and all pages are free") {
        let stats = try stats(daemon)
        return ["jobs_running", "jobs_queued", "jobs_failed"].allSatisfy { stats[$0] == "0" } && stats["jobs_done"] == "2"
          && stats["pages_free"] == "4096"
      }
      let done = try stats(daemon)
      #expect(done["bytes_read"] == "\(4 << 20)" && done["bytes_written"] == "\(4 << 20)", "\(done)")

      // One read is written twice.
      try daemon.copy("from=\(held.source.path)@0+1M to=\(bench.disk)/a to=\(bench.disk)/b create=yes", as: "two")
      let two = try stats(daemon)
      #expect(two.number("bytes_read") == 5 << 20 && two.number("bytes_written") == 6 << 20 && two["jobs_done"] == "3", "\(two)")

      try held.destination.setFaults([.read(0...0)])
      #expect(try daemon.submit("from=\(held.destination.path) to=\(bench.disk)/a", as: "failed").result() == "EIO")
      #expect(try stats(daemon)["jobs_failed"] == "1" && stats(daemon)["jobs_done"] == "3")
      let refused = try errnoName { _ = try daemon.submit("nonsense", as: "refused") }
      #expect(try refused == "EINVAL" && stats(daemon)["jobs_failed"] == "1")
    }
  }

  @Test("A paused job and a cancelled one are neither running nor done nor failed")
  func others() throws {
    try withDaemon { bench, daemon in
      let held = try HeldJob(bench, daemon)
      let (paused, cancelled) = (try daemon.submit("op=none", as: "paused"), try daemon.submit("op=none", as: "cancelled"))
      #expect(try paused.control("pause") == "" && cancelled.control("cancel") == "" && cancelled.result() == "ECANCELED")
      let stats = try stats(daemon)
      #expect(["jobs_queued", "jobs_done", "jobs_failed"].allSatisfy { stats[$0] == "0" } && stats["jobs_running"] == "1", "\(stats)")
      try held.letGo()
      #expect(try held.job.result() == "ok" && paused.control("resume") == "" && paused.result() == "ok")
      #expect(try self.stats(daemon)["jobs_done"] == "2")
    }
  }

  /// Parses metrics, and prints the contract's keys of stats that no sample says the same of. A sample's words are those of its
  /// name and of its label; what there is of each client is added up.
  static let agreement = """
    import sys
    sys.path.append("/usr/lib/python3/dist-packages")
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
    text = open(sys.argv[1] + "/metrics", encoding="utf-8").read()
    families = list(text_string_to_metric_families(text))
    sums = {}
    for family in families:
        if family.type not in ("counter", "gauge"): print(family.name, "is", family.type)
        if not family.name.startswith("kcopyfs_"): print(family.name, "is whose?")
        if not family.documentation: print(family.name, "has no HELP")
        for sample in family.samples:
            words = sample.name.split("_")[1:] + [value for label, value in sample.labels.items() if label != "client"]
            key = frozenset(word for word in words if word not in ("total", "client"))
            sums[key] = sums.get(key, 0) + sample.value
    # A metric of bytes is named kcopyfs_read_bytes or kcopyfs_written_bytes there, as OpenMetrics puts units.
    stats = dict(line.strip().split("=") for line in open(sys.argv[1] + "/stats"))
    for key in ["jobs_queued", "jobs_running", "jobs_done", "jobs_failed", "bytes_read", "bytes_written", "pages_free"]:
        if float(stats[key]) != sums.get(frozenset(key.split("_"))): print(key, "is", stats[key], "and not in", sums)
    print(len(families) > 0, text.endswith("# EOF\\n"), text.count("# EOF"))
    """

  @Test("metrics is OpenMetrics text to its # EOF, and says what stats says")
  func metrics() throws {
    try withDaemon { bench, daemon in
      func check() throws {
        let outcome = try python(Self.agreement, daemon.mount)
        #expect(outcome.text == "True True 1\n", "\(outcome.text) \(outcome.errorText)")
      }
      try check()
      let held = try HeldJob(bench, daemon, keys: "context=\(quoted(Words.nasty))")
      let queued = try daemon.submit("op=none", as: "queued")
      _ = try daemon.makeClient("another")
      try check()
      try held.letGo()
      #expect(try held.job.result() == "ok" && queued.result() == "ok")
      try eventually("all pages are free") { try daemon.client("default").value("pages_free") == "4096" }
      try check()
      try Files.removeDirectory(held.job.path)
      try check()
    }
  }
}
