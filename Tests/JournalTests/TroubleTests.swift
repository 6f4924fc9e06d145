import FaultKit
import Glibc
import Journal
import Locking
import Testing

/// Breaks what a journal is on, in each way that it can, and heals it again.
@Suite("A journal that can't be written")
struct TroubleTests {
  /// More than the rest of a page, so that it takes room.
  private static let much = String(repeating: "x", count: 100_000)

  /// An outage: acceptances are refused, ends wait, nothing acknowledged is lost, and who follows it is told once each way.
  ///
  /// - Parameter reason: what the text says at the end of the outage, and the errno.
  private func outage(_ state: String, _ reason: (errno: Int32, text: String), breaking: () throws -> Void, healing: () throws -> Void)
    throws
  {
    let memory = Memory()
    let told = Locked<[JournalError?]>([])
    let ended = Locked<[UInt64]>([])
    try withJournal(state, memory) { journal in
      journal.follow { error in told.withLock { $0.append(error) } }
      try memory.keep([job(1), job(2)], by: journal)
      #expect(told.withLock { $0.isEmpty } && journal.trouble == nil)

      try breaking()
      #expect(try memory.accept([job(3, spec: Self.much)], by: journal) != nil)
      for id in UInt64(1)...2 {
        var end = standing(id + 10, 1, "done")
        end.destinations[0].map = Array(Self.much.utf8)
        memory.set(id, end, by: journal) { ended.withLock { $0.append(id) } }
      }
      try eventually("the reason is known: \(String(describing: journal.trouble))") { journal.trouble?.errno == reason.errno }
      #expect(
        journal.trouble?.text.hasPrefix(state + "/") == true && journal.trouble?.text.hasSuffix(": " + reason.text) == true,
        "\(journal.trouble?.text ?? "")")
      // It is tried again and again, and each attempt leaves as little open as it found.
      let failures = journal.failureCount
      try eventually("it is tried again") { journal.failureCount > failures + 1 }
      try eventually("between attempts only the lock or what was open before is open") { openFiles(below: state) <= 4 }
      #expect(try memory.accept([job(4)], by: journal)?.errno == reason.errno)
      #expect(told.withLock { $0.count } == 1 && ended.withLock { $0.isEmpty })

      try healing()
      try eventually("both ends are kept") { ended.withLock { $0 } == [1, 2] }
      #expect(journal.trouble == nil)
      try memory.keep([job(5, spec: Self.much)], by: journal)
      #expect(told.withLock { $0.count == 2 && $0[0] != nil && $0[1] == nil })
    }
    #expect(memory.contents.jobs.map(\.id) == [1, 2, 5])
    #expect(try left(in: state) == memory.contents)
    #expect(try sql("PRAGMA integrity_check", on: state + "/journal.sqlite") == "ok")
  }

  /// Descriptors of this process that lead to files below a directory.
  private func openFiles(below directory: String) -> Int {
    let descriptors = (try? Files.names(in: "/proc/self/fd")) ?? []
    return descriptors.count { Files.target("/proc/self/fd/\($0)")?.hasPrefix(directory + "/") == true }
  }

  @Test("A full file system refuses acceptances with ENOSPC, and keeps the ends until there is room")
  func full() throws {
    try withWorkbench { bench in
      let mount = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/small", options: "size=2m"))
      try outage(
        mount.path + "/state", (ENOSPC, "database or disk is full"),
        breaking: {
          try fill(mount.path)
        },
        healing: {
          try makeRoom(mount.path)
        })
    }
  }

  @Test("A batch that is too much for the room that is left is refused alone, and nothing else is in trouble")
  func tooMuch() throws {
    try withWorkbench { bench in
      let mount = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/small", options: "size=1m"))
      let memory = Memory()
      try withJournal(mount.path + "/state", memory) { journal in
        try memory.keep([job(1)], by: journal)
        #expect(try memory.accept((2..<20).map { job($0, spec: Self.much) }, by: journal)?.errno == ENOSPC)
        #expect(journal.trouble == nil && journal.failureCount == 1)
        try memory.keep([job(20)], by: journal)
      }
      #expect(try left(in: mount.path + "/state").jobs == [job(1), job(20)])
    }
  }

  @Test(
    "A disk whose writes or flushes fail refuses acceptances with EIO, and is written anew when it works again",
    arguments: ["write", "flush"])
  func inputOutput(kind: String) throws {
    try withWorkbench { bench in
      let device = try bench.faultDevice(size: 8 << 20)
      try run("mkfs.ext2", "-q", "-N", "16", device.path).orThrow()
      let mount = bench.keep(try Mount(type: "ext2", device: device.path, on: bench.disk + "/mnt"))
      try outage(
        mount.path + "/state", (EIO, "Input/output error"),
        breaking: {
          try device.setFaults(kind == "write" ? [.write(0...1 << 20)] : [.flush])
        },
        healing: {
          try device.setFaults([])
        })
    }
  }

  @Test("A read-only file system that comes over the state refuses acceptances, until it goes")
  func covered() throws {
    try withWorkbench { bench in
      let state = bench.disk + "/state"
      var cover: Mount?
      defer { try? cover?.release() }
      try outage(
        state, (EROFS, "Read-only file system"),
        breaking: {
          cover = try Mount(type: "tmpfs", on: state, options: "ro")
        },
        healing: {
          try cover?.release()
          cover = nil
        })
    }
  }

  @Test("A file system that made itself read-only after an error refuses acceptances with EROFS; what was kept is there after a repair")
  func readOnly() throws {
    try withWorkbench { bench in
      let device = try bench.loop(size: 16 << 20)
      try run("mkfs.ext4", "-q", device.path).orThrow()
      let state = bench.disk + "/mnt/state"
      do {
        let mount = try Mount(type: "ext4", device: device.path, on: bench.disk + "/mnt", options: "errors=remount-ro")
        defer { #expect(throws: Never.self) { try eventually("it can be unmounted") { (try? mount.release()) != nil } } }
        let memory = Memory()
        try withJournal(state, memory) { journal in
          try memory.keep([job(1)], by: journal)
          try Files.write("/sys/fs/ext4/\(device.path.dropFirst("/dev/".count))/trigger_fs_error", "a test", flags: O_WRONLY)
          let error = try #require(try memory.accept([job(2)], by: journal))
          #expect(error.errno == EROFS && error.text == "\(state)/journal.sqlite: disk I/O error: Read-only file system", "\(error)")
          #expect(try memory.accept([job(3)], by: journal)?.errno == EROFS)
        }
      }
      #expect(try run("fsck.ext4", "-fp", device.path).ending == .exit(1))
      bench.keep(try Mount(type: "ext4", device: device.path, on: bench.disk + "/mnt"))
      #expect(try left(in: state).jobs.contains(job(1)))
    }
  }

  /// What becomes of the files of a journal that is in use.
  enum Loss: String, CaseIterable { case database, log, directory, replaced }

  @Test("Files that are removed or replaced while they are in use are noticed, and written anew from memory", arguments: Loss.allCases)
  func removed(loss: Loss) throws {
    try withWorkbench { bench in
      let state = bench.disk + "/state"
      let path = state + "/journal.sqlite"
      let memory = Memory()
      let told = Locked<[JournalError?]>([])
      try withJournal(state, memory) { journal in
        journal.follow { error in told.withLock { $0.append(error) } }
        try memory.keep([job(1), job(2)], by: journal)
        switch loss {
        case .database: try Files.unlink(path)
        case .log: try Files.unlink(path + "-wal")
        case .directory:
          try Files.rename(state, to: bench.disk + "/away")
          try Files.makeDirectory(state)
        case .replaced:
          try Files.rename(path, to: path + ".away")
          try run("cp", path + ".away", path).orThrow()
        }
        let error = try #require(try memory.accept([job(3)], by: journal))
        #expect(error == JournalError(errno: ENOENT, "\(path) was removed or replaced while it was in use"))
        try eventually("it is written again") { journal.trouble == nil }
        #expect(told.withLock { $0 } == [error, nil])
        memory.remove(2, by: journal)
        try memory.keep([job(4)], by: journal)
      }
      #expect(memory.contents.jobs == [job(1), job(4)])
      #expect(try left(in: state) == memory.contents)
    }
  }

  @Test("A journal whose memory is gone leaves a database that failed as it is")
  func noMemory() throws {
    try withWorkbench { bench in
      let path = bench.disk + "/journal.sqlite"
      try withJournal(bench.disk, nil) { journal in
        try write(.accept([job(1)]), to: journal)
        try Files.rename(path, to: path + ".away")
        #expect(try written(.accept([job(2)]), by: journal)?.errno == ENOENT)
        try Files.rename(path + ".away", to: path)
        try eventually("it is tried again") { journal.failureCount > 1 }
      }
      #expect(try left(in: bench.disk).jobs == [job(1)])
    }
  }
}
