internal import CopyJobs
internal import KCopy

/// What the files of a job say, each from one snapshot.
enum JobText {
  static func status(_ job: Job) -> [UInt8] {
    let snapshot = job.snapshot
    var text = FieldText()
    text.addLines(fields(job, snapshot))
    for index in snapshot.plan.destinations.indices {
      text.addLines(destination(snapshot, index), prefix: "dest\(index)_")
    }
    text.fill()
    return text.bytes
  }

  static func json(_ job: Job) -> [UInt8] {
    let snapshot = job.snapshot
    var text = FieldText()
    let fields = fields(job, snapshot)
    let split = fields.firstIndex { $0.key == "dests" } ?? fields.endIndex
    text.add("{")
    text.addMembers(Array(fields[..<split]))
    text.add(",")
    text.addKey("dests")
    text.add("[")
    for index in snapshot.plan.destinations.indices {
      text.add(index == 0 ? "{" : ",{")
      text.addMembers(destination(snapshot, index))
      text.add("}")
    }
    text.add("],")
    text.addMembers(Array(fields[(split + 1)...]))
    text.fill()
    text.add("}\n")
    return text.bytes
  }

  static func destinationStatus(_ job: Job, _ index: Int) -> [UInt8] {
    let snapshot = job.snapshot
    let progress = snapshot.progress.destinations[index]
    let error = progress.error
    var text = FieldText()
    text.addLines([
      .constant("dest_path", snapshot.plan.destinations[index].path),
      .text("dest_state", progress.state.rawValue, widest: 9),
      .number("bytes_done", progress.bytesDone),
      .number("bytes_durable", progress.bytesDurable),
      .number("bytes_failed", progress.bytesFailed),
      .text("error", error.map { ErrnoName.of($0.errno) } ?? "", widest: widestErrno),
      .text("error_at", error.map { "\($0.offset)B" } ?? "", widest: 21),
      .number("error_length", error?.length),
    ])
    text.fill()
    return text.bytes
  }

  static func spec(_ job: Job) -> [UInt8] { Array("\(job.plan.spec)\n".utf8) }
  static func state(_ job: Job) -> [UInt8] { Array("\(job.snapshot.state.rawValue)\n".utf8) }
  static func readError(_ job: Job) -> [UInt8] { Array(job.snapshot.progress.readError ? "1\n".utf8 : "0\n".utf8) }
  static func writeErrors(_ job: Job) -> [UInt8] { Array("\(mask(job.snapshot.progress.writeErrors))\n".utf8) }
  static func progress(_ job: Job) -> [UInt8] {
    let snapshot = job.snapshot
    return Array("\(snapshot.progress.bytesDone) \(snapshot.plan.bytesTotal)\n".utf8)
  }

  /// The record of a job in `list`.
  static func listed(_ job: Job, to text: inout [UInt8]) {
    let snapshot = job.snapshot
    Words.appendWord("job", job.facts.name, to: &text)
    Words.appendWord("id", job.facts.id, to: &text)
    Words.appendWord("state", snapshot.state.rawValue, to: &text)
    Words.appendWord("bytes_done", snapshot.progress.bytesDone, to: &text)
    Words.appendWord("bytes_total", snapshot.plan.bytesTotal, to: &text)
    Words.appendWord("read_err", snapshot.progress.readError ? 1 : 0, to: &text)
    Words.appendWord("write_err", mask(snapshot.progress.writeErrors), to: &text)
    Words.appendWord("client", job.facts.client, to: &text)
    Words.appendLine("uid", job.facts.uid, to: &text)
  }

  // MARK: Fields

  /// ENOTRECOVERABLE.
  private static let widestErrno = 15

  static func mask(_ bits: UInt64) -> String { "0x\(String(bits, radix: 16))" }

  private static func reason(_ pause: JobPause?) -> String {
    switch pause {
    case nil: ""
    case .user?: "user"
    case .error(let error)?: ErrnoName.of(error.errno)
    case .unusable(let errno)?: ErrnoName.of(errno)
    case .identity?: "identity"
    case .busy?: "busy"
    }
  }

  /// The keys of the contract, in its order.
  private static func fields(_ job: Job, _ snapshot: JobSnapshot) -> [Field] {
    let (facts, progress) = (job.facts, snapshot.progress)
    let error = snapshot.error
    return [
      .text("state", snapshot.state.rawValue, widest: 9),
      .constant("name", facts.name),
      .constant("id", facts.id),
      .number("attempt", snapshot.attempt),
      .constant("op", facts.operation),
      .constant("client", facts.client),
      .number("read_err", progress.readError ? 1 : 0),
      .text("write_err", mask(progress.writeErrors), widest: 18),
      .text("error", error.map { ErrnoName.of($0.errno) } ?? "", widest: widestErrno),
      .text("error_op", error?.step ?? "", widest: 6),
      .number("error_dest", error?.destination.map { UInt64($0) }),
      .text("error_at", error?.place.map { "\($0.offset)B" } ?? "", widest: 21),
      .number("error_length", error?.place?.length),
      .text("pause_reason", reason(snapshot.pause), widest: widestErrno),
      .text("phase", snapshot.phase.rawValue, widest: 10),
      .number("bytes_total", snapshot.plan.bytesTotal),
      .number("bytes_done", progress.bytesDone),
      .number("bytes_durable", progress.bytesDurable),
      .number("rate", snapshot.rate),
      .number("eta", snapshot.eta),
      .text("warning", snapshot.warnings.text, widest: JobWarnings.widest),
      .text("digest", progress.digest ?? "", widest: 64),
      .constant("dests", UInt64(snapshot.plan.destinations.count)),
      .constant("uid", UInt64(facts.uid)),
      .constant("context", facts.context),
      .time("queued_at", facts.queuedAt),
      .time("started_at", snapshot.startedAt),
      .time("finished_at", snapshot.finishedAt),
    ]
  }

  /// What is shown of a name that a disk gives itself, each character a byte wherever it is written, so that its width is known.
  private static let widestIdentity = 64

  private static func shown(identity: String) -> String {
    let bytes = identity.utf8.prefix(widestIdentity).map { (byte: UInt8) in
      (0x20...0x7e).contains(byte) && !#"'"\"#.utf8.contains(byte) ? byte : UInt8(ascii: "?")
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func destination(_ snapshot: JobSnapshot, _ index: Int) -> [Field] {
    let progress = snapshot.progress.destinations[index]
    let identity = snapshot.plan.destinations[index].identity
    return [
      .constant("path", snapshot.plan.destinations[index].path),
      // A job that was accepted before its devices were open doesn't know it yet.
      .text("id", shown(identity: identity), widest: widestIdentity + 2),
      .text("state", progress.state.rawValue, widest: 9),
      .number("bytes_done", progress.bytesDone),
      .text("error", progress.error.map { ErrnoName.of($0.errno) } ?? "", widest: widestErrno),
    ]
  }
}
