/// A map as GNU ddrescue keeps it ("Mapfile structure" in its manual), which `partclone --domain` writes too: what is known of each
/// byte of a device, from the start of its first block to the end of its last.
public struct Mapfile: Sendable, Equatable {
  /// What is known of a byte; the value is the character that stands for it.
  public enum Status: UInt8, Sendable, CaseIterable {
    /// `?`: not tried yet; of partclone: not in use.
    case untried = 0x3f
    /// `*`: in a block whose edges are still to be found.
    case untrimmed = 0x2a
    /// `/`: in a block that is still to be read by the sector.
    case unscraped = 0x2f
    /// `-`: could not be read.
    case bad = 0x2d
    /// `+`: rescued; of partclone: in use.
    case finished = 0x2b
  }

  /// A run of bytes of one status.
  public struct Block: Sendable, Equatable {
    /// Where it is, in bytes from the start of the device; the end is at most 2^63-1.
    public var range: Range<UInt64>
    /// What is known of all of them.
    public var status: Status

    /// A run of bytes of one status.
    public init(_ range: Range<UInt64>, _ status: Status) {
      self.range = range
      self.status = status
    }
  }

  /// In ascending order and without gaps between them; neighbours of one status are one block.  None in a map that says nothing.
  public private(set) var blocks: [Block] = []

  init() {}

  /// Reads the text of a mapfile; `MapfileReader` takes one that comes in pieces.
  ///
  /// - Throws: What is wrong with the first line that ddrescue would not take.
  public init(_ text: [UInt8]) throws(MapfileError) {
    var reader = MapfileReader()
    try reader.read(text)
    self = try reader.finish()
  }

  /// Where the bytes of a status are, ascending: of `finished`, the domain of ddrescue's `--domain-mapfile`.
  public func ranges(of status: Status) -> [Range<UInt64>] { blocks.compactMap { $0.status == status ? $0.range : nil } }

  /// - Returns: Whether the block begins where the one before it ends, or is the first.
  mutating func append(_ block: Block) -> Bool {
    guard let last = blocks.last else {
      blocks = [block]
      return true
    }
    guard last.range.upperBound == block.range.lowerBound else { return false }
    if block.range.isEmpty { return true }
    if last.status == block.status || last.range.isEmpty {
      blocks[blocks.count - 1] = Block(last.range.lowerBound..<block.range.upperBound, block.status)
    } else {
      blocks.append(block)
    }
    return true
  }

  /// Forgets the one block without bytes that there may be, for a device of which nothing is known.
  mutating func close() {
    if blocks.last?.range.isEmpty == true { blocks = [] }
  }
}

/// What is wrong with a mapfile.
public struct MapfileError: Error, Sendable, Equatable {
  /// The line, counted from 1, comments and blank ones too.
  public var line: Int
  /// One line for a human, without anything of the file.
  public var text: String

  /// Makes an error.
  public init(line: Int, text: String) {
    self.line = line
    self.text = text
  }
}
