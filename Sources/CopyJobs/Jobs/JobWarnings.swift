/// What makes a copy doubtful although it may be done.
public struct JobWarnings: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// The source, or what lies on it, was mounted for writing when it was opened.
  public static let sourceInUse = JobWarnings(rawValue: 1)
  /// The source, a regular file, is not what it was when the first of it was read.
  public static let sourceChanged = JobWarnings(rawValue: 2)

  /// What was read back of a destination came from the page cache.
  public static let verifiedInCache = JobWarnings(rawValue: 4)

  private static let names: [(JobWarnings, String)] = [
    (.sourceInUse, "source-in-use"), (.sourceChanged, "source-changed"), (.verifiedInCache, "verified-in-cache"),
  ]

  /// The words of the contract, comma-separated.
  public var text: String { Self.names.filter { contains($0.0) }.map(\.1).joined(separator: ",") }

  /// The length of the longest text, in bytes.
  public static let widest = JobWarnings(names.map(\.0)).text.utf8.count

  /// Reads a text; words that aren't known are passed over.
  init(_ text: String) {
    let words = text.split(separator: ",")
    self.init(Self.names.filter { name in words.contains { $0 == name.1 } }.map(\.0))
  }
}
