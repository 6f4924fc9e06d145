@testable import CopyJobs

extension Target {
  private static let keys = JobKey.allCases.map(\.name)

  /// What is written to `submit`: the first bytes are the lengths of its pieces, the others the text.
  static let records = Target(
    name: "records",
    seeds: [
      "from=/dev/sda@0+2048s to=/dev/sdb to=/dev/sdc@4096s\n", "# remark\n\nfrom=/a \\\r\n to=/b\r\nop=none\n",
      "from='/it'\\''s here' to=/b\\ c@8s context='two words'\n", "op=zero to=/a@1M+1G to=/b@0+1G sync=none\n",
      "from=/a to=/b errors=ignore order=sequential retries=3 verify=yes hash=sha256 create=yes sparse=yes clone=no tail=zero\n",
      "from=/a to=/b domain=/m rate=20M priority=0 after=x,y client=night name=n mode=0750\n", "from=/a to=/b context='\u{e4}\u{1f600}'",
      "{\"from\": \"/a@0+4096B\", \"to\": [\"/b\", {\"path\": \"/c\", \"start\": 512, \"count\": 4096}]}",
      "{\"op\": \"zero\", \"to\": {\"path\": \"/b\", \"count\": 1}, \"context\": \"\\u00e4\\ud83d\\ude00\\\\\\/\", \"priority\": 9}\nop=none\n",
      "{\"from\":{\"path\":\"/a\"},\"to\":[[{}]],\"rate\":-1.5e9,\"verify\":true,\"hash\":null}",
    ].flatMap { text in [[], [1, 2, 3, 5], [64, 1, 200, 7]].map { ($0 + [0, 0, 0, 0]).prefix(4) + Array(text.utf8) } },
    words: keys.map { "\($0)=" } + keys.map { "\"\($0)\":" } + [
      "\"path\":", "\"start\":", "\"count\":", "'\\''", "\\\r\n", "\\\n", "\\u", "\\ud83d\\ude00",
    ]
      + [
        "yes", "none", "zero", "sequential", "ignore", "sha256", "9223372036854775807", "18446744073709551616", "@0+1s", "8388607T",
        "@8388608T",
      ]
  ) { bytes in
    var text = bytes
    let lengths = (0..<4).map { _ in Int(text.takeNumber()) }
    for limit in [JobRecord.maximumLength, 48] {
      let whole = found(in: text, [text.count], limit)
      let pieces = found(in: text, lengths, limit)
      hold(whole == pieces, "the pieces make a difference: \(whole) \(pieces)")
      for case .record(let record) in whole {
        hold(record.count <= limit, "a record is too long")
        check(record, allowingName: true)
        check(record, allowingName: false)
      }
    }
    check(text, allowingName: true)
  }

  private enum Found: Equatable {
    case record([UInt8])
    case tooLong
    case unfinished
  }

  private static func found(in text: [UInt8], _ lengths: [Int], _ limit: Int) -> [Found] {
    var buffer = RecordBuffer(limit: limit)
    var found: [Found] = []
    var (start, turn) = (0, 0)
    while start < text.count {
      let end = min(text.count, start + max(1, lengths[turn % lengths.count]))
      buffer.append(Array(text[start..<end]))
      (start, turn) = (end, turn + 1)
      var next = buffer.next()
      while next != .incomplete {
        switch next {
        case .record(let record, let end):
          hold(end <= buffer.consumed && !record.isEmpty, "the end of a record is not consumed")
          found.append(.record(record))
        case .tooLong: found.append(.tooLong)
        case .incomplete: break
        }
        next = buffer.next()
      }
    }
    if buffer.hasUnfinishedRecord { found.append(.unfinished) }
    if let record = buffer.finish(), record.count <= limit { found.append(.record(record)) }
    hold(!buffer.hasUnfinishedRecord && buffer.finish() == nil, "it is not finished")
    return found
  }

