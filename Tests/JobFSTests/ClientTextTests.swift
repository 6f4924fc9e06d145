import FaultKit
import FuseKit
import Glibc
import KCopy
import Testing

@testable import CopyJobs
@testable import JobFS

@Suite("The files of a client, and lines written to files")
struct ClientTextTests {
  private static let me = Requester(uid: geteuid(), gid: getegid(), pid: getpid(), umask: 0)

  @Test("One value and a newline per file; the directory and wait have no text")
  func texts() throws {
    let client = try CopyClient("a", number: 2, uid: 0, gid: 0, Client.Configuration())
    defer { client.destroy() }
    let texts = ClientFile.entries.map { file in ClientText.text(client, file).map { String(decoding: $0, as: UTF8.self) } }
    #expect(texts == ["4096\n", "4096\n", "100\n", "max\n", "1048576\n", "8\n", "100000\n", "0\n", nil])
    #expect(ClientText.text(client, .directory) == nil)
    #expect(ClientText.waited(client) == Array("client=a jobs=0\n".utf8))
  }

  @Test("The directory lists the contract's names, and the values are those that can be written")
  func names() {
    #expect(
      ClientFile.entries.map(\.name) == ["pages", "pages_free", "throttle", "rate", "subjob", "slots", "max_jobs", "jobs", "wait"])
    #expect(ClientFile.allCases.compactMap(\.parameter) == [.pages, .throttle, .rate, .subjob, .slots, .mostJobs])
    for file in ClientFile.allCases { #expect(file.parameter.map(\.rawValue) ?? file.name == file.name) }
  }

  @Test("A line is put together from writes of any size, and its rest waits")
  func lines() throws {
    let line = Line(openedBy: Self.me)
    #expect(line.takeRest() == nil && !line.ends(by: Self.me))
    #expect(line.append(Array("ab".utf8)) == [])
    #expect(line.ends(by: Self.me))
    #expect(line.append(Array("c\nd\n\ne".utf8)) == [Array("abc".utf8), Array("d".utf8), []])
    #expect(line.takeRest() == Array("e".utf8) && line.takeRest() == nil)
    #expect(line.append([UInt8](repeating: 0x61, count: Line.longest)) == [])
    #expect(line.append([0x61]) == nil && line.takeRest() == nil)
  }

  @Test("Only a close by the process that opened the file ends what is written")
  func closers() throws {
    let line = Line(openedBy: Self.me)
    _ = line.append([0x61])
    let child = try Command("sleep", ["60"]).start()
    #expect(!line.ends(by: Requester(uid: 0, gid: 0, pid: child.pid, umask: 0)))
    try child.end()
    #expect(line.ends(by: Self.me))
  }
}
