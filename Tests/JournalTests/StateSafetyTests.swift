import FaultKit
import Glibc
import Journal
import Testing

@Suite("State directories that others could change")
struct StateSafetyTests {
  private static let reason = ": who can put another journal there has kcopyfs write to any disk"

  /// Changes a directory that is on the way to the state, or the state itself.
  struct Weakness: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let directory: String
    let uid: Int
    let mode: String
    /// What the refusal says of the directory, whose path is put for PATH.
    let text: String
  }

  @Test(
    "A directory that is another's, or that others may write to, is refused with the reason; nothing is made in it",
    arguments: [
      Weakness(testDescription: "another's", directory: "a/state", uid: 1000, mode: "0700", text: "PATH is uid 1000's"),
      Weakness(
        testDescription: "everybody's", directory: "a/state", uid: 0, mode: "0777", text: "others may write to PATH, which has mode 0777"),
      Weakness(
        testDescription: "a group's", directory: "a/state", uid: 0, mode: "0770", text: "others may write to PATH, which has mode 0770"),
      Weakness(
        testDescription: "like /tmp", directory: "a/state", uid: 0, mode: "1777", text: "others may write to PATH, which has mode 01777"),
      Weakness(testDescription: "in another's", directory: "a", uid: 1000, mode: "0755", text: "PATH is uid 1000's"),
      Weakness(
        testDescription: "in everybody's", directory: "a", uid: 0, mode: "0777", text: "others may write to PATH, which has mode 0777"),
      Weakness(testDescription: "in another's /tmp", directory: "a", uid: 1000, mode: "1777", text: "PATH is uid 1000's"),
    ], [true, false])
  func weak(_ weakness: Weakness, isThere: Bool) throws {
    try withWorkbench { bench in
      let place = bench.disk + "/" + weakness.directory
      try run("mkdir", "-p", isThere ? bench.disk + "/a/state" : place).orThrow()
      try run("chown", "\(weakness.uid)", place).orThrow()
      try run("chmod", weakness.mode, place).orThrow()
      let before = try run("find", bench.disk, "-printf", "%p %m %U %T@\n").orThrow().text
      let error = try #require(refusal(of: bench.disk + "/a/state"))
      #expect(error.errno == EPERM && error.text == weakness.text.replacing("PATH", with: place) + Self.reason)
      #expect(try run("find", bench.disk, "-printf", "%p %m %U %T@\n").orThrow().text == before)
    }
  }

  @Test("Below a directory in which nobody can replace what is another's there may be a state, at the end of links too")
  func safe() throws {
    try withWorkbench { bench in
      try run("mkdir", "-m", "1777", bench.disk + "/shared").orThrow()
      try run("ln", "-s", "../shared/./b/..", bench.disk + "/shared/link").orThrow()
      try Files.makeDirectory(bench.disk + "/shared/b")
      for path in ["/shared/state", "/shared/link/linked", "/shared/link/../shared/new/state"] {
        _ = try withJournal(bench.disk + path) { try $0.nextNumber() }
      }
      #expect(try Files.names(in: bench.disk + "/shared") == ["b", "link", "linked", "new", "state"])
      #expect(try Files.facts(bench.disk + "/shared/new").permissions == 0o700)
    }
  }

  @Test("A link that another could change, or that leads to where others may write, is refused; so is one that has no end")
  func links() throws {
    try withWorkbench { bench in
      try run("mkdir", "-m", "0777", bench.disk + "/open").orThrow()
      try run("ln", "-s", bench.disk + "/open", bench.disk + "/to-open").orThrow()
      #expect(
        refusal(of: bench.disk + "/to-open/state")?.text == "others may write to \(bench.disk)/open, which has mode 0777" + Self.reason)
      try run("ln", "-s", bench.disk, bench.disk + "/another's").orThrow()
      try run("chown", "-h", "1000", bench.disk + "/another's").orThrow()
      #expect(refusal(of: bench.disk + "/another's/state")?.text == "\(bench.disk)/another's is uid 1000's" + Self.reason)
      try run("ln", "-s", "endless", bench.disk + "/endless").orThrow()
      #expect(refusal(of: bench.disk + "/endless/state")?.errno == ELOOP)
      #expect(try Files.names(in: bench.disk + "/open").isEmpty)
    }
  }

  @Test(
    "Files of a journal that others could have written, or links in their place, are refused and stay as they are",
    arguments: ["lock", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"])
  func files(_ name: String) throws {
    try withWorkbench { bench in
      let path = bench.disk + "/state"
      _ = try withJournal(path) { try $0.nextNumber() }
      // Its thread lets go of it a moment after the close.
      try eventually("the journal is closed") { try Files.names(in: path) == ["journal.sqlite", "lock"] }
      let file = path + "/" + name
      if !Files.exists(file) { try Files.write(file, []) }
      try run("chmod", "0620", file).orThrow()
      #expect(refusal(of: path)?.text == "others may write to \(file), which has mode 0620" + Self.reason)
      try run("chmod", "0600", file).orThrow()
      try run("chown", "1000", file).orThrow()
      #expect(refusal(of: path)?.text == "\(file) is uid 1000's" + Self.reason)
      try run("chown", "0", file).orThrow()
      let elsewhere = bench.disk + "/elsewhere"
      try Files.rename(file, to: elsewhere)
      let before = try Files.read(elsewhere)
      try run("ln", "-s", elsewhere, file).orThrow()
      #expect(refusal(of: path)?.text == "\(file) is a symbolic link, which a journal never has")
      #expect(try Files.read(elsewhere) == before)
    }
  }

  @Test("Whatever the umask, and whatever mode they had, all files of a journal are their owner's alone", arguments: [0, 0o022, 0o077])
  func modes(_ mask: mode_t) async {
    await #expect(processExitsWith: .success) { [mask = mask as mode_t] in
      try withWorkbench { bench in
        let path = bench.disk + "/state"
        umask(mask)
        for _ in 0..<2 {
          try withJournal(path) { journal in
            _ = try journal.nextNumber()
            let names = try Files.names(in: path)
            #expect(names == ["journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal", "lock"])
            for name in names { #expect(try Files.facts(path + "/" + name).permissions & 0o077 == 0, "\(name)") }
          }
          // The log may be on its way out.
          for name in try Files.names(in: path) { _ = try run("chmod", "0644", path + "/" + name) }
        }
        #expect(try Files.facts(path).permissions & 0o077 == 0)
      }
    }
  }
}
