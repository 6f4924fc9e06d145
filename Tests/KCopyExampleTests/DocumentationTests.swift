import FaultKit
import Foundation
import Testing

/// What the documentation says in code, and whether it says something of everything.
@Suite("The documentation of the library")
struct DocumentationTests {
  /// The repository: this file is two folders below it.
  private static let root = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
  private static let examples = root + "/Tests/KCopyExampleTests/Examples"
  private static let article = root + "/Sources/KCopy/KCopy.docc/KcopydInASwiftProgram.md"

  /// The programs of the folder whose tests are beside this one.
  private static func programs() throws -> [String] {
    try Files.names(in: examples).map { try Files.text(examples + "/" + $0) }
  }

  /// The blocks of a language in a text, without their fences.
  private static func blocks(_ language: String, in path: String) throws -> [String] {
    var blocks: [String] = []
    var fence: String?
    for line in try Files.text(path).split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("```") {
        fence = fence == nil ? String(line.dropFirst(3)) : nil
        if fence == language { blocks.append("") }
      } else if fence == language {
        blocks[blocks.count - 1] += line + "\n"
      }
    }
    return blocks
  }

  @Test("The programs of the article are those that are tested, byte for byte, and none is left out")
  func article() throws {
    #expect(Set(try Self.blocks("swift", in: Self.article)) == Set(try Self.programs()))
  }

  @Test("Whatever Swift the README shows is part of a program that is tested")
  func readme() throws {
    let programs = try Self.programs()
    for block in try Self.blocks("swift", in: Self.root + "/README.md") {
      #expect(programs.contains { $0.contains(block) }, "\(block)")
    }
  }

  @Test("Each program fits on a screen")
  func length() throws {
    for program in try Self.programs() { #expect(program.split(separator: "\n", omittingEmptySubsequences: false).count <= 62) }
  }

  // MARK: Symbols

  /// Of what the compiler knows of a module, what is needed here.
  private struct SymbolGraph: Decodable {
    struct Symbol: Decodable {
      struct Comment: Decodable {}
      let pathComponents: [String]
      let docComment: Comment?
    }
    let symbols: [Symbol]
  }

  /// Writes the symbol graph of the library that was built with these tests.
  private static func extractSymbols(to directory: String) throws {
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let built = tests.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
    #if arch(arm64)
      let architecture = "aarch64"
    #else
      let architecture = "x86_64"
    #endif
    try run(
      "swift", "symbolgraph-extract", "-module-name", "KCopy", "-target", "\(architecture)-unknown-linux-gnu", "-I", built + "/Modules",
      "-I", root + "/Sources/CSystemShims/include", "-I", root + "/Sources/CUring", "-I", root + "/Sources/CXXHash",
      "-minimum-access-level", "public",
      "-skip-synthesized-members", "-output-dir", directory
    ).orThrow()
  }

  @Test("Every public symbol has a comment, and docc finds all that the articles link to")
  func symbols() throws {
    try withWorkbench { bench in
      try Self.extractSymbols(to: bench.disk)
      let graph = try JSONDecoder().decode(SymbolGraph.self, from: Data(Files.read(bench.disk + "/KCopy.symbols.json")))
      #expect(graph.symbols.count > 150)
      let silent = graph.symbols.filter { $0.docComment == nil }.map { $0.pathComponents.joined(separator: ".") }
      #expect(silent == [])

      guard Command.isInstalled("docc") else { throw Missing("docc, which comes with Swift, is not in PATH") }
      try run(
        "docc", "convert", Self.root + "/Sources/KCopy/KCopy.docc", "--additional-symbol-graph-dir", bench.disk, "--warnings-as-errors",
        "--output-dir", bench.disk + "/KCopy.doccarchive"
      ).orThrow()
    }
  }
}
