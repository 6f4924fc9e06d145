internal import CSystemShims
internal import Glibc

/// The way to a state directory: made where it lacks, and nobody else's to change anywhere.
///
/// A journal says what is to be written to which disk, and the next start does it, with all rights of the daemon.  So whoever could
/// put another one in its place could have any disk of a daemon of root overwritten.
struct StatePath {
  /// What was walked, without links; empty for the root.
  private var place = ""
  /// Names that are still to be walked, the next one last.
  private var rest: [String] = []
  private var links = 0
  /// Who can change everything anyway: root, we, and whose the root directory is, which a namespace may show as somebody unknown.
  private let trusted: Set<UInt32>

  private static let mostLinks = 40

  /// Walks a path, and makes its directories where they lack, each for its owner alone.
  ///
  /// - Throws: `JournalError`: EPERM for what others may change; the errno of `mkdir(2)`.
  static func make(_ path: String) throws(JournalError) {
    var walk = StatePath()
    walk.add(path)
    while let name = walk.rest.popLast() { try walk.enter(name) }
  }

  /// Looks at files that may be there: they are nobody else's to write, and no longer to read.
  ///
  /// - Throws: `JournalError` with EPERM for what others have or can have written, or a link to anywhere.
  static func secure(_ paths: [String]) throws(JournalError) {
    let walk = StatePath()
    for path in paths {
      guard let facts = Self.facts(path), facts.isFile || facts.isLink else { continue }
      guard !facts.isLink else { throw JournalError(errno: EPERM, "\(path) is a symbolic link, which a journal never has") }
      try walk.check(facts, path, isShared: false)
      guard facts.mode & 0o077 != 0 else { continue }
      guard unsafe chmod(path, 0o600) == 0 else { throw JournalError(errno: errno, at: path) }
    }
  }

  private init() { trusted = Set([0, geteuid(), Self.facts("/")?.owner ?? 0]) }

  private mutating func add(_ path: String) { rest += path.split(separator: "/").reversed().map(String.init) }

  private mutating func enter(_ name: String) throws(JournalError) {
    if name == "." { return }
    if name == ".." {
      place = Self.parent(of: place)
      return
    }
    let next = place + "/" + name
    let facts = if let found = Self.facts(next) { found } else { try make(next) }
    // What is neither a directory nor a link says so itself when it is entered.
    if facts.isDirectory { try check(facts, next, isShared: facts.mode & S_ISVTX != 0 && !rest.isEmpty) }
    guard facts.isLink else {
      place = next
      return
    }
    try check(facts, next, isShared: true)
    links += 1
    guard links <= Self.mostLinks, let target = Self.target(of: next) else { throw JournalError(errno: ELOOP, at: next) }
    if target.hasPrefix("/") { place = "" }
    add(target)
  }

  /// - Parameter isShared: whether others may write to it all the same: to a directory in which nobody can replace what is another's,
  ///   as /tmp is, while it's not the last one.  The mode of a link says nothing.
  private func check(_ facts: Facts, _ path: String, isShared: Bool) throws(JournalError) {
    guard trusted.contains(facts.owner) else { throw Self.refusal("\(path) is uid \(facts.owner)'s") }
    // A user's own group is the user; one of root's may have members.
    let isOwnGroup = geteuid() != 0 && facts.group == getegid()
    guard isShared || facts.mode & (isOwnGroup ? S_IWOTH : S_IWOTH | S_IWGRP) == 0 else {
      throw Self.refusal("others may write to \(path), which has mode 0\(String(facts.mode & 0o7777, radix: 8))")
    }
  }

  private static func refusal(_ text: String) -> JournalError {
    JournalError(errno: EPERM, "\(text): who can put another journal there has kcopyfs write to any disk")
  }

  private func make(_ path: String) throws(JournalError) -> Facts {
    // EEXIST: somebody was faster.
    guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST else { throw JournalError(errno: errno, at: path) }
    try Self.synchronise(Self.parent(of: path) + "/")
    guard let facts = Self.facts(path) else { throw JournalError(errno: errno, at: path) }
    return facts
  }

  /// What is kept in a directory is lost with the directory's name.
  private static func synchronise(_ path: String) throws(JournalError) {
    let directory = unsafe kcs_open(path, O_RDONLY | O_DIRECTORY, 0)
    guard directory >= 0 else { throw JournalError(errno: -directory, at: path) }
    defer { _ = kcs_close(directory) }
    let result = kcs_fsync(directory)
    // EINVAL: there is no such thing on this file system.
    guard result == 0 || result == -EINVAL else { throw JournalError(errno: -result, at: path) }
  }

  private static func parent(of path: String) -> String { String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) }

  private static func target(of link: String) -> String? {
    var text = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe readlink(link, &text, text.count)
    return count > 0 ? String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
  }

  private struct Facts {
    let mode: UInt32
    let owner: UInt32
    let group: UInt32

    var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
    var isFile: Bool { mode & S_IFMT == S_IFREG }
    var isLink: Bool { mode & S_IFMT == S_IFLNK }
  }

  /// `nil` for what can't be looked at, which whoever opens it says better.
  private static func facts(_ path: String) -> Facts? {
    var facts = stat()
    guard unsafe lstat(path, &facts) == 0 else { return nil }
    return Facts(mode: facts.st_mode, owner: facts.st_uid, group: facts.st_gid)
  }
}
