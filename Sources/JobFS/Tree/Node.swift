internal import FuseKit

/// What a node of the tree is; its number is made from it, so that no table is needed but for files that wait to be jobs.
///
/// Five different ranges:
/// 1. below 16: the files at the root;
/// 2. from 4096 on: a job's number times 4096, and which of its files;
/// 3. with bit 61: a client's number times 256, and which of its files;
/// 4. with bit 62: a file in `jobs/` whose record is not complete, or a draft;
/// 5. with bit 63: `submit` and `check`, a new number at each lookup, for a write that is being decided holds its inode, and
///    other writers of the same one would be stuck.
enum Node: Hashable {
  case root, readme, version, stats, metrics, list, events, errors, jobs, clients
  case submit(UInt64)
  case check(UInt64)
  case placeholder(UInt64)
  case draft(UInt64)
  case job(UInt64, JobFile)
  case client(UInt64, ClientFile)

  private static let fixed: [Node] = [.root, .readme, .version, .list, .errors, .jobs, .clients, .stats, .metrics, .events]
  /// Shown as the inodes of `submit` and `check`, whatever numbers they have.
  static let submitInode: UInt64 = 15
  static let checkInode: UInt64 = 14
  private static let clientBit: UInt64 = 1 << 61
  private static let placeholderBit: UInt64 = 1 << 62
  private static let submitBit: UInt64 = 1 << 63

  init?(_ number: NodeID) {
    if number & Self.submitBit != 0 {
      let counter = number & ~Self.submitBit
      self = counter % 2 == 0 ? .submit(counter / 2) : .check(counter / 2)
    } else if number & Self.placeholderBit != 0 {
      let counter = number & ~Self.placeholderBit
      self = counter % 2 == 0 ? .placeholder(counter / 2) : .draft(counter / 2)
    } else if number & Self.clientBit != 0 {
      guard let file = ClientFile(rawValue: UInt8(number % 256)) else { return nil }
      self = .client((number & ~Self.clientBit) / 256, file)
    } else if number >= 4096 {
      guard let file = JobFile(number: Int(number % 4096)) else { return nil }
      self = .job(number / 4096, file)
    } else {
      guard number >= 1, Int(number) <= Self.fixed.count else { return nil }
      self = Self.fixed[Int(number) - 1]
    }
  }

  /// The directory that it stands in.
  var parent: Node {
    switch self {
    case .placeholder, .draft, .job(_, .directory): .jobs
    case .job(let id, .destination): .job(id, .destinations)
    case .job(let id, .destinationStatus(let index)), .job(let id, .destinationMap(let index)): .job(id, .destination(index))
    case .job(let id, _): .job(id, .directory)
    case .client(_, .directory): .clients
    case .client(let number, _): .client(number, .directory)
    default: .root
    }
  }

  var number: NodeID {
    switch self {
    case .submit(let counter): counter * 2 | Self.submitBit
    case .check(let counter): counter * 2 + 1 | Self.submitBit
    case .draft(let counter): counter * 2 + 1 | Self.placeholderBit
    case .placeholder(let counter): counter * 2 | Self.placeholderBit
    case .job(let id, let file): id * 4096 + UInt64(file.number)
    case .client(let number, let file): number * 256 + UInt64(file.rawValue) | Self.clientBit
    default: NodeID((Self.fixed.firstIndex(of: self) ?? 0) + 1)
    }
  }
}

/// The files of a job's directory, the directory itself included.
enum JobFile: Hashable {
  case directory, spec, status, statusJSON, state, progress, readError, writeErrors, wait, result, ctl
  case destinations
  case destination(Int)
  case destinationStatus(Int)
  case destinationMap(Int)

  /// In the order in which the directory lists them.
  private static let single: [(file: JobFile, name: String)] = [
    (.directory, ""), (.spec, "spec"), (.status, "status"), (.statusJSON, "status.json"), (.state, "state"), (.progress, "progress"),
    (.readError, "read_err"), (.writeErrors, "write_err"), (.wait, "wait"), (.result, "result"), (.ctl, "ctl"), (.destinations, "dest"),
  ]

  /// What stands in the job's directory.
  static let entries: [(file: JobFile, name: String)] = Array(single.dropFirst())

  init?(number: Int) {
    if number < 0x100 {
      guard number < Self.single.count else { return nil }
      self = Self.single[number].file
    } else {
      let (index, kind) = ((number - 0x100) / 4, (number - 0x100) % 4)
      guard index < 64 else { return nil }
      switch kind {
      case 0: self = .destination(index)
      case 1: self = .destinationStatus(index)
      case 2: self = .destinationMap(index)
      default: return nil
      }
    }
  }

  var number: Int {
    switch self {
    case .destination(let index): 0x100 + 4 * index
    case .destinationStatus(let index): 0x101 + 4 * index
    case .destinationMap(let index): 0x102 + 4 * index
    default: Self.single.firstIndex { $0.file == self } ?? 0
    }
  }

  var isDirectory: Bool {
    switch self {
    case .directory, .destinations, .destination: true
    default: false
    }
  }
}
