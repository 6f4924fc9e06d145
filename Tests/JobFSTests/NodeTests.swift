import Testing

@testable import JobFS

@Suite("Numbers of nodes")
struct NodeTests {
  static let files: [JobFile] =
    [.directory, .spec, .status, .statusJSON, .state, .progress, .readError, .writeErrors, .wait, .result, .ctl, .destinations]
    + (0..<64).flatMap { [.destination($0), .destinationStatus($0), .destinationMap($0)] }

  static let roots: [Node] = [.root, .readme, .version, .list, .errors, .jobs, .clients, .stats, .metrics, .events]

  /// Numbers of jobs, small ones and those of a mount that was never taken away.
  static let ids: [UInt64] = [1, 2, 4095, 4096, 1 << 32, (1 << 49) - 1]

  @Test("Every node has a number of its own that leads back to it")
  func roundTrip() {
    var seen: [UInt64: Node] = [:]
    let numbered: [Node] = Self.ids.flatMap { id in Self.files.map { Node.job(id, $0) } }
    let counted: [Node] = [1, 2, 1 << 32, (1 << 60) - 1].flatMap { [Node.submit($0), .check($0), .placeholder($0), .draft($0)] }
    let clients: [Node] = [1, 2, 1 << 32, (1 << 53) - 1].flatMap { number in ClientFile.allCases.map { Node.client(number, $0) } }
    for node in Self.roots + numbered + counted + clients {
      #expect(Node(node.number) == node)
      #expect(seen.updateValue(node, forKey: node.number) == nil, "\(node) has the number of another")
    }
  }

  @Test("The root has number 1, as FUSE wants it, and no number of a file at the root is one of a job")
  func fixed() {
    #expect(Node.root.number == 1)
    for node in Self.roots { #expect(node.number < Node.submitInode) }
    #expect(Node.job(1, .directory).number == 4096)
  }

  @Test("A number that no node has leads nowhere")
  func unknown() {
    for number: UInt64 in [
      0, 11, 15, 16, 4095, 4096 + 12, 4096 + 0xff, 4096 + 0x100 + 3, 4096 + 0x100 + 256, 4096 + 4095, 1 << 61 | 256 + 10, 1 << 61 | 255,
    ] {
      #expect(Node(number) == nil, "\(number)")
    }
  }

  @Test("Every node leads up to the root by way of directories")
  func parents() {
    let clients = ClientFile.allCases.map { Node.client(7, $0) }
    for node in Self.roots + Self.files.map({ Node.job(7, $0) }) + clients + [.submit(1), .check(1), .placeholder(1), .draft(1)] {
      var (above, steps) = (node.parent, 1)
      while above != .root, steps < 10 {
        if case .job(_, let file) = above { #expect(file.isDirectory) }
        if case .client(_, let file) = above { #expect(file.isDirectory) }
        (above, steps) = (above.parent, steps + 1)
      }
      #expect(above == .root && steps <= 5, "\(node)")
    }
    for file in [JobFile.destinationStatus(3), .destinationMap(3)] { #expect(Node.job(7, file).parent == .job(7, .destination(3))) }
    #expect(Node.client(7, .pages).parent == .client(7, .directory) && Node.client(7, .directory).parent == .clients)
    #expect(Node.job(7, .directory).parent == .jobs && Node.jobs.parent == .root && Node.placeholder(1).parent == .jobs)
  }

  @Test("The directory of a job lists each of its files once, under the contract's names")
  func entries() {
    #expect(
      JobFile.entries.map(\.name) == [
        "spec", "status", "status.json", "state", "progress", "read_err", "write_err", "wait", "result", "ctl", "dest",
      ])
    #expect(Set(JobFile.entries.map(\.file)).count == JobFile.entries.count)
    #expect(Self.files.filter(\.isDirectory).count == 2 + 64)
  }
}
