internal import KCopy

/// What is known of a job's source beside which one it is, as words of the journal.
extension JobLife {
  /// They stand behind those of the progress.
  func keep(sourceIn words: inout KeptWords) {
    words.add("warning", warnings.text)
    // Whether it has changed asks nobody after the end of a job that is done.
    guard (state ?? ending) != .done, let version = sourceVersion else { return }
    words.add("source_size", version.size)
    words.add("source_modified", version.modified)
    words.add("source_changed", version.changed)
  }

  /// - Throws: EINVAL for what only a damaged journal holds.
  mutating func takeSource(from text: String) throws(Refusal) {
    let words = try KeptWords(text)
    warnings = JobWarnings(words["warning"])
    let changed = try words.number("source_changed")
    guard changed > 0 else { return }
    sourceVersion = FileVersion(size: try words.number("source_size"), modified: try words.number("source_modified"), changed: changed)
  }
}
