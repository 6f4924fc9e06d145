internal import CopyJobs

/// The files of a client's directory, the directory itself included.
enum ClientFile: UInt8, CaseIterable {
  case directory, pages, pagesFree, throttle, rate, subjob, slots, mostJobs, jobs, wait

  var name: String {
    switch self {
    case .directory: ""
    case .pages: "pages"
    case .pagesFree: "pages_free"
    case .throttle: "throttle"
    case .rate: "rate"
    case .subjob: "subjob"
    case .slots: "slots"
    case .mostJobs: "max_jobs"
    case .jobs: "jobs"
    case .wait: "wait"
    }
  }

  /// What stands in the client's directory, in this order.
  static let entries: [ClientFile] = Array(allCases.dropFirst())

  /// What a write to it sets; `nil` where nothing can be written.
  var parameter: ClientParameter? {
    switch self {
    case .pages: .pages
    case .throttle: .throttle
    case .rate: .rate
    case .subjob: .subjob
    case .slots: .slots
    case .mostJobs: .mostJobs
    case .directory, .pagesFree, .jobs, .wait: nil
    }
  }

  var isDirectory: Bool { self == .directory }
}
