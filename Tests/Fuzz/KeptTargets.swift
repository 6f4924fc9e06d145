import Journal
import KCopy

@testable import CopyJobs
@testable import JobFS

extension Target {
  /// A row of the journal, a line for each of its texts: it is damaged, or a job that can be looked at and kept again.
  static let kept = Target(
    name: "kept",
    seeds: ["unfinished", "failed", "cancelled", "done"].flatMap(rows),
    words: [
      "dest=", "errno=", "refusal=", "step=", "state=", "write_err=", "birth=", "18446744073709551615", "fingerprint=", "warning=",
      "source_changed=",
    ]
  ) { bytes in
    var bytes = bytes
    let total = bytes.takeNumber(bytes: 8)
    var lines = bytes.split(separator: 0x0a, maxSplits: 16, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }[
      ...]
    func line() -> String { lines.popFirst() ?? "" }
    let (spec, caller, source, ctl, state, progress) = (line(), line(), line(), line(), line(), line())
    do throws(Refusal) {
      let record = try JobRecord.parse(Array(spec.utf8), allowingName: false)
      let map = MapCode.encode(RangeMap(count: total))
      let row = JobRow(
        id: total, name: "job", uid: 1000, gid: 100, mode: 0o750, caller: caller, spec: spec, source: source, bytesTotal: total, ctl: ctl,
        queuedAt: total,
        standing: Standing(
          state: state, attempt: total, progress: progress, startedAt: total, finishedAt: total,
          destinations: record.to.map { _ in Standing.Destination(progress: line(), map: map) }),
        devices: record.to.map { _ in line() })
      let job = try Job(row, record, JobChanges(), DomainBudget())
      look(at: job)
      let again = try Job(job.row, record, JobChanges(), DomainBudget())
      hold(again.row == job.row, "what is kept of it has changed: \(job.row) \(again.row)")
    } catch {
      hold(!error.text.isEmpty, "nothing is said")
    }
  }

  /// A job of two destinations, a barrier and a job that never began, in a state.
  private static func rows(_ state: String) -> [[UInt8]] {
    let copy = """
      from=/dev/a@0+1048576B to=/dev/b@0B to=/dev/c@4096B context='it'\\''s'
      umask=22 fsgid=100 capabilities=0 groups=4,24
      id=8:0 birth=3
      pause=yes rate=4096 priority=3 cancel=yes
      \(state)
      done=4096 durable=4096 write_err=2 read_err=1 refusal=2 step=write errno=5 dest=1 at=4096 length=512 \
      warning=source-in-use,source-changed source_size=1 source_modified=2 source_changed=3
      state=running done=4096 durable=4096
      state=failed failed=512 step=flush errno=5 dest=1 at=4096 length=512
      id=8:16 birth=4 fingerprint='kind=block size=1048576 offset=0'
      id=8:32
      """
    let barrier = "op=none\numask=22 fsgid=0 capabilities=0\n\n\n\(state)\n\n"
    let fresh = "op=zero to=/a@0+4096B\numask=0 fsgid=1 capabilities=ff\n\nrate=max\n\(state)\n\nstate=done\n"
    return [copy, barrier, fresh].map { [0, 0, 0, 0, 0, 0x10, 0, 0] + Array($0.utf8) }
  }

  /// Every file of a job is of one length, and text.
  private static func look(at job: Job) {
    let files = [JobText.status(job), JobText.json(job), JobText.spec(job), JobText.progress(job), JobText.writeErrors(job)]
    let destinations = job.plan.destinations.indices.flatMap { [JobText.destinationStatus(job, $0), MapText.text(job, $0)] }
    for file in files + destinations { hold(isPlain(file.filter { $0 != 0x0a }), "a file holds what is no text") }
  }

  /// A map of the journal: the region's length, and the code.
  static let maps = Target(
    name: "maps",
    seeds: [
      [1], [1, 0x80, 0x80, 1], [1, 0x81, 0x10, 0x82, 0x20, 0x80, 0x50], [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ]
    .flatMap { code in [0, 0x1000, 0x2000, 1 << 20, 1 << 62].map { (count: UInt64) in bigEndian(count) + code } }
  ) { bytes in
    var code = bytes
    let count = code.takeNumber(bytes: 8)
    if let map = try? MapCode.decode(code, count: count) {
      hold(map.count == count && (try? MapCode.decode(MapCode.encode(map), count: count)) == map, "a map has changed")
    }
    // The bytes as extents of any length.
    var map = RangeMap(count: count)
    while !code.isEmpty, count > 0 {
      let statuses: [RangeMap.Status] = [.missing, .durable, .failed, .outside]
      let status = statuses[Int(code.takeNumber() % 3)]
      let (one, other) = (code.takeNumber(bytes: 8) % count, code.takeNumber(bytes: 8) % count)
      map.set(min(one, other)..<max(one, other), status)
    }
    hold((try? MapCode.decode(MapCode.encode(map), count: count)) == map, "a map has changed")
  }

  private static func bigEndian(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) } }

  /// A mapfile of ddrescue; the first bytes are the lengths of its pieces.
  static let mapfiles = Target(
    name: "mapfiles",
    seeds: [
      "# Mapfile. Created by GNU ddrescue version 1.27\n# current_pos  current_status  current_pass\n0x00120000     *               1\n"
        + "0x00000000  0x00117000  +\n0x00117000  0x00000200  -\n0x00117200  0x00001000  /\n0x00118200  0x00007E00  *\n0x00120000  0x00048000  ?\n",
      "0x00500000     ?\n0x00100000  0x00001000  +\n0x00101000  0x003FE000  ?\n", "0 F\r\n0 010 +\r\n8 5-\r\n", "0 + 1\n0 0 ?\n",
      "0 ? 1\n5 0x7FFFFFFFFFFFFFFF ?",
    ].map { [3, 0, 0, 0] + Array($0.utf8) },
    words: ["0x7FFFFFFFFFFFFFFF", "9223372036854775808", "-1", " ?\n", " +\n", "\r\n"]
  ) { bytes in
    var text = bytes
    let lengths = (0..<4).map { _ in Int(text.takeNumber()) }
    let whole = Result { () throws(MapfileError) in try Mapfile(text) }
    let pieces = Result { () throws(MapfileError) -> Mapfile in
      var reader = MapfileReader()
      var (start, turn) = (0, 0)
      while start < text.count {
        let end = min(text.count, start + max(1, lengths[turn % 4]))
        try reader.read(Array(text[start..<end]))
        (start, turn) = (end, turn + 1)
      }
      return try reader.finish()
    }
    switch (whole, pieces) {
    case (.success(let map), .success(let other)):
      hold(map == other, "the pieces make a difference")
      for (block, next) in zip(map.blocks, map.blocks.dropFirst()) {
        hold(block.range.upperBound == next.range.lowerBound && block.status != next.status, "the blocks are not one after the other")
      }
      hold(map.blocks.allSatisfy { !$0.range.isEmpty && $0.range.upperBound <= UInt64(Int64.max) }, "a block is impossible")
      let lines = map.blocks.map { "\($0.range.lowerBound) \($0.range.count) \(Character(Unicode.Scalar($0.status.rawValue)))\n" }
      hold((try? Mapfile(Array(("0 + 1\n" + lines.joined()).utf8))) == map, "it is another map when it is read again")
    case (.failure(let error), .failure(let other)):
      hold(error == other, "the pieces make a difference")
      hold((1...text.count { $0 == 0x0a } + 1).contains(error.line) && isPlain(error.text.utf8), "the error can't be shown")
    default: fatalError("the pieces make a difference")
    }
  }
}
