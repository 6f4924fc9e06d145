internal import CopyJobs

/// A record of `events`.
enum EventText {
  static func append(_ event: EventLog.Event, to text: inout [UInt8]) {
    let facts = event.job.facts
    Words.appendWord("seq", event.sequence, to: &text)
    Words.appendWord("time", FieldText.seconds(event.time / 1000), to: &text)
    Words.appendWord("job", facts.name, to: &text)
    Words.appendWord("id", facts.id, to: &text)
    Words.appendWord("state", event.state.rawValue, to: &text)
    Words.appendWord("read_err", event.readError ? 1 : 0, to: &text)
    Words.appendWord("write_err", JobText.mask(event.writeErrors), to: &text)
    Words.appendLine("context", facts.context, to: &text)
  }
}
