internal import CSystemShims

/// The text that a journal keeps: words `key=value` in one line.  What is not known has no word.
extension Fingerprint {
  public var text: String {
    var words: [(key: String, value: String?)] = [
      ("kind", isBlockDevice ? "block" : "file"), ("size", "\(size)"), ("offset", "\(offset)"), ("boot", boot),
      ("diskseq", sequence.map { "\($0)" }), ("partuuid", partition),
    ]
    switch root {
    case .disk(let disk): words += [("wwid", disk.wwid), ("serial", disk.serial), ("uuid", disk.uuid)]
    case .file(let file):
      words += [
        ("dev", "\(kcs_major(file.device)):\(kcs_minor(file.device))"), ("inode", "\(file.inode)"), ("fsuuid", file.fileSystem),
        ("fsid", file.number.map { String($0, radix: 16) }), ("mount", file.mount.map { "\($0)" }), ("born", file.born.map { "\($0)" }),
        ("generation", file.generation.map { "\($0)" }),
      ]
    }
    return words.compactMap { word in word.value.map { "\(word.key)=\($0)" } }.joined(separator: " ")
  }

  /// Reads a text again; `nil` for one that is none.  Words that it doesn't know, a later version's, are passed over.
  public init?(_ text: String) {
    var values: [Substring: Substring] = [:]
    for word in text.split(separator: " ") {
      guard let equals = word.firstIndex(of: "="), values.updateValue(word[word.index(after: equals)...], forKey: word[..<equals]) == nil
      else { return nil }
    }
    /// `nil` where the word is there and is no number.
    func number(_ key: Substring, radix: Int = 10) -> UInt64?? {
      guard let value = values[key] else { return .some(nil) }
      return UInt64(value, radix: radix).map { .some($0) }
    }
    guard let kind = values["kind"], ["block", "file"].contains(kind), let size = number("size"), let size, let offset = number("offset"),
      let offset, let sequence = number("diskseq"), let inode = number("inode"), let fileSystem = number("fsid", radix: 16),
      let mount = number("mount"), let born = number("born"), let generation = number("generation")
    else { return nil }
    if let inode {
      let device = (values["dev"] ?? "").split(separator: ":", omittingEmptySubsequences: false).map { UInt32($0) }
      guard device.count == 2, let major = device[0], let minor = device[1] else { return nil }
      root = .file(
        FileIdentity(
          device: kcs_device(major, minor), inode: inode, fileSystem: values["fsuuid"].map(String.init), number: fileSystem, mount: mount,
          born: born,
          generation: generation))
    } else {
      guard kind == "block" else { return nil }
      root = .disk(
        DiskIdentity(
          wwid: values["wwid"].map(String.init), serial: values["serial"].map(String.init), uuid: values["uuid"].map(String.init)))
    }
    boot = values["boot"].map(String.init)
    isBlockDevice = kind == "block"
    partition = values["partuuid"].map(String.init)
    (self.size, self.offset, self.sequence) = (size, offset, sequence)
  }
}
