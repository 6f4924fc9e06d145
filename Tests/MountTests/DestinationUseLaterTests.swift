import FaultKit
import Glibc
import Testing

@Suite("A destination that is used by somebody else when its job is gone on with")
struct DestinationUseLaterTests {
  @Test("A loop device that was set up over the file meanwhile pauses the job as busy, until resume finds it gone")
  func restart() throws {
    try withWorkbench { bench in
      let mount = try KeptMount(bench)
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let file = try bench.file("destination", Pattern.bytes(4 << 20, seed: 2), inMemory: true)
      try mount.daemon.submit("from=\(source.path) to=\(file) rate=64K", as: "job").reach("running")
      try mount.stop(.killed)
      let loop = try bench.over(file)
      let untouched = try Files.read(file)
      try mount.start()
      for round in 0..<2 {
        try eventually(within: .seconds(20), "it is paused") { try mount.job().value("state") == "paused" }
        let status = try mount.job().status()
        #expect(status["pause_reason"] == "busy" && status["write_err"] == "0x0", "\(status)")
        let refusals = try mount.daemon.refusals
        #expect(refusals.count == round + 1 && refusals.last?["error"] == "EBUSY" && refusals.last?["job"] == "job", "\(refusals)")
        #expect(refusals.last?["text"] == "\(file): \(loop.path) is set up over it", "\(refusals)")
        if round == 0 { #expect(try mount.job().control("resume") == "") }
      }
      #expect(try Pattern.difference(Files.read(file), from: untouched) == nil, "nothing was written")
      try loop.user.release()
      #expect(try mount.job().control("resume\nrate=max") == "" && mount.job().result() == "ok")
      #expect(try Pattern.difference(Files.read(file), from: bytes) == nil)
    }
  }

  @Test("A retry counts such a destination as one that failed, and writes the others")
  func retry() throws {
    try withDaemon { bench, daemon in
      let source = try bench.faultDevice()
      let bytes = try source.loop.fill(seed: 1)
      let files = try (0..<2).map { try bench.file("file\($0)", Pattern.bytes(4 << 20, seed: 2)) }
      try source.setFaults([.read(6000...6000)])
      let job = try daemon.submit("from=\(source.path) to=\(files[0]) to=\(files[1])")
      #expect(try job.result() == "EIO")
      try source.setFaults([])
      let loop = try bench.over(files[0])
      let untouched = try Files.read(files[0])
      #expect(try job.control("retry") == "" && job.result() == "EBUSY")
      let status = try job.status()
      #expect(status["write_err"] == "0x1" && status["dest0_error"] == "EBUSY" && status["dest1_state"] == "done", "\(status)")
      #expect(try Pattern.difference(Files.read(files[0]), from: untouched) == nil && Files.read(files[1]) == bytes)
      try loop.user.release()
      #expect(try job.control("retry") == "" && job.result() == "ok" && Files.read(files[0]) == bytes)
    }
  }

  @Test("A draft's record is refused likewise, as its job's failure")
  func draft() throws {
    try withDaemon { bench, daemon in
      let (source, file) = (try bench.loop(), try bench.oldFile())
      let before = try Standing(file)
      let loop = try bench.over(file)
      try Files.write(daemon.path("jobs/.draft"), "from=\(source.path)@0+4K to=\(file)\n")
      try Files.rename(daemon.path("jobs/.draft"), to: daemon.path("jobs/job"))
      #expect(try daemon.job("job").result() == "EBUSY" && Standing(file) == before)
      try loop.user.release()
      try eventually("it is a job that has failed") { try daemon.job("job").control("retry") == "" }
      #expect(try daemon.job("job").result() == "ok")
    }
  }
}
