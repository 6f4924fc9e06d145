import Admission

@testable import CopyJobs

extension Target {
  /// Values as they are written for shells, for readers of JSON, for the journal and for people.
  static let words = Target(
    name: "words",
    seeds: ["", "plain", "it's", "a b", "$HOME `id` \\ \"", "\u{1b}[31m", "\u{9b}31m", "\u{e4}\u{1f600}\u{202e}", "a\nb\tc\u{7f}\0"].map {
      Array($0.utf8)
    }
      + [[0xff, 0xc3], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]],
    words: ["'\\''", "\u{9b}", "\\u0000"]
  ) { bytes in
    let value = String(decoding: bytes, as: UTF8.self)
    let clean = String(String.UnicodeScalarView(value.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
    let quoted = Words.quoted(value)
    hold(isPlain(quoted.utf8), "a word holds what is no text")
    hold(shellValue(Array(quoted.utf8)) == Array(clean.utf8), "a shell reads another value: \(quoted)")
    hold(isPlain(Words.printable(bytes).utf8), "what is printable is not")
    hold(isPlain(Words.printable(bytes, limit: 7).utf8), "what is printable is not")

    let json = Words.json(value)
    hold(isPlain(json.utf8), "a string of JSON holds what is no text")
    var reader = JSONReader(Array(json.utf8))
    do throws(Refusal) {
      let read = try reader.string()
      hold(value == clean && read.bytes.elementsEqual(value.utf8), "JSON says another value: \(json)")
    } catch {
      hold(value != clean, "JSON doesn't say the value: \(json)")
    }

    var kept = KeptWords()
    kept.add("before", 7)
    kept.add("value", value)
    kept.add("after", "x")
    do throws(Refusal) {
      let words = try KeptWords(kept.text)
      hold(
        words["value"].utf8.elementsEqual(clean.utf8) && words["before"] == "7" && words["after"] == "x", "the journal keeps another value")
      // Anything at all.
      let read = try KeptWords(value)
      _ = try read.number("value")
    } catch {
      hold(isPlain(error.text.utf8) || value != clean, "the refusal can't be shown")
    }
  }

  /// Reads a value as a POSIX shell does; `nil` for what a shell would do more with than read it.
  private static func shellValue(_ word: [UInt8]) -> [UInt8]? {
    var value: [UInt8] = []
    var (index, isQuoted) = (0, false)
    while index < word.count {
      let byte = word[index]
      index += 1
      switch byte {
      case UInt8(ascii: "'"): isQuoted.toggle()
      case _ where isQuoted: value.append(byte)
      case UInt8(ascii: "\\"):
        guard index < word.count else { return nil }
        value.append(word[index])
        index += 1
      default:
        guard "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@+,%-".utf8.contains(byte) else { return nil }
        value.append(byte)
      }
    }
    return isQuoted ? nil : value
  }

  /// What a device or a caller is known by after a restart.
  static let fingerprints = Target(
    name: "fingerprints",
    seeds: [
      "kind=block size=1048576 offset=512 boot=1b4e28ba diskseq=7 partuuid=a wwid=naa.5000 serial=S1 uuid=u",
      "kind=file size=1 offset=0 dev=8:1 inode=12 fsuuid=u fsid=ff mount=3 born=1 generation=2",
      "umask=22 fsgid=100 capabilities=ff groups=4,24",
    ].map { Array($0.utf8) },
    words: ["kind=", "size=", "dev=", "inode=", "4294967296", "18446744073709551615"]
  ) { bytes in
    let text = String(decoding: bytes, as: UTF8.self)
    if let fingerprint = Fingerprint(text) { hold(Fingerprint(fingerprint.text)?.text == fingerprint.text, "it is another device's") }
    if let caller = Caller(kept: text, uid: 1000, gid: 100) {
      hold(Caller(kept: caller.kept, uid: 1000, gid: 100)?.kept == caller.kept, "it is another caller's")
    }
  }
}
