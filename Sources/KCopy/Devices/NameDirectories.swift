internal import CSystemShims

/// The directories that have a file's name, where that has to be durable too: the file was made for a copy.
struct NameDirectories {
  private struct Entry {
    let descriptor: Int32
    let device: UInt64
    let inode: UInt64
    /// How often it was asked to be made durable, and how many of these times a flush has taken along.
    var asked = 1
    var durable = 0
  }

  /// What a flush takes along.
  struct Taken {
    let descriptor: Int32
    fileprivate let asked: Int
  }

  private var entries: [Entry] = []

  /// The next flush takes one more directory along; the descriptor is owned from now on, until the device is closed.
  mutating func add(_ descriptor: Int32) {
    var facts = kcs_file_facts()
    let isKnown = unsafe kcs_file_facts(descriptor, &facts) == 0
    if isKnown, let index = entries.firstIndex(where: { $0.device == facts.device && $0.inode == facts.inode }) {
      // A thousand copies of one file need one descriptor.
      _ = kcs_close(descriptor)
      entries[index].asked += 1
    } else {
      entries.append(Entry(descriptor: descriptor, device: facts.device, inode: facts.inode))
    }
  }

  var descriptors: [Int32] { entries.map(\.descriptor) }

  /// Those that a flush has to take along: a name needs it once.
  var waiting: [Taken] { entries.filter { $0.durable < $0.asked }.map { Taken(descriptor: $0.descriptor, asked: $0.asked) } }

  /// Those that a flush has taken along; who asked while it was under way still waits.
  mutating func settle(_ taken: [Taken]) {
    for one in taken {
      guard let index = entries.firstIndex(where: { $0.descriptor == one.descriptor }) else { continue }
      entries[index].durable = one.asked
    }
  }
}
