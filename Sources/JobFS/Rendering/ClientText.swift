internal import CopyJobs

/// What the files of a client say: a value and a newline, and `wait` a line of words.
enum ClientText {
  /// - Returns: `nil` for the directory and for `wait`, which has no text before it has waited.
  static func text(_ client: CopyClient, _ file: ClientFile) -> [UInt8]? {
    let shape = client.shape
    return switch file {
    case .directory, .wait: nil
    case .pages: value(shape.pages)
    case .pagesFree: value(client.pagesFree)
    case .throttle: value(shape.throttle)
    case .rate: Array("\(shape.rate.map(String.init) ?? "max")\n".utf8)
    case .subjob: value(shape.subjob)
    case .slots: value(shape.slots)
    case .mostJobs: value(shape.mostJobs)
    case .jobs: value(client.jobs)
    }
  }

  /// What is read when the jobs that were waited for are final; those that came since may not be.
  static func waited(_ client: CopyClient) -> [UInt8] {
    var text: [UInt8] = []
    Words.appendWord("client", client.name, to: &text)
    Words.appendLine("jobs", client.jobs, to: &text)
    return text
  }

  private static func value(_ number: Int) -> [UInt8] { Array("\(number)\n".utf8) }
}
