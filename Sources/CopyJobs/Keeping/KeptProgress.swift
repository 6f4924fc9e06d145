internal import Glibc
internal import KCopy

/// Progress and errors as words of the journal.
enum KeptProgress {
  static func words(_ progress: CopyProgress, refusal: Int32) -> KeptWords {
    var words = KeptWords()
    words.add("done", progress.bytesDone)
    words.add("durable", progress.bytesDurable)
    words.add("read_err", progress.readError ? 1 : 0)
    words.add("write_err", progress.writeErrors)
    words.add("refusal", UInt64(refusal))
    words.add("cached", progress.isVerifiedInCache ? 1 : 0)
    words.add("digest", progress.digest ?? "")
    add(progress.firstError, to: &words)
    return words
  }

  static func text(_ destination: DestinationProgress) -> String {
    var words = KeptWords()
    words.add("state", destination.state.rawValue)
    words.add("done", destination.bytesDone)
    words.add("durable", destination.bytesDurable)
    words.add("failed", destination.bytesFailed)
    add(destination.error, to: &words)
    return words.text
  }

  private static func add(_ error: TransferError?, to words: inout KeptWords) {
    guard let error else { return }
    words.add("step", error.step.rawValue)
    words.add("errno", UInt64(error.errno))
    if let destination = error.destination { words.add("dest", String(destination)) }
    words.add("at", error.offset)
    words.add("length", error.length)
  }

  /// - Throws: EINVAL for what only a damaged journal holds, as all of these.
  static func progress(_ text: String, _ destinations: [DestinationProgress]) throws(Refusal) -> (progress: CopyProgress, refusal: Int32) {
    let words = try KeptWords(text)
    var progress = CopyProgress(destinations: destinations)
    progress.bytesDone = try words.number("done")
    progress.bytesDurable = try words.number("durable")
    progress.readError = try words.number("read_err") != 0
    progress.writeErrors = try words.number("write_err")
    progress.firstError = try error(words)
    progress.digest = words["digest"].isEmpty ? nil : words["digest"]
    progress.isVerifiedInCache = try words.number("cached") != 0
    return (progress, try errno(words, "refusal"))
  }

  static func destination(_ text: String) throws(Refusal) -> DestinationProgress {
    let words = try KeptWords(text)
    var destination = DestinationProgress()
    guard let state = DestinationState(rawValue: words["state"]) else {
      throw Refusal(errno: EINVAL, column: 0, text: "a destination's state is \"\(words["state"])\"")
    }
    destination.state = state
    destination.bytesDone = try words.number("done")
    destination.bytesDurable = try words.number("durable")
    destination.bytesFailed = try words.number("failed")
    destination.error = try error(words)
    return destination
  }

  private static func error(_ words: KeptWords) throws(Refusal) -> TransferError? {
    guard let step = TransferError.Step(rawValue: words["step"]) else { return nil }
    let destination: Int? = words["dest"].isEmpty ? nil : Int(words["dest"])
    guard words["dest"].isEmpty || (0..<JobRecord.maximumDestinations).contains(destination ?? -1) else {
      throw Refusal(errno: EINVAL, column: 0, text: "dest=\(words["dest"]) is no destination")
    }
    return TransferError(
      errno: try errno(words, "errno"), step: step, destination: destination, offset: try words.number("at"),
      length: try words.number("length"))
  }

  private static func errno(_ words: KeptWords, _ key: String) throws(Refusal) -> Int32 {
    let number = try words.number(key)
    guard let errno = Int32(exactly: number) else { throw Refusal(errno: EINVAL, column: 0, text: "\(key)=\(number) is no errno") }
    return errno
  }
}
