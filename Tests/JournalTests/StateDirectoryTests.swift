import FaultKit
import Foundation
import Glibc
import Journal
import Testing

@Suite("State directories")
struct StateDirectoryTests {
  @Test("The directory is made with all that lead to it, and nobody else may enter it")
  func made() throws {
    try withWorkbench { bench in
      let path = bench.disk + "/var/lib/state"
      _ = try withJournal(path) { try $0.nextNumber() }
      #expect(try Files.facts(path).isDirectory && Files.facts(path).permissions == 0o700)
    }
  }

  @Test("In a directory that others may enter, others can't read what the journal keeps")
  func existing() throws {
    try withWorkbench { bench in
      let path = bench.disk + "/state"
      try Files.makeDirectory(path)
      try withJournal(path) { journal in
        _ = try journal.nextNumber()
        for name in try Files.names(in: path) { #expect(try Files.facts("\(path)/\(name)").permissions == 0o600, "\(name)") }
        #expect(try Set(["journal.sqlite", "journal.sqlite-wal"]).isSubset(of: Files.names(in: path)))
      }
    }
  }

  @Test("A second journal on the same directory is refused, and the text names the directory")
  func second() throws {
    try withWorkbench { bench in
      let path = bench.disk + "/state"
      let given = try withJournal(path) { first in
        let error = try #require(refusal(of: path))
        #expect(error.text == "\(path) is the state of another kcopyfs that is running (process \(getpid()))" && error.errno == EBUSY)
        return try first.nextNumber()
      }
      #expect(try withJournal(path) { try $0.nextNumber() } > given)
    }
  }

  @Test("A directory that can't be used is refused with a text that has its path and the reason")
  func unusable() throws {
    try withWorkbench { bench in
      let file = try bench.file("file", [1, 2, 3])
      #expect(refusal(of: file)?.text == "\(file)/lock: Not a directory")
      #expect(refusal(of: file + "/below")?.text == "\(file)/below: Not a directory")
      #expect(try Files.read(file) == [1, 2, 3])

      let readOnly = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/readonly", options: "ro,mode=0755"))
      #expect(refusal(of: readOnly.path + "/state")?.text == "\(readOnly.path)/state: Read-only file system")
      #expect(refusal(of: readOnly.path)?.text == "\(readOnly.path)/lock: Read-only file system")

      let directory = bench.disk + "/directory/journal.sqlite"
      try Files.makeDirectory(bench.disk + "/directory")
      try Files.makeDirectory(directory)
      #expect(refusal(of: bench.disk + "/directory")?.text.hasPrefix("\(directory): ") == true)
    }
  }

  @Test("A directory that the daemon's uid may not write to is refused")
  func forbidden() async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path
    await #expect(processExitsWith: .success) { [path = path as String] in
      try #require(setgid(65534) == 0 && setuid(65534) == 0)
      #expect(refusal(of: path)?.text == "\(path)/lock: Permission denied")
      #expect(refusal(of: path + "/state")?.text == "\(path)/state: Permission denied")
    }
    #expect(try Files.names(in: path).isEmpty)
    try directory.release()
  }

  @Test("On a full file system there is no journal; it works once there is room")
  func full() throws {
    try withWorkbench { bench in
      let mount = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/small", options: "size=256k"))
      try fill(mount.path)
      let error = try #require(refusal(of: mount.path + "/state"))
      #expect(error.text == "\(mount.path)/state/journal.sqlite: database or disk is full")
      try makeRoom(mount.path)
      #expect(try withJournal(mount.path + "/state") { try $0.nextNumber() } == 1)
    }
  }

  @Test("When the file system becomes full no number is given that could not be noted; later the count goes on")
  func filling() throws {
    try withWorkbench { bench in
      let mount = bench.keep(try Mount(type: "tmpfs", on: bench.disk + "/small", options: "size=256k"))
      try withJournal(mount.path + "/state") { journal in
        var last = try journal.nextNumber()
        try fill(mount.path)
        var failure: JournalError?
        while failure == nil, last < 100_000 {
          do throws(JournalError) { last = try journal.nextNumber() } catch { failure = error }
        }
        #expect(failure?.text == "\(mount.path)/state/journal.sqlite: database or disk is full")
        #expect(throws: JournalError.self) { try journal.nextNumber() }
        try makeRoom(mount.path)
        try eventually("the journal is written again") { journal.trouble == nil }
        #expect(try journal.nextNumber() == last + 1)
      }
    }
  }
}
