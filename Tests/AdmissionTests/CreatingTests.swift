import Dispatch
import FaultKit
import Glibc
import KCopy
import Synchronization
import Testing

@testable import Admission

@Suite("Files that are made for a copy")
struct CreatingTests {
  @Test("A file is made where nothing is, with the caller's umask, and stays after the copy")
  func made() throws {
    try withStage { stage in
      let child = try shellCommand("umask 027; exec sleep 60").start()
      defer { #expect(throws: Never.self) { try child.end() } }
      try eventually("the child has its umask") { Caller(uid: 0, gid: 0, pid: child.pid)?.umask == 0o027 }
      let caller = try #require(Caller(uid: 0, gid: 0, pid: child.pid))
      let path = stage.bench.disk + "/fresh"
      let endpoint = try stage.admission.openDestination(path, creates: true, for: caller)
      #expect(endpoint.created?.name == "fresh" && endpoint.device.size == 0)
      #expect(try Files.facts(path).permissions == 0o640)
      stage.close(endpoint)
      #expect(Files.exists(path))
    }
  }

  @Test("Without create a missing file is refused, and with it one that exists is taken as it is")
  func existing() throws {
    try withStage { stage in
      let path = stage.bench.disk + "/file"
      #expect(try stage.objection(toDestination: path)?.errno == ENOENT)
      #expect(!Files.exists(path))
      _ = try stage.bench.file("file", [1, 2, 3])
      let endpoint = try stage.destination(path, creates: true)
      #expect(endpoint.created == nil && endpoint.device.size == 3)
      stage.admission.undo(endpoint)
      #expect(try Files.read(path) == [1, 2, 3])
    }
  }

  @Test("What can't be made is refused with the errno of open(2), and nothing is made")
  func refused() throws {
    try withStage { stage in
      let disk = stage.bench.disk
      let file = try stage.bench.file("file", [])
      try Files.symlink(to: disk + "/elsewhere", as: disk + "/link")
      let readOnly = stage.bench.keep(try Mount(type: "tmpfs", on: disk + "/readonly", options: "ro"))
      let refused: [(path: String, error: Int32)] = [
        ("\(disk)/no/file", ENOENT), ("\(file)/below", ENOTDIR), ("\(disk)/new/", EISDIR), ("\(disk)/link", EEXIST),
        ("\(readOnly.path)/file", EROFS), ("/proc/fresh", EPERM), ("/sys/fresh", EPERM), ("/proc/self/cwd/fresh", ELOOP),
      ]
      for (path, error) in refused {
        let objection = try stage.objection(toDestination: path, creates: true)
        #expect(objection?.errno == error, "\(path): \(String(describing: objection))")
        #expect(!Files.exists(disk + "/elsewhere") && !Files.exists(disk + "/new"))
      }
    }
  }

  @Test("No file is made among devices, where it would fill memory in place of the disk that was meant")
  func devices() throws {
    try withStage { stage in
      let path = "/dev/kcopyfs-test-\(getpid())"
      stage.bench.atEnd { if Files.exists(path) { try Files.unlink(path) } }
      let objection = try stage.objection(toDestination: path, creates: true)
      #expect(objection == Objection(ENOENT, "\(path) doesn't exist, and create=yes makes no files among devices"))
      #expect(!Files.exists(path))
    }
  }

  @Test("Undoing takes away the file that was made, and only that")
  func undone() throws {
    try withStage { stage in
      let path = stage.bench.disk + "/fresh"
      stage.admission.undo(try stage.destination(path, creates: true))
      #expect(!Files.exists(path))

      // Moved away, and something else under its name.
      let endpoint = try stage.destination(path, creates: true)
      try run("mv", path, path + ".moved").orThrow()
      try Files.write(path, [7])
      stage.admission.undo(endpoint)
      #expect(try Files.read(path) == [7])

      // Gone already.
      try Files.unlink(path)
      let other = try stage.destination(path, creates: true)
      try Files.unlink(path)
      stage.admission.undo(other)
      #expect(!Files.exists(path))
    }
  }

  @Test("A file that another record writes to by now stays when the record that made it is refused")
  func shared() throws {
    try withStage { stage in
      let path = stage.bench.disk + "/fresh"
      let first = try stage.destination(path, creates: true)
      let second = try stage.destination(path, creates: true)
      #expect(second.created == nil && second.device === first.device)
      stage.admission.undo(first)
      #expect(Files.exists(path))
      stage.close(second)
      #expect(try Files.exists(path) && openDescriptors(below: stage.bench.disk).isEmpty)
    }
  }

  @Test("When many records make one file at the same time, it stands at the end if one of them was accepted, else it is gone")
  func contested() async throws {
    // In a process of its own: a child that another test is starting would hold locks that were given back here.
    await #expect(processExitsWith: .success) { try Self.contest() }
  }

  private static func contest() throws {
    try withStage { stage in
      let (disk, admission, caller) = (stage.bench.disk, stage.admission, stage.caller)
      for round in 0..<200 {
        let path = "\(disk)/fresh\(round)"
        let accepted = Atomic(0)
        DispatchQueue.concurrentPerform(iterations: 4) { number in
          do throws(Objection) {
            let endpoint = try admission.openDestination(path, creates: true, for: caller)
            if number > 0 { return admission.undo(endpoint) }
            accepted.add(1, ordering: .sequentiallyConsistent)
            admission.close(endpoint) { _ in }
          } catch {
            // Made or removed by another in between.
            #expect([EEXIST, ENOENT].contains(error.errno), "\(error)")
          }
        }
        if accepted.load(ordering: .sequentiallyConsistent) > 0 { #expect(Files.exists(path)) }
      }
      try eventually("no descriptor is left") { try openDescriptors(below: disk).isEmpty }
    }
  }

  @Test("Many opens and refusals leave no descriptor open")
  func descriptors() throws {
    try withStage { stage in
      let disk = stage.bench.disk
      let file = try stage.bench.file("file", [1])
      for round in 0..<50 {
        stage.close(try stage.source(file), try stage.destination("\(disk)/fresh\(round)", creates: true))
        stage.admission.undo(try stage.destination("\(disk)/gone", creates: true))
        for refused in [disk, "\(disk)/nothing", "/proc/version", "/dev/null", "\(file)/below"] {
          _ = try stage.objection(toSource: refused)
          _ = try stage.objection(toDestination: refused, creates: refused != "/dev/null")
          if Files.exists("\(disk)/nothing") { try Files.unlink("\(disk)/nothing") }
        }
      }
      #expect(try openDescriptors(below: disk).isEmpty)
    }
  }

  @Test("In a process of its own the count of descriptors is back where it began, those of failures included")
  func counted() async throws {
    await #expect(processExitsWith: .success) {
      try withStage { stage in
        let loop = try stage.bench.loop()
        let lock = try OpenFile(try stage.bench.file("locked", [1]), O_RDWR)
        let locked = try pythonCommand(
          "import fcntl, sys, time\nf = open(sys.argv[1])\nfcntl.flock(f, fcntl.LOCK_EX)\nprint('locked')\ntime.sleep(60)", [lock.path]
        ).start()
        defer { try? locked.end() }
        try eventually("the file is locked") { locked.text == "locked\n" }
        func round(_ number: Int) throws {
          stage.close(try stage.destination("\(stage.bench.disk)/fresh\(number)", creates: true), try stage.source(lock.path))
          stage.close(try stage.destination(loop.path), try stage.source(loop.path))
          stage.admission.undo(try stage.destination("\(stage.bench.disk)/gone", creates: true))
          #expect(try stage.objection(toDestination: lock.path)?.errno == EBUSY)
          #expect(try stage.objection(toDestination: "/dev/kcopyfs-test", creates: true)?.errno == ENOENT)
          #expect(try stage.objection(toDestination: "/proc/fresh", creates: true)?.errno == EPERM)
          #expect(try stage.objection(toSource: stage.bench.disk)?.errno == EINVAL)
        }
        try round(0)
        let before = try Files.names(in: "/proc/self/fd").count
        for number in 1...50 { try round(number) }
        // A device's own thread ends a moment after its answer.
        try eventually("as many descriptors as before") { try Files.names(in: "/proc/self/fd").count <= before }
      }
    }
  }
}
