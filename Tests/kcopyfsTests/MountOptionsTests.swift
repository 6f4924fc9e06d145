import FaultKit
import Testing

@testable import kcopyfs

@Suite("Mount options")
struct MountOptionsTests {
  private func options(_ text: String...) throws -> MountOptions { try MountOptions(text) }

  @Test("Without options there is a state directory, the pages that there were, and a million jobs")
  func standard() throws {
    let options = try options()
    #expect(options.state == .standard && options.pages == nil && options.mostJobs == 1_000_000 && !options.allowsOthers)
  }

  @Test("Each option is taken, from one -o or from many")
  func each() throws {
    let all = try options("state=/var/lib/x,pages=256", "allow_other", "max_jobs=7")
    #expect(all.state == .directory("/var/lib/x") && all.pages == 256 && all.allowsOthers && all.mostJobs == 7)
    #expect(try options("state=none").state == .none)
    #expect(try options("state=/a=b").state == .directory("/a=b"))
    #expect(try options("pages=1000,pages=2000").pages == 2000)
  }

  @Test("What mount(8) and fstab(5) add is passed over")
  func ignored() throws {
    let words =
      "rw,nodev,nosuid,noexec,auto,noauto,nofail,_netdev,user,defaults,relatime,default_permissions,x-systemd.automount,x-a=b,,"
      + "users,user=root,owner,group,comment=a b,X-mount.subdir=c,async,noatime,nodiratime,lazytime,strictatime,dev,suid,exec,loud,ns=refuse"
    #expect(try options(words) == MountOptions([]))
  }

  @Test(
    "An option that can't be obeyed is refused by its name",
    arguments: [
      "pgaes=512", "ro", "state", "state=", "state=relative", "pages", "pages=", "pages=255", "pages=-1", "pages=1e3", "pages=1k",
      "pages=268435457", "pages=99999999999999999999", "max_jobs=0", "allow_other=yes", "keep", "keep=-1", "keep=1s", "=",
      "max_jobs_per_uid=0",
    ])
  func refused(option: String) throws {
    let error = #expect(throws: OptionError.self) { try MountOptions(["allow_other,\(option)"]) }
    #expect(error?.description.contains(option) == true)
  }

  @Test("A remount is refused as that, whatever comes before it", arguments: ["remount", "rw,remount", "ro,remount", "pgaes=1,remount"])
  func remount(options: String) throws {
    let error = #expect(throws: OptionError.self) { try MountOptions([options]) }
    #expect(error?.description.hasPrefix("a mount can't be given other options") == true)
  }

  @Test("The state of root's mount is kept under the mount point's name, another where it is said, none where that is said")
  func directory() throws {
    try requireRoot()
    #expect(try options().directory(for: "/mnt/copies") == "/var/lib/kcopyfs/mnt-copies")
    #expect(try options("state=/x").directory(for: "/mnt") == "/x")
    #expect(try options("state=none").directory(for: "/mnt") == nil)
  }

  static let paths = [
    "/", "//", "/mnt", "/mnt/", "//mnt//copies//", "/mnt/copy fs", "/mnt/a-b", "/mnt/.hidden", "/.hidden/x", "/a.b:c_d", "/a\\b", "/a\"b'c",
    "/\u{fc}ber/\u{1f600}", "/a\tb\nc", "/a\u{1}b", "/a~b!@#$%^&*()+=[]{}|;,<>?`", "/-", "/0/9/A/Z/a/z",
  ]

  @Test("A mount point becomes a file name by the rules of systemd-escape --path", arguments: paths)
  func escaped(path: String) throws {
    #expect(MountOptions.escaped(path) == Self.byTheRules(path))
    // And as the program itself has it, where it is installed.
    guard Command.isInstalled("systemd-escape") else { return }
    #expect(try MountOptions.escaped(path) == run("systemd-escape", "--path", "--", path).orThrow().line)
  }

  /// systemd.unit(5): slashes at the ends go, repeated ones are one; `/` becomes `-`; ASCII letters and digits, `:`, `_` and, but
  /// at the beginning, `.` stay; every other byte becomes `\x` and two digits. The root is `-`.
  private static func byTheRules(_ path: String) -> String {
    let parts = path.split(separator: "/").map { part in
      part.utf8.map { byte in
        let character = Character(Unicode.Scalar(byte))
        let isKept = byte < 0x80 && (character.isLetter || character.isNumber || ":_.".contains(character))
        return isKept ? String(character) : "\\x" + String(0x100 + UInt16(byte), radix: 16).dropFirst()
      }.joined()
    }
    let name = parts.joined(separator: "-")
    if name.hasPrefix(".") { return "\\x2e" + name.dropFirst() }
    return name.isEmpty ? "-" : name
  }

  @Test("Random words are options or are refused with words, and never a trap", arguments: 0..<10)
  func anything(seed: UInt64) {
    var chance = SeededGenerator(seed: seed)
    let pieces = [
      "state", "pages", "max_jobs", "max_jobs_per_uid", "keep", "ns", "allow_other", "=", "=", ",", "/", "none", "x-",
      "99999999999999999999", "-1", "0", "\u{1b}", "é",
    ]
    for _ in 0..<1000 {
      let text = (0..<Int.random(in: 0...6, using: &chance)).map { _ in pieces.randomElement(using: &chance)! }.joined()
      do throws(OptionError) {
        let options = try MountOptions([text])
        #expect((1...1 << 40).contains(options.mostJobs) && (1...1 << 40).contains(options.mostJobsPerUid))
      } catch {
        #expect(!error.description.isEmpty)
      }
    }
  }
}
