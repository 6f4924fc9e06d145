internal import Glibc

/// An option of `-o` that cannot be obeyed.
struct OptionError: Error, CustomStringConvertible {
  let description: String
}

/// What stands behind `-o`.
struct MountOptions: Equatable {
  /// The state directory; `nil` is `state=none`.
  enum State: Equatable {
    case standard
    case directory(String)
    case none
  }

  var state = State.standard
  var pages: Int?
  var allowsOthers = false
  var mostJobs = 1_000_000
  var mostJobsPerUid = 100_000
  /// Whether callers in other mount namespaces and below other roots are served, from their own root.
  var servesOtherRoots = false
  /// Seconds that final jobs stay; `nil`: for ever.
  var keep: UInt64?

  /// What mount(8), fstab(5) and mount.fuse3(8) add, and what is always so: nothing to do, nothing to complain of.
  private static let ignored: Set<String> = [
    "rw", "dev", "nodev", "suid", "nosuid", "exec", "noexec", "auto", "noauto", "nofail", "_netdev", "user", "users", "nouser", "nousers",
    "owner", "noowner", "group", "nogroup", "defaults", "default_permissions", "async", "atime", "noatime", "diratime", "nodiratime",
    "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "silent", "loud",
  ]
  /// The same with a value, or words of other programs: who mounts (mount(8) adds that), remarks, and what systemd and libmount read.
  private static let ignoredPrefixes = ["user=", "comment=", "x-", "X-"]

  init(_ text: [String]) throws(OptionError) {
    let words = text.flatMap { $0.split(separator: ",") }.map(String.init)
    if words.contains("remount") {
      throw OptionError(description: "a mount can't be given other options; umount it and mount it again with them")
    }
    for option in words {
      if Self.ignored.contains(option) || Self.ignoredPrefixes.contains(where: option.hasPrefix) { continue }
      let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      switch (parts[0], parts.count == 2 ? parts[1] : nil) {
      case ("allow_other", nil): allowsOthers = true
      case ("state", "none"?): state = .none
      case ("state", let path?) where path.hasPrefix("/"): state = .directory(path)
      case ("pages", let number?): pages = try Self.number(number, in: 256...(1 << 28), option)
      case ("max_jobs", let number?): mostJobs = try Self.number(number, in: 1...(1 << 40), option)
      case ("max_jobs_per_uid", let number?): mostJobsPerUid = try Self.number(number, in: 1...(1 << 40), option)
      case ("ns", "refuse"?): servesOtherRoots = false
      case ("ns", "caller"?): servesOtherRoots = true
      case ("keep", let number?): keep = UInt64(try Self.number(number, in: 0...(1 << 32), option))
      default:
        throw OptionError(
          description: "unknown or misspelt option \"\(option)\"; there are state=DIR|none, pages=N, max_jobs=N, max_jobs_per_uid=N, "
            + "keep=SECONDS, ns=refuse|caller, allow_other")
      }
    }
  }

  private static func number(_ text: String, in range: ClosedRange<Int>, _ option: String) throws(OptionError) -> Int {
    guard let number = Int(text), range.contains(number) else {
      throw OptionError(description: "\(option): a number from \(range.lowerBound) to \(range.upperBound) is wanted")
    }
    return number
  }

  /// The directory that the state of a mount is kept in; `nil` to keep none.
  func directory(for mountPoint: String) throws(OptionError) -> String? {
    switch state {
    case .none: return nil
    case .directory(let path): return path
    case .standard:
      let name = Self.escaped(mountPoint)
      if geteuid() == 0 { return "/var/lib/kcopyfs/\(name)" }
      // The specification says to ignore a relative path, and an empty one with it.
      if let state = unsafe getenv("XDG_STATE_HOME"), unsafe state.pointee == CChar(bitPattern: UInt8(ascii: "/")) {
        return unsafe "\(String(cString: state))/kcopyfs/\(name)"
      }
      guard let home = unsafe getenv("HOME") else {
        throw OptionError(description: "neither XDG_STATE_HOME nor HOME is set; say state=DIR")
      }
      return unsafe "\(String(cString: home))/.local/state/kcopyfs/\(name)"
    }
  }

  /// A path as the name of a file, as `systemd-escape --path` writes it.
  static func escaped(_ path: String) -> String {
    let parts = path.split(separator: "/")
    guard !parts.isEmpty else { return "-" }
    var name = ""
    for (index, byte) in parts.joined(separator: "/").utf8.enumerated() {
      switch byte {
      case UInt8(ascii: "/"): name += "-"
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: ":"), UInt8(ascii: "_"):
        name.unicodeScalars.append(Unicode.Scalar(byte))
      case UInt8(ascii: ".") where index > 0: name += "."
      default:
        let digits = String(byte, radix: 16)
        name += "\\x" + (digits.count == 1 ? "0" : "") + digits
      }
    }
    return name
  }
}