  /// A record is refused with words that can be shown, or it is text and read again what it was.
  private static func check(_ bytes: [UInt8], allowingName: Bool) {
    do throws(Refusal) {
      let record = try JobRecord.parse(bytes, allowingName: allowingName)
      let texts =
        [record.from?.path ?? "", record.client, record.domain ?? "", record.context, record.name ?? ""] + record.to.map(\.path)
        + record.after
      hold(texts.allSatisfy { isPlain($0.utf8) }, "it holds what is no text")
      hold(texts.reduce(0) { $0 + $1.utf8.count } <= bytes.count, "it holds more than was written")
      for region in record.to + [record.from].compactMap({ $0 }) {
        hold(region.start <= ByteSize.maximum - (region.count ?? 0) && region.path.utf8.first == 0x2f, "it has an impossible region")
        hold((0...bytes.count).contains(region.column), "a column is outside of the record")
      }
      hold(keys.allSatisfy { record.column(of: $0) <= bytes.count }, "a column is outside of the record")

      let line = Array(record.normalised(from: record.from, to: record.to).utf8)
      hold(isPlain(line), "the normalised record is no text")
      guard line.count <= JobRecord.maximumLength else { return }
      let again = try JobRecord.parse(line, allowingName: false)
      hold(Array(again.normalised(from: again.from, to: again.to).utf8) == line, "the normalised record is not one")
      hold(zip(record.to, again.to).allSatisfy(isSame) && record.to.count == again.to.count, "a destination has changed")
      hold(record.context == again.context && record.client == again.client && record.domain == again.domain, "a text has changed")
    } catch {
      check(error, of: bytes)
    }
  }

  private static func isSame(_ one: RegionText, _ other: RegionText) -> Bool {
    one.path.utf8.elementsEqual(other.path.utf8) && one.start == other.start && one.count == other.count
  }

  private static func check(_ refusal: Refusal, of bytes: [UInt8]) {
    hold((0...bytes.count).contains(refusal.column), "the column \(refusal.column) is outside of the record")
    hold(!refusal.text.isEmpty && refusal.text.utf8.count < 400 && isPlain(refusal.text.utf8), "the refusal can't be shown")
  }

  /// A region, and a size and a rate.
  static let regions = Target(
    name: "regions",
    seeds: [
      "/dev/sda@0+2048s", "/a@8388607T", "/a@1M+9223372036853727232B", "/snap@x", "/a@0", "/a@", "max", "20M", "0", "18446744073709551616B",
    ]
    .map { Array($0.utf8) },
    words: ["@0", "+1s", "T", "9007199254740992K", "9223372036854775807B"]
  ) { bytes in
    do throws(Refusal) {
      let region = try RegionText(FieldText(bytes), key: .from)
      let end = region.start.addingReportingOverflow(region.count ?? 0)
      hold(!end.overflow && end.partialValue <= ByteSize.maximum && region.count != 0, "it has an impossible region")
      let again = try RegionText(FieldText(Array(region.text.utf8)), key: .to)
      hold(isPlain(bytes) ? isSame(region, again) : true, "it is another region when it is read again")
    } catch {
      check(error, of: bytes)
    }
    do throws(Refusal) {
      hold(try ByteSize.parse(FieldText(bytes)) <= ByteSize.maximum, "it is too large")
    } catch {
      check(error, of: bytes)
    }
    do throws(Refusal) {
      if let rate = try ByteSize.parseRate(FieldText(bytes)) { hold((1...ByteSize.maximum).contains(rate), "it is no rate") }
    } catch {
      check(error, of: bytes)
    }
  }

  /// What is written to `ctl` and to the files of a client, and names.
  static let commands = Target(
    name: "commands",
    seeds: [
      "cancel", "pause", "resume\r", " retry", "rate=20M", "rate=max", "priority=9", "4096", "1M", "100000", "nightly.1", "-x", ".", "~",
    ]
    .map { Array($0.utf8) },
    words: ["rate=", "priority=", "cancel", "1099511627777", "1073741824", "max"]
  ) { bytes in
    do throws(Refusal) {
      let command = try JobCommand(line: bytes)
      var settings = ControlSettings()
      settings.take(command)
      hold(try ControlSettings(settings.text) == settings, "a restart knows another command")
    } catch {
      check(error, of: bytes)
    }
    for parameter in ClientParameter.allCases {
      do throws(Refusal) {
        hold(try ClientSetting(parameter, bytes).parameter == parameter, "it is another file's")
      } catch {
        check(error, of: bytes)
      }
    }
    let name = String(decoding: bytes, as: UTF8.self)
    for isDraft in [false, true] {
      do throws(Refusal) {
        if isDraft { try JobName.checkDraft(name) } else { try JobName.check(name) }
        hold(isPlain(bytes), "it is no name")
      } catch {
        hold(isPlain(error.text.utf8) && error.column <= name.utf8.count, "the refusal can't be shown")
      }
    }
  }
}
