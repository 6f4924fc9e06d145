/// The keys of a record, in the order of the contract's table.
enum JobKey: UInt8, CaseIterable {
  case from, to, op, client, errors, order, retries, sync, verify, hash, create, sparse, clone, tail, domain, rate, priority
  case after, context, name, mode

  /// As it is written in a record.
  var name: String { Self.names[Int(rawValue)] }

  /// The only keys that belong to one submission and not to the copy: they are for `submit`, where no file name says them.
  var isForSubmitOnly: Bool { self == .name || self == .mode }

  init?(_ bytes: ArraySlice<UInt8>) {
    guard let packed = Self.pack(bytes), let index = Self.packed.firstIndex(of: packed) else { return nil }
    self.init(rawValue: UInt8(index))
  }

  /// The key that was probably meant, if one is two slips away or less.
  ///
  /// - Parameter allowingName: Whether `name` and `mode` may be proposed.
  static func nearest(to bytes: ArraySlice<UInt8>, allowingName: Bool) -> JobKey? {
    let typed = bytes.prefix(16).map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
    // dd's words, whose nearest keys would mislead.
    if typed.elementsEqual("if".utf8) { return .from }
    if typed.elementsEqual("of".utf8) { return .to }
    var best: (key: JobKey, distance: Int)?
    for key in allCases where allowingName || !key.isForSubmitOnly {
      let known = Array(key.name.utf8)
      let distance = distance(typed, known)
      // A distance as long as the word itself would make any two letters look like "to".
      guard distance <= 2, distance < max(typed.count, known.count), distance < best?.distance ?? 3 else { continue }
      best = (key, distance)
    }
    return best?.key
  }

  private static let names = allCases.map { String(describing: $0) }
  private static let packed = names.map { pack(Array($0.utf8)[...])! }

  /// Up to eight bytes as one integer: no key is longer.
  private static func pack(_ bytes: ArraySlice<UInt8>) -> UInt64? {
    guard !bytes.isEmpty && bytes.count <= 8 else { return nil }
    return bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The Damerau-Levenshtein distance in its usual form (optimal string alignment): insertions, deletions, substitutions, swaps of
  /// two neighbours.
  private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...right.count)
    for row in 0..<left.count {
      var current = [row + 1]
      for column in 0..<right.count {
        var least = min(last[column + 1] + 1, current[column] + 1, last[column] + (left[row] == right[column] ? 0 : 1))
        if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
          least = min(least, beforeLast[column - 1] + 1)
        }
        current.append(least)
      }
      (beforeLast, last) = (last, current)
    }
    return last[right.count]
  }
}
