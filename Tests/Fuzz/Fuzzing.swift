import CFuzzer
import Glibc
import Synchronization

/// One of our readers that is fed with what libFuzzer thinks of.
struct Target: Sendable {
  let name: String
  /// What it begins with.
  let seeds: [[UInt8]]
  /// Words that it would be long in finding.
  var words: [String] = []
  /// Reads the bytes, and traps when what must hold of the result doesn't.
  let read: @Sendable ([UInt8]) -> Void

  static let all: [Target] = [records, regions, words, kept, fingerprints, maps, mapfiles, commands]
}

/// `kcopyfs-fuzz --target=NAME [OPTION OF LIBFUZZER|FILE|DIRECTORY]...`, or `kcopyfs-fuzz --seeds=DIRECTORY`, which writes for each
/// target the directory of what it begins with and the dictionary NAME.dict, and lists the targets.
enum Fuzzing {
  private static let chosen = Mutex<Target?>(nil)

  static func run() -> Int32 {
    guard CommandLine.arguments.count > 1 else { return complain("--target=NAME or --seeds=DIRECTORY is missing") }
    let first = CommandLine.arguments[1]
    if first.hasPrefix("--seeds=") { return writeSeeds(to: String(first.dropFirst("--seeds=".count))) }
    guard let target = Target.all.first(where: { "--target=\($0.name)" == first }) else { return complain("\(first) is no target") }
    chosen.withLock { $0 = target }
    // libFuzzer passes over words that begin with two dashes.
    var (count, arguments) = (CommandLine.argc, Optional(CommandLine.unsafeArgv))
    return withUnsafeMutablePointer(to: &arguments) { place in
      place.withMemoryRebound(to: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?.self, capacity: 1) { place in
        LLVMFuzzerRunDriver(&count, place) { start, length in
          Fuzzing.target.read(Array(UnsafeBufferPointer(start: start, count: length)))
          return 0
        }
      }
    }
  }

  private static var target: Target { chosen.withLock { $0! } }

  private static func writeSeeds(to directory: String) -> Int32 {
    for target in Target.all {
      mkdir("\(directory)/\(target.name)", 0o755)
      for (index, seed) in target.seeds.enumerated() {
        guard write(seed, to: "\(directory)/\(target.name)/\(index)") else { return complain("\(directory) can't be written to") }
      }
      guard write(Array(dictionary(of: target).utf8), to: "\(directory)/\(target.name).dict") else {
        return complain("\(directory) can't be written to")
      }
      print(target.name)
    }
    return 0
  }

  /// An empty file would be an error.
  private static func dictionary(of target: Target) -> String {
    "# \(target.name)\n" + target.words.map { "\"\($0.utf8.map(escaped).joined())\"\n" }.joined()
  }

  private static func escaped(_ byte: UInt8) -> String {
    switch byte {
    case 0x22, 0x5c: "\\\(Character(Unicode.Scalar(byte)))"
    case 0x20...0x7e: String(Character(Unicode.Scalar(byte)))
    default: "\\x" + String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
    }
  }

  private static func write(_ bytes: [UInt8], to path: String) -> Bool {
    guard let file = fopen(path, "w") else { return false }
    let written = fwrite(bytes, 1, bytes.count, file)
    return fclose(file) == 0 && written == bytes.count
  }

  private static func complain(_ text: String) -> Int32 {
    print("kcopyfs-fuzz: \(text)")
    return 2
  }
}

/// What has to hold; a release build keeps it.
func hold(_ condition: Bool, _ sentence: @autoclosure () -> String) {
  if !condition { fatalError(sentence()) }
}

/// Whether text may be shown on a terminal: UTF-8 without control characters.
func isPlain(_ bytes: some Sequence<UInt8>) -> Bool {
  guard let text = String(validating: Array(bytes), as: UTF8.self) else { return false }
  return text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
}

extension Array where Element == UInt8 {
  /// Cuts numbers off the beginning, for the lengths and sizes that a target needs beside its text; 0 where nothing is left.
  mutating func takeNumber(bytes count: Int = 1) -> UInt64 {
    let taken = prefix(count)
    removeFirst(taken.count)
    return taken.reduce(0) { $0 << 8 | UInt64($1) }
  }
}
