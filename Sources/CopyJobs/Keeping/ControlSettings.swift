internal import KCopy

/// What `ctl` asked for in an attempt and still holds after a restart.
struct ControlSettings: Sendable, Equatable {
  var isPaused = false
  var isCancelled = false
  /// `nil`: as the record has it.
  var rate: JobCommand?
  var priority: JobCommand?

  mutating func take(_ command: JobCommand) {
    switch command {
    case .pause: isPaused = true
    case .resume: isPaused = false
    case .cancel: isCancelled = true
    case .rate: rate = command
    case .priority: priority = command
    case .retry: break
    }
  }

  /// The commands that lead here.
  var commands: [JobCommand] { [rate, priority].compactMap { $0 } + (isPaused ? [.pause] : []) }

  /// Changes what a copy begins with: told so once it runs, it would have begun without.
  func apply(to options: inout CopyOptions) {
    if case .rate(let rate)? = rate { options.rate = rate.map { max($0, 1) } }
    if case .priority(let priority)? = priority { options.priority = priority }
  }

  var text: String {
    var words = KeptWords()
    if isPaused { words.add("pause", "yes") }
    if isCancelled { words.add("cancel", "yes") }
    if case .rate(let rate)? = rate { words.add("rate", rate.map(String.init) ?? "max") }
    if case .priority(let priority)? = priority { words.add("priority", String(priority)) }
    return words.text
  }

  init() {}

  /// - Throws: EINVAL for what only a damaged journal holds.
  init(_ text: String) throws(Refusal) {
    let words = try KeptWords(text)
    isPaused = words["pause"] == "yes"
    isCancelled = words["cancel"] == "yes"
    if words["rate"] == "max" {
      rate = .rate(nil)
    } else if !words["rate"].isEmpty {
      rate = .rate(try words.number("rate"))
    }
    if !words["priority"].isEmpty { priority = .priority(Int(min(try words.number("priority"), 9))) }
  }
}
