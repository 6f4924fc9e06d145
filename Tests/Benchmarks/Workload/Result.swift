internal import KCopy

extension Workload {
  /// What a run took, and whether every job was notified once.
  struct Result: CustomStringConvertible {
    let used: Usage
    /// Of the source: what was notified.
    let bytes: Int
    let jobs: Int
    let notifications: Int
    let errors: Int
    let transport: Client.Transport
    /// The first thing that went wrong.
    let trouble: String?

    /// One line for `bench.py`.
    var description: String {
      let pairs: [(String, Any)] = [
        ("seconds", Self.rounded(used.seconds)), ("bytes", bytes), ("jobs", jobs), ("user", Self.rounded(used.user)),
        ("system", Self.rounded(used.system)), ("notifications", notifications), ("errors", errors),
        ("transport", transport.rawValue),
      ]
      return pairs.map { "\($0)=\($1)" }.joined(separator: " ")
    }

    /// To microseconds, which is what getrusage counts in.
    private static func rounded(_ seconds: Double) -> Double { (seconds * 1e6).rounded() / 1e6 }
  }
}
